"""The source files of a data set, with their checksums."""

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from ctrloom import storage
from ctrloom.config import SPLITS, Files, SourceConfig, Split
from ctrloom.data.ingest.cast import read_rows
from ctrloom.data.ingest.duplicates import require_distinct_contents, require_distinct_files
from ctrloom.data.ingest.source_input import Input, state_of
from ctrloom.data.manifest import SourceFile
from ctrloom.data.sources.files import is_remote, open_bytes, resolve
from ctrloom.data.threads import Ahead
from ctrloom.progress import Advance, progress

_CHUNK = 1 << 20


@contextmanager
def gathered(files: Files, source: SourceConfig, folder: Path) -> Iterator[list[Input]]:
    """Find and hash all files; remote ones are copied to a temporary directory in `folder`.

    Hashing uses one thread; meanwhile others start to read the rows of the first file.

    Raises:
        DataError: no file matches, a file cannot be read, or two have the same rows.
    """
    found: list[tuple[Split, str]] = [(s, path) for s in SPLITS for path in resolve(getattr(files, s))]
    require_distinct_files(found)
    with ExitStack() as stack:
        copies = stack.enter_context(storage.scratch_directory("inputs", folder))
        first = found[0][1]
        begun = None if is_remote(first) else stack.enter_context(Ahead(read_rows(source, [first])))
        with progress("checksums", _local_bytes(path for _, path in found), "bytes") as advance:
            inputs = [_gather(split, path, copies / str(i), advance) for i, (split, path) in enumerate(found)]
        require_distinct_contents(inputs, source)
        yield [replace(inputs[0], begun=begun), *inputs[1:]]


def _local_bytes(paths: Iterable[str]) -> int | None:
    sizes = [None if is_remote(path) else Path(path).stat().st_size for path in paths]
    return None if None in sizes else sum(filter(None, sizes))


def _gather(split: Split, path: str, copy: Path, advance: Advance) -> Input:
    digest, size, remote = hashlib.sha256(), 0, is_remote(path)
    state = None if remote else state_of(path)
    with ExitStack() as stack:
        stream = stack.enter_context(open_bytes(path))
        copied = stack.enter_context(open(copy, "wb")) if remote else None
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
            if copied is not None:
                copied.write(chunk)
            advance(len(chunk))
    record = SourceFile(split=split, path=path, bytes=size, sha256=digest.hexdigest())
    local = str(copy) if remote else path
    return Input(record, local, state or state_of(local))
