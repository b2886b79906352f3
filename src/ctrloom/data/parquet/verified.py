"""Ranged reads of Parquet files, locally or in an object store, with every byte verified."""

import io
import os
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from ctrloom import storage
from ctrloom.data.errors import DamagedDataError
from ctrloom.data.parquet import checksums
from ctrloom.storage import DamagedError, Location, Place, StorageError, one_line

TAIL = 1 << 16  # larger than most footers
MAGIC = b"PAR1"  # at the end of every Parquet file
AGAIN = "delete it, or its data set, bundle or copy, and create it again"

Done = TypeVar("Done")


def dataset(files: Sequence[Place]) -> Any:
    """Parquet files as one data set.

    Raises:
        StorageError: a file does not exist, cannot be read, or fails its checksum (an object: every time).
    """
    system = fs.PyFileSystem(fs.FSSpecHandler(_Files(files)))
    import pyarrow.dataset  # loads pandas

    return pyarrow.dataset.dataset([str(file) for file in files], filesystem=system, format="parquet")


class _Object:
    """An object, pinned to its generation; what was corrupted in transfer is read again."""

    def __init__(self, at: Location) -> None:
        self.at, self.found = at, storage.find(at)
        self.bytes = self.found.bytes

    def read(self, start: int, stop: int) -> bytes:
        return storage.read_range(self.found, start, stop)

    def retried(self, read: Callable[[], Done]) -> Done:
        return storage.patiently(self.at, read)

    def corrupt(self) -> Exception:
        return OSError("corrupted in transfer")


class _LocalFile:
    """A local file, which must not change while it is read."""

    def __init__(self, at: Path) -> None:
        self.at, self.state = at, _state(os.stat(at))
        self.bytes = self.state[0]

    def read(self, start: int, stop: int) -> bytes:
        with open(self.at, "rb", buffering=0) as file:
            if _state(os.fstat(file.fileno())) != self.state:
                raise DamagedDataError(
                    f"{self.at}: was changed while it was being read; run the command again"
                )
            content = os.pread(file.fileno(), stop - start, start)
            while len(content) < stop - start:
                content += os.pread(file.fileno(), stop - start - len(content), start + len(content))
        return content

    def retried(self, read: Callable[[], Done]) -> Done:
        return read()

    def corrupt(self) -> Exception:
        return _damaged(self.at)


class _Stream:
    """A file that is open already."""

    def __init__(self, at: str, stream: Any) -> None:
        self.at, self.stream = at, stream
        self.bytes = stream.seek(0, os.SEEK_END) or stream.tell()

    def read(self, start: int, stop: int) -> bytes:
        self.stream.seek(start)
        return bytes(self.stream.read(stop - start))

    def retried(self, read: Callable[[], Done]) -> Done:
        return read()

    def corrupt(self) -> Exception:
        return _damaged(self.at)


def opened_if_sealed(at: str, stream: Any) -> Any:
    """A Parquet file for pyarrow, with every byte verified if it has a seal; `stream` if others wrote it.

    Others copy the checksums of blocks from a file that they read, but not the seal. A seal with a damaged
    byte is known by its other part.

    Raises:
        DamagedError: its footer is not as it was written.
    """
    file = _Stream(at, stream)
    end = file.read(max(file.bytes - TAIL, 0), file.bytes)  # as pyarrow does: all of a small file
    footer = file.bytes - _length(end)
    if end.endswith(MAGIC) and (start := footer - checksums.SEAL_BYTES) >= 0:  # else it is not Parquet
        found, right = file.read(start, footer), checksums.seal_of(file.read(footer, file.bytes))
        name = len(checksums.SEAL)
        if found[:name] == right[:name] or found[name:] == right[name:]:
            return Verified(file).opened()
    stream.seek(0)
    return stream


def _damaged(at: object) -> DamagedError:
    return DamagedError(f"{at}: was changed or damaged after it was written; {AGAIN}")


def _state(stat: os.stat_result) -> tuple[int, int, int]:
    return stat.st_size, stat.st_mtime_ns, stat.st_ino


