"""Streaming writes and ranged reads of objects through pyarrow's file systems."""

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

BUFFER = 1 << 20  # of writes: many small ones would call into Python each time


@dataclass
class Written:
    """A file that is being written, with its size and checksum when complete."""

    at: Place
    sink: Any  # a file that pyarrow can write to
    bytes: int = 0
    sha256: str = ""
    seal: str = ""  # SHA-256 of the footer of a Parquet file, which holds the checksums of all before it


class _Counting:
    """Forwards bytes to a file and to checksums until stopped."""

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
        """Forward nothing more: pyarrow flushes the buffer of a failed writer when it is destroyed."""
        self.to = None

    def tell(self) -> int:
        return self.bytes

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass  # the caller that opened `to` closes it


@contextmanager
def writing(at: Place, *sums: Any) -> Iterator[Written]:
    """Write a new file; its size and checksum are set at the end. An object's checksum is verified.

    All bytes that are written and flushed also go to `sums`, which have `update` like hashlib objects.

    Raises:
        StorageError: it cannot be written, or was corrupted in transfer.
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
        raise StorageError(f"{at}: was corrupted in transfer; run the command again")


@contextmanager
def _passing(
    to: Any, sums: list[Any], task: Callable[[], AbstractContextManager[None]] = nullcontext
) -> Iterator[tuple[_Counting, Any]]:
    """The forwarder of bytes, within `task`, and a buffered file in front of it for pyarrow to write to."""
    through = _Counting(to, sums, task)
    try:
        yield through, pa.BufferedOutputStream(pa.PythonFile(through, "w"), BUFFER)
    finally:
        through.stop()


def find(at: Location) -> Listed:
    """Look up an object, to be read by range.

    Raises:
        StorageError: it does not exist, or the store cannot be queried.
    """
    if found := client(at).find(at):
        return found
    raise StorageError(f"{at}: cannot be read: no such object or bucket; check the name")


def read_range(found: Listed, start: int, stop: int) -> bytes:
    """Bytes of an object; the caller must verify them.

    Raises:
        StorageError: the object was replaced, or cannot be read.
    """
    content = client(found.at).read_range(found, start, stop)
    if len(content) != stop - start:
        raise OSError(f"received {len(content)} of {stop - start} bytes")
    return content


def patiently(at: Location, read: Callable[[], Done]) -> Done:
    """The result of `read`, retried if data is truncated or corrupted in transfer.

    Raises:
        StorageError: the object does not exist, cannot be read, or is corrupted on every attempt.
    """
    return remote.persistent(read, _may_pass, at, "read")


def filesystem(at: Location) -> fs.FileSystem:
    """The file system of an object; its paths are `Location.path`."""
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
