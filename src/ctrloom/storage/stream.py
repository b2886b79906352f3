"""Objects in place: written as they are made, read by range, through pyarrow's file systems."""

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from functools import cache, partial
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import pyarrow as pa
from pyarrow import fs

from ctrloom.storage import remote
from ctrloom.storage.clients import client
from ctrloom.storage.errors import StorageError, explaining, status
from ctrloom.storage.location import Location, Place, Scheme
from ctrloom.storage.remote import Done, Listed

BUFFER = 1 << 20  # of what is written: for each of many small pieces pyarrow would wait for Python


@dataclass
class Written:
    """What was written so far: where to, and how to know it again."""

    at: Place
    sink: Any  # a file that pyarrow can write to
    bytes: int = 0
    sha256: str = ""


class _Counting:
    """Passes bytes on to a file and sums them up, until it is told to stop."""

    closed = False

    def __init__(self, to: Any, sums: list[Any], task: Callable[[], AbstractContextManager[None]]) -> None:
        self.to, self.sums, self.task, self.bytes = to, sums, task, 0

    def write(self, content: Any) -> int:
        if self.to is not None:
            with self.task():
                self.to.write(content)
            self.bytes += len(content)
            for each in self.sums:
                each.update(bytes(content))
        return len(content)

    def stop(self) -> None:
        """Pass on nothing more: pyarrow hands over what a failed writer has left when that is forgotten."""
        self.to = None

    def tell(self) -> int:
        return self.bytes

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass  # whoever opened `to` closes it


@contextmanager
def writing(at: Place, *sums: Any) -> Iterator[Written]:
    """A new file, whose size and checksum are known at the end; that of an object store was verified there.

    All that is written and flushed goes to `sums` too, which have `update` like those of hashlib.

    Raises:
        StorageError: it cannot be written, or arrived damaged.
    """
    digest = hashlib.sha256()
    if isinstance(at, Path):
        at.parent.mkdir(parents=True, exist_ok=True)
        with open(at, "wb") as file, _passing(file, [digest, *sums]) as (through, sink):
            written = Written(at, sink)
            yield written
            sink.flush()
        written.bytes, written.sha256 = through.bytes, digest.hexdigest()
        return
    store, task = client(at), partial(explaining, at, "written")
    checksum = store.checksum()
    with task():
        stream = filesystem(at).open_output_stream(at.path)
    try:
        with _passing(stream, [digest, checksum, *sums], task) as (through, sink):
            written = Written(at, sink)
            yield written
            sink.flush()
    finally:
        with task():
            stream.close()
    written.bytes, written.sha256 = through.bytes, digest.hexdigest()
    if not store.holds(at, through.bytes, checksum):
        raise StorageError(f"{at}: arrived damaged in the store; run the same again")


@contextmanager
def _passing(
    to: Any, sums: list[Any], task: Callable[[], AbstractContextManager[None]] = nullcontext
) -> Iterator[tuple[_Counting, Any]]:
    """What passes on bytes, within `task`, and before it a file that pyarrow can write to."""
    through = _Counting(to, sums, task)
    try:
        yield through, pa.BufferedOutputStream(pa.PythonFile(through, "w"), BUFFER)
    finally:
        through.stop()


def find(at: Location) -> Listed:
    """An object, to be read by range.

    Raises:
        StorageError: there is no such object, or the store cannot be asked.
    """
    if found := client(at).find(at):
        return found
    raise StorageError(f"{at}: cannot be read: no such object or bucket; check the name")


def read_range(found: Listed, start: int, stop: int) -> bytes:
    """Bytes of an object; whoever reads verifies them.

    Raises:
        StorageError: it is not the one that was found any more, or cannot be read.
    """
    content = client(found.at).read_range(found, start, stop)
    if len(content) != stop - start:
        raise OSError(f"{len(content)} bytes came of {stop - start}")
    return content


def patiently(at: Location, read: Callable[[], Done]) -> Done:
    """What reading an object in place gives; it is tried again when bytes come damaged or break off.

    Raises:
        StorageError: there is no such object, or it cannot be read, or arrives damaged every time.
    """
    return remote.persistent(read, _may_pass, at, "read")


def filesystem(at: Location) -> fs.FileSystem:
    """The file system that an object is in; its paths are those of `Location.path`."""
    return _filesystem(at.scheme, remote.endpoint(at.scheme), at.bucket if at.scheme == "s3" else "")


def _may_pass(error: Exception) -> bool:
    return isinstance(error, OSError | pa.ArrowException) and status(error) not in (401, 403, 404)


@cache
def _filesystem(scheme: Scheme, endpoint: str, bucket: str) -> fs.FileSystem:
    server = urlparse(endpoint)
    if scheme == "gs":
        patience = timedelta(seconds=remote.PATIENCE)
        if not endpoint:
            return fs.GcsFileSystem(retry_time_limit=patience)
        return fs.GcsFileSystem(
            anonymous=True, scheme=server.scheme, endpoint_override=server.netloc, retry_time_limit=patience
        )
    retries = fs.AwsStandardS3RetryStrategy(max_attempts=remote.TRIES)
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if not endpoint:
        with explaining(Location("s3", bucket), "read"):
            return fs.S3FileSystem(region=region or fs.resolve_s3_region(bucket), retry_strategy=retries)
    return fs.S3FileSystem(
        region=region or "us-east-1",
        scheme=server.scheme,
        endpoint_override=server.netloc,
        retry_strategy=retries,
    )
