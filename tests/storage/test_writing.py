"""Streaming writes: sizes and checksums match the bytes, and errors are reported once."""

import gc
import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ctrloom.data.parquet import checksums
from ctrloom.data.parquet.writer import table_writer
from ctrloom.storage import Location, Place, StorageError, stream

AT = Location("s3", "bucket/rows.parquet")
TABLE = pa.table({"a": np.random.default_rng(0).random(300_000)})  # of several megabytes


class Store:
    """A store with one object, whose connection is lost after `room` bytes."""

    def __init__(self, room: int = 1 << 40) -> None:
        self.room, self.content, self.writes, self.closed = room, b"", 0, False

    def checksum(self):
        return hashlib.md5()

    def holds(self, at: Location, size: int, checksum) -> bool:
        return len(self.content) == size and hashlib.md5(self.content).digest() == checksum.digest()

    def open_output_stream(self, path: str) -> "Store":
        return self

    def write(self, content: bytes) -> None:
        self.writes += 1
        if len(self.content) + len(content) > self.room:
            raise OSError("connection lost")
        self.content += bytes(content)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    made = Store()
    monkeypatch.setattr(stream, "client", lambda at: made)
    monkeypatch.setattr(stream, "filesystem", lambda at: made)
    return made


def write(at: Place, rows: int = len(TABLE)) -> stream.Written:
    with table_writer(at, TABLE.schema) as (writer, written):
        writer.write_table(TABLE.slice(0, rows), 1000)
    return written


@pytest.mark.parametrize("rows", [0, 1, len(TABLE)])
def test_size_and_checksums_are_those_of_the_bytes(rows: int, store: Store, tmp_path: Path) -> None:
    here = write(tmp_path / "rows.parquet", rows)
    there = write(AT, rows)
    assert (tmp_path / "rows.parquet").read_bytes() == store.content
    assert here.bytes == there.bytes == len(store.content)
    assert here.sha256 == there.sha256 == hashlib.sha256(store.content).hexdigest()
    blocks = checksums.Blocks()
    footer = 8 + int.from_bytes(store.content[-8:-4], "little")
    seal = checksums.seal_of(store.content[-footer:])
    assert store.content[:-footer].endswith(seal)
    blocks.update(store.content[: -footer - len(seal)])
    assert (
        pq.read_metadata(tmp_path / "rows.parquet").metadata[checksums.KEY.encode()] == blocks.text().encode()
    )


def test_small_writes_are_buffered(store: Store) -> None:
    write(AT)  # 300 row groups
    assert store.writes <= len(store.content) / stream.BUFFER + 3


@pytest.mark.parametrize(("room", "rows"), [(0, 10), (100, 10), (0, len(TABLE)), (2_000_000, len(TABLE))])
def test_a_lost_connection_is_one_message(
    room: int, rows: int, store: Store, capfd: pytest.CaptureFixture[str]
) -> None:
    store.room = room
    with pytest.raises(StorageError, match=r"^s3://bucket/rows\.parquet: cannot be written: connection lost"):
        write(AT, rows)
    gc.collect()
    assert store.closed
    assert capfd.readouterr().err == ""


def test_errors_of_the_caller_are_not_wrapped(
    store: Store, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def fails(at: Place) -> None:
        with table_writer(at, TABLE.schema) as (writer, _):
            writer.write_table(TABLE, 1000)
            raise ZeroDivisionError

    for at in (AT, tmp_path / "rows.parquet"):
        with pytest.raises(ZeroDivisionError):
            fails(at)
    gc.collect()
    assert store.closed
    assert capfd.readouterr().err == ""
