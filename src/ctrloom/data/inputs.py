"""The files that a data set is made from, with their checksums."""

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ctrloom.config import SPLITS, Files, Split
from ctrloom.data.errors import DataError
from ctrloom.data.manifest import SourceFile
from ctrloom.data.sources.files import is_remote, open_bytes, resolve
from ctrloom.progress import Advance, progress

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Input:
    """A file to read, and where its bytes are on this machine."""

    record: SourceFile
    local: str


@contextmanager
def gathered(files: Files, folder: Path) -> Iterator[list[Input]]:
    """Find and hash all files; those of other machines are copied to a temporary directory in `folder`.

    Raises:
        DataError: no file matches, one cannot be read, or one is named twice.
    """
    found: list[tuple[Split, str]] = [(s, path) for s in SPLITS for path in resolve(getattr(files, s))]
    paths = [path for _, path in found]
    for path in paths:
        if paths.count(path) > 1:
            raise DataError(f"{path}: is named twice in `files`; its rows would be counted twice")
    local_bytes = [None if is_remote(path) else Path(path).stat().st_size for path in paths]
    total = None if None in local_bytes else sum(size for size in local_bytes if size is not None)
    with (
        tempfile.TemporaryDirectory(prefix=".inputs.", dir=folder) as copies,
        progress("checksums", total, "bytes") as advance,
    ):
        yield [_gather(split, path, Path(copies) / str(i), advance) for i, (split, path) in enumerate(found)]


def _gather(split: Split, path: str, copy: Path, advance: Advance) -> Input:
    digest, size, remote = hashlib.sha256(), 0, is_remote(path)
    with open_bytes(path) as stream, open(copy if remote else "/dev/null", "wb") as aside:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
            if remote:
                aside.write(chunk)
            advance(len(chunk))
    record = SourceFile(split=split, path=path, bytes=size, sha256=digest.hexdigest())
    return Input(record, str(copy) if remote else path)
