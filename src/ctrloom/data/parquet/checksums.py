"""Ranged reads of Parquet files in object stores, with every byte verified.

Parquet's own checksums do not cover the bytes between pages and the footer: one wrong byte there can drop
or change rows silently. So the footer stores a checksum of every block of bytes before it, and is itself
read twice and compared.
"""

import base64
import io
import zlib
from array import array
from collections.abc import Sequence
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from ctrloom import storage
from ctrloom.storage import Location, StorageError

BLOCK = 1 << 14  # unit of checksums: smaller blocks reduce the overhead of a read, but need more checksums
TAIL = 1 << 16  # larger than most footers
KEY = "ctrloom.blocks"


class Blocks:
    """CRC-32 checksums of blocks, computed incrementally."""

    def __init__(self) -> None:
        self.sums, self.filled = array("I"), 0  # the last block has `filled` bytes

    def update(self, content: bytes) -> None:
        """Add the next bytes."""
        view = memoryview(content)
        while view:
            if self.filled in (0, BLOCK):
                self.sums.append(0)
                self.filled = 0
            here, view = view[: BLOCK - self.filled], view[BLOCK - self.filled :]
            self.sums[-1] = zlib.crc32(here, self.sums[-1])
            self.filled += len(here)

    def text(self) -> str:
        """The checksums in the format of the footer."""
        return base64.b64encode(self.sums.tobytes()).decode()


def dataset(files: Sequence[Location]) -> Any:
    """Parquet files as one data set.

    Raises:
        StorageError: the object does not exist, cannot be read, or fails its checksum on every attempt.
    """
    system = fs.PyFileSystem(fs.FSSpecHandler(_Files(files)))
    import pyarrow.dataset  # loads pandas

    return pyarrow.dataset.dataset([str(file) for file in files], filesystem=system, format="parquet")


class Verified:
    """A Parquet file in a store, pinned to its generation at opening; can be shared by several readers.

    Raises:
        StorageError: the object does not exist, cannot be read, or fails its checksum on every attempt.
    """

    def __init__(self, at: Location) -> None:
        self.object = storage.find(at)
        self.footer = self._footer()
        self.data = self.object.bytes - len(self.footer)  # start of the footer
        written = (pq.read_metadata(pa.BufferReader(self.footer)).metadata or {}).get(KEY.encode(), b"")
        self.sums = array("I", base64.b64decode(written))
        if len(self.sums) != -(-self.data // BLOCK):
            raise StorageError(f"{at}: has no block checksums; rebuild the data set")

    def opened(self) -> Any:
        """The file for pyarrow; columns are read with few requests."""
        return pa.PythonFile(_File(self), "r")

    def read(self, start: int, stop: int) -> bytes:
        """Some bytes of the file.

        Raises:
            StorageError: they cannot be read, or fail their checksum on every attempt.
        """
        before = self._verified(start, min(stop, self.data)) if start < min(stop, self.data) else b""
        return before + self.footer[max(start - self.data, 0) : max(stop - self.data, 0)]

    def _verified(self, start: int, stop: int) -> bytes:
        """Bytes before the footer, read by whole blocks."""
        first, end = start // BLOCK, min(-(-stop // BLOCK) * BLOCK, self.data)

        def attempt() -> bytes:
            content = memoryview(storage.read_range(self.object, first * BLOCK, end))
            for number, place in enumerate(range(0, len(content), BLOCK), first):
                if zlib.crc32(content[place : place + BLOCK]) != self.sums[number]:
                    raise OSError("corrupted in transfer")
            return bytes(content[start - first * BLOCK : stop - first * BLOCK])

        return storage.patiently(self.object.at, attempt)

    def _footer(self) -> bytes:
        size = self.object.bytes
        tail = self._agreed(max(0, size - TAIL), size)
        length = int.from_bytes(tail[-8:-4], "little") + 8
        if tail[-4:] != b"PAR1" or length > size:
            raise StorageError(f"{self.object.at}: is not Parquet")
        if length > len(tail):
            tail = self._agreed(size - length, size - len(tail)) + tail
        return tail[-length:]

    def _agreed(self, start: int, stop: int) -> bytes:
        """Bytes that are the same in two reads."""

        def attempt() -> bytes:
            one, other = (storage.read_range(self.object, start, stop) for _ in range(2))
            if one != other:
                raise OSError("corrupted in transfer")
            return one

        return storage.patiently(self.object.at, attempt)


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
        self.place = offset + (0, self.place, self.known.object.bytes)[whence]
        return self.place

    def read(self, size: int | None = -1) -> bytes:
        start, stop = self.place, self.known.object.bytes
        if size is not None and size >= 0:
            stop = min(stop, start + size)
        self.place = max(start, stop)
        return self.known.read(start, stop)


class _Files(fsspec.AbstractFileSystem):
    """The part of the file system interface that pyarrow needs to read named files."""

    protocol, cachable = "verified", False

    def __init__(self, files: Sequence[Location]) -> None:
        super().__init__()
        self.files = {str(file): file for file in files}

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        return {"name": path, "size": storage.find(self.files[path]).bytes, "type": "file"}

    def isfile(self, path: str) -> bool:
        return True

    def open(self, path: str, *_: Any, **__: Any) -> _File:
        return _File(Verified(self.files[path]))
