"""Duplicate input: no rows are read twice, whatever the names and the compression of their files."""

import os
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import combinations, zip_longest

from ctrloom.config import SourceConfig, Split
from ctrloom.data.errors import DataError
from ctrloom.data.ingest.source_input import Input
from ctrloom.data.sources.files import is_remote, open_bytes, open_text

_START, _CHUNK = 1 << 16, 1 << 20


def require_distinct_files(found: Iterable[tuple[Split, str]]) -> None:
    """Check, before anything is read, that no file has two names: links and other spellings of a path too.

    Raises:
        DataError: one has.
    """
    known: dict[object, tuple[Split, str]] = {}
    for split, path in found:
        identity: object = path
        if not is_remote(path):
            state = os.stat(path)
            identity = state.st_dev, state.st_ino
        if identity in known:
            raise _duplicate(known[identity], (split, path), "is the same file as")
        known[identity] = split, path


def require_distinct_contents(inputs: Sequence[Input], source: SourceConfig) -> None:
    """Check that no two files have the same rows: equal files, or text that differs in compression only.

    Files without rows, such as those with nothing but a header, may be equal.

    Raises:
        DataError: two have.
    """
    _require_distinct(inputs, source, lambda each: each.record.sha256, lambda *_: True)
    if source.format == "parquet":
        return
    starts = {each.record.path: _start(each) for each in inputs}
    compressed = {each.record.path for each in inputs if _raw_start(each) != starts[each.record.path]}
    if not compressed:
        return

    def equal(first: Input, second: Input) -> bool:
        return bool(compressed & {first.record.path, second.record.path}) and _equal_texts(first, second)

    _require_distinct(inputs, source, lambda each: starts[each.record.path], equal)


def _require_distinct(
    inputs: Sequence[Input],
    source: SourceConfig,
    key: Callable[[Input], object],
    equal: Callable[[Input, Input], bool],
) -> None:
    groups: dict[object, list[Input]] = {}
    for each in inputs:
        groups.setdefault(key(each), []).append(each)
    for group in (group for group in groups.values() if len(group) > 1):
        filled = [each for each in group if any(batch.rows for batch in each.rows(source))]
        for first, second in combinations(filled, 2):
            if equal(first, second):
                one, other = ((each.record.split, each.record.path) for each in (first, second))
                raise _duplicate(one, other, "has the same rows as")


def _start(each: Input) -> bytes:
    with each.named(), open_text(each.local) as stream:
        return bytes(stream.read(_START))


def _raw_start(each: Input) -> bytes:
    with each.named(), open_bytes(each.local) as stream:
        return stream.read(_START)


def _equal_texts(first: Input, second: Input) -> bool:
    with first.named(), second.named(), open_text(first.local) as one, open_text(second.local) as other:
        chunks = (iter(partial(stream.read, _CHUNK), b"") for stream in (one, other))
        return all(mine == its for mine, its in zip_longest(*chunks))


def _duplicate(first: tuple[Split, str], second: tuple[Split, str], how: str) -> DataError:
    (split, path), (other_split, other) = first, second
    if split == other_split:
        return DataError(f"{other}: {how} {path}; they would be counted twice: leave one out of `files`")
    return DataError(
        f"{other} ({other_split}): {how} {path} ({split}), so that {other_split} figures would be measured "
        f"on {split} rows; give each split files of its own"
    )
