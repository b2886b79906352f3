"""Checksums within Parquet files, which cover every byte.

Parquet's own checksums do not cover the bytes between pages and the footer: one wrong byte there can drop
or change rows silently. So the footer has a checksum of every block of bytes before it, and in front of the
footer, where Parquet has no bytes, is a checksum of the footer.
"""

import base64
import hashlib
import zlib
from array import array
from collections.abc import Mapping
from typing import Any

BLOCK = 1 << 14  # unit of checksums: smaller blocks reduce the overhead of a read, but need more checksums
KEY = "ctrloom.blocks"
SEAL = b"ctrloom footer: "  # followed by the SHA-256 of the footer
SEAL_BYTES = len(SEAL) + hashlib.sha256().digest_size


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


def sums_in(metadata: Mapping[bytes, bytes] | None) -> "array[int]":
    """The checksums in the metadata of a footer; empty if there are none, ValueError if they are damaged."""
    return array("I", base64.b64decode((metadata or {}).get(KEY.encode(), b""), validate=True))


def seal_of(footer: bytes) -> bytes:
    """What is in front of a footer."""
    return SEAL + hashlib.sha256(footer).digest()


class SealedFooter:
    """A file for a Parquet writer in front of another file; puts the checksum in front of the footer."""

    closed = False

    def __init__(self, to: Any) -> None:
        self.to, self.footer = to, bytearray()
        self.is_footer = False  # whether what follows is the footer

    def write(self, content: Any) -> int:
        """Pass on what precedes the footer."""
        if self.is_footer:
            self.footer += content
        else:
            self.to.write(content)
        return len(content)

    def finish(self) -> str:
        """Write the checksum and the footer; returns the checksum."""
        seal = seal_of(bytes(self.footer))
        self.to.write(seal + self.footer)
        return seal.removeprefix(SEAL).hex()

    def flush(self) -> None:
        """Nothing: `to` has a buffer of its own."""

    def close(self) -> None:
        """Nothing: the caller closes `to`."""
