"""Parquet files in object stores, every byte of which is verified when it is read by range.

Parquet's own checksums leave out what stands between pages, and the footer: one wrong byte there loses
rows or makes others of them, in silence. So the footer has a checksum for every block of bytes before it,
and counts as read when it came twice alike.
"""

import base64
import io
import zlib
from array import array
from collections.abc import Sequence
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
from pyarrow import fs

from ctrloom import storage
from ctrloom.storage import Location, StorageError

BLOCK = 1 << 14  # as little as is worth a checksum: what is read besides what was asked for
TAIL = 1 << 16  # more than most footers
KEY = "ctrloom.blocks"


class Blocks:
    """Checksums (CRC-32) of blocks, taken as bytes pass."""

    def __init__(self) -> None:
        self.sums, self.filled = array("I"), 0  # the last block has `filled` bytes

    def update(self, content: bytes) -> None:
        """Take the next bytes."""
        view = memoryview(content)
        while view:
            if self.filled in (0, BLOCK):
                self.sums.append(0)
                self.filled = 0
            here, view = view[: BLOCK - self.filled], view[BLOCK - self.filled :]
            self.sums[-1] = zlib.crc32(here, self.sums[-1])
            self.filled += len(here)

    def text(self) -> str:
        """The checksums, as they stand in a footer."""
        return base64.b64encode(self.sums.tobytes()).decode()


def dataset(files: Sequence[Location]) -> pyarrow.dataset.Dataset:
    """Parquet files as one data set.

    Raises:
        StorageError: there is no such object, it cannot be read, or arrives damaged every time.
    """
    system = fs.PyFileSystem(fs.FSSpecHandler(_Files(files)))
    return pyarrow.dataset.dataset([str(file) for file in files], filesystem=system, format="parquet")


class Verified:
    """A Parquet file in a store, as it was when it was asked for; any number of readers share what is known.

    Raises:
        StorageError: there is no such object, it cannot be read, or arrives damaged every time.
    """

    def __init__(self, at: Location) -> None:
        self.object = storage.find(at)
        self.footer = self._footer()
        self.data = self.object.bytes - len(self.footer)  # where the footer begins
        written = (pq.read_metadata(pa.BufferReader(self.footer)).metadata or {}).get(KEY.encode(), b"")
        self.sums = array("I", base64.b64decode(written))
        if len(self.sums) != -(-self.data // BLOCK):
            raise StorageError(f"{at}: has no checksums to verify it by; make the data set again")

    def opened(self) -> Any:
        """The file as pyarrow reads it; columns are read by few requests."""
        return pa.PythonFile(_File(self), "r")

    def read(self, start: int, stop: int) -> bytes:
        """Some bytes of the file.

        Raises:
            StorageError: they cannot be read, or arrive damaged every time.
        """
        before = self._verified(start, min(stop, self.data)) if start < min(stop, self.data) else b""
        return before + self.footer[max(start - self.data, 0) : max(stop - self.data, 0)]

    def _verified(self, start: int, stop: int) -> bytes:
        """Bytes before the footer, cut out of the blocks that have them."""
        first, end = start // BLOCK, min(-(-stop // BLOCK) * BLOCK, self.data)

        def attempt() -> bytes:
            content = memoryview(storage.read_range(self.object, first * BLOCK, end))
            for number, place in enumerate(range(0, len(content), BLOCK), first):
                if zlib.crc32(content[place : place + BLOCK]) != self.sums[number]:
                    raise OSError("arrives damaged")
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
        """Bytes that come twice alike."""

        def attempt() -> bytes:
            one, other = (storage.read_range(self.object, start, stop) for _ in range(2))
            if one != other:
                raise OSError("arrives damaged")
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
    """What pyarrow asks of a file system to read files that it is given the names of."""

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