class Verified:
    """A Parquet file whose bytes are verified as they are read; can be shared by several readers.

    A local file without checksums, which others wrote, is not verified: `sums` is empty.

    Raises:
        StorageError: the file does not exist, cannot be read, or fails its checksum (an object: every time).
    """

    def __init__(self, at: Place | _Stream) -> None:
        opened = _Object(at) if isinstance(at, Location) else _LocalFile(at) if isinstance(at, Path) else at
        self.file: _Object | _LocalFile | _Stream = opened
        self.tail, footer = self._read_footer()
        self.data = self.file.bytes - len(self.tail)  # where the rows end
        try:
            self.footer = pq.read_metadata(pa.BufferReader(footer))
            self.sums = checksums.sums_in(self.footer.metadata)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise DamagedError(
                f"{self.file.at}: its footer is damaged: {one_line(error)}; {AGAIN}"
            ) from error
        if not self.sums and isinstance(at, Location):
            raise StorageError(f"{self.file.at}: has no block checksums; rebuild the data set")
        if self.sums and len(self.sums) != -(-self.data // checksums.BLOCK):
            raise DamagedError(f"{self.file.at}: has not as many bytes as when it was written; {AGAIN}")

    @property
    def seal(self) -> str:
        """SHA-256 of the footer as it was written; empty in a file of an older version or of others."""
        start = self.tail[: checksums.SEAL_BYTES]
        return start.removeprefix(checksums.SEAL).hex() if start.startswith(checksums.SEAL) else ""

    def opened(self) -> Any:
        """The file for pyarrow; columns are read with few requests."""
        return pa.PythonFile(_File(self), "r")

    def read(self, start: int, stop: int) -> bytes:
        """Some bytes of the file.

        Raises:
            StorageError: they cannot be read, or fail their checksum (those of an object: every time).
        """
        if stop <= self.data:
            return self._verified(start, stop) if start < stop else b""
        before = self._verified(start, self.data) if start < self.data else b""
        return before + self.tail[max(start - self.data, 0) : stop - self.data]

    def _verified(self, start: int, stop: int) -> bytes:
        """Bytes before the footer, read by whole blocks."""
        size = checksums.BLOCK
        first, end = start // size, min(-(-stop // size) * size, self.data)

        def attempt() -> bytes:
            content = self.file.read(first * size, end)
            blocks = memoryview(content)
            for number, place in enumerate(range(0, len(content) if self.sums else 0, size), first):
                if zlib.crc32(blocks[place : place + size]) != self.sums[number]:
                    raise self.file.corrupt()
            return content[start - first * size : stop - first * size]

        return self.file.retried(attempt)

    def _read_footer(self) -> tuple[bytes, bytes]:
        """What follows the rows, and the footer itself."""
        size, place = self.file.bytes, self.file.at

        def end(length: int) -> bytes:
            return self.file.read(size - min(length, size), size)

        def attempt() -> tuple[bytes, bytes]:
            tail = end(TAIL)
            while len(tail) < min(needed := _length(tail) + checksums.SEAL_BYTES, size):
                tail = end(needed)
            length = _length(tail)
            footer, before = tail[-length:], tail[-length - checksums.SEAL_BYTES : -length]
            if before == checksums.seal_of(footer):
                return before + footer, footer
            if end(len(tail)) != tail:
                raise OSError("corrupted in transfer")
            if tail[-4:] != MAGIC or length > size:
                raise StorageError(f"{place}: is not Parquet, or is damaged; {AGAIN}")
            if before.startswith(checksums.SEAL):
                raise self.file.corrupt()
            return footer, footer  # of an older version

        return self.file.retried(attempt)


def _length(tail: bytes) -> int:
    """The length of a footer, given the end of the file."""
    return int.from_bytes(tail[-8:-4], "little") + 8


class _File(io.RawIOBase):
    def __init__(self, known: Verified) -> None:
        self.known, self.place = known, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.place = offset + (0, self.place, self.known.file.bytes)[whence]
        return self.place

    def read(self, size: int | None = -1) -> bytes:
        start, stop = self.place, self.known.file.bytes
        if size is not None and size >= 0:
            stop = min(stop, start + size)
        self.place = max(start, stop)
        return self.known.read(start, stop)


class _Files(fsspec.AbstractFileSystem):
    """The part of the file system interface that pyarrow needs to read named files."""

    protocol, cachable = "verified", False

    def __init__(self, files: Sequence[Place]) -> None:
        super().__init__()
        self.files = {str(file): file for file in files}

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        at = self.files[path]
        size = storage.find(at).bytes if isinstance(at, Location) else at.stat().st_size
        return {"name": path, "size": size, "type": "file"}

    def isfile(self, path: str) -> bool:
        return True

    def open(self, path: str, *_: Any, **__: Any) -> _File:
        return _File(Verified(self.files[path]))
