"""The source files of a data set, with their checksums."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from ctrloom import storage
from ctrloom.config import SPLITS, Files, SourceConfig, Split
from ctrloom.data.errors import DataError
from ctrloom.data.ingest.cast import TypedBatch, read_rows
from ctrloom.data.manifest import SourceFile
from ctrloom.data.sources.files import is_remote, open_bytes, resolve
from ctrloom.data.threads import Ahead
from ctrloom.progress import Advance, progress

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Input:
    """A source file, and its local path."""

    record: SourceFile
    local: str
    begun: Iterable[TypedBatch] | None = None  # its rows, if reading has already started

    def rows(self, source: SourceConfig) -> Iterator[TypedBatch]:
        """Typed rows of the file.

        Raises:
            DataError: it is empty, cannot be read, or lacks a column.
        """
        try:
            yield from read_rows(source, [self.local])
        except DataError as error:
            raise DataError(str(error).replace(self.local, self.record.path)) from error


@contextmanager
def gathered(files: Files, source: SourceConfig, folder: Path) -> Iterator[list[Input]]:
    """Find and hash all files; remote ones are copied to a temporary directory in `folder`.

    Hashing uses one thread; meanwhile others start to read the rows of the first file.

    Raises:
        DataError: no file matches, a file cannot be read, or a file is listed twice.
    """
    found: list[tuple[Split, str]] = [(s, path) for s in SPLITS for path in resolve(getattr(files, s))]
    for path, times in Counter(path for _, path in found).items():
        if times > 1:
            raise DataError(f"{path}: is listed twice in `files`; its rows would be counted twice")
    with ExitStack() as stack:
        copies = stack.enter_context(storage.scratch_directory("inputs", folder))
        first = found[0][1]
        begun = None if is_remote(first) else stack.enter_context(Ahead(read_rows(source, [first])))
        with progress("checksums", _local_bytes(path for _, path in found), "bytes") as advance:
            inputs = [_gather(split, path, copies / str(i), advance) for i, (split, path) in enumerate(found)]
        yield [replace(inputs[0], begun=begun), *inputs[1:]]


def _local_bytes(paths: Iterable[str]) -> int | None:
    sizes = [None if is_remote(path) else Path(path).stat().st_size for path in paths]
    return None if None in sizes else sum(filter(None, sizes))


def _gather(split: Split, path: str, copy: Path, advance: Advance) -> Input:
    digest, size, remote = hashlib.sha256(), 0, is_remote(path)
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
    return Input(record, str(copy) if remote else path)
