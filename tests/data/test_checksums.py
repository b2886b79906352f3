"""Corrupted reads of Parquet files in a store never give wrong rows."""

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import duckdb
import pyarrow as pa
import pytest

from ctrloom import storage
from ctrloom.data.parquet import checksums, reader, writer
from ctrloom.storage import Location, StorageError
from ctrloom.storage.remote import Listed

AT = Location("gs", "loom/rows.parquet")
ROWS = 300


@pytest.fixture
def rows() -> pa.Table:
    rng = random.Random(0)
    columns = {
        "user": pa.array([rng.randrange(50) for _ in range(2 * ROWS)], pa.int32()),
        "age": pa.array([rng.choice([None, "v1", "v2", "v3"]) for _ in range(2 * ROWS)]),
        "tags": pa.array(
            [[rng.randrange(9)] * rng.randrange(4) for _ in range(2 * ROWS)], pa.list_(pa.int32())
        ),
        "label": pa.array([rng.random() for _ in range(2 * ROWS)], pa.float32()),
    }
    return pa.table(columns)


@pytest.fixture
def content(rows: pa.Table, tmp_path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """The rows as a file with two row groups and many blocks."""
    monkeypatch.setattr(checksums, "BLOCK", 256)
    monkeypatch.setattr(checksums, "TAIL", 512)
    with writer.table_writer(tmp_path / "rows.parquet", rows.schema) as (file, _):
        file.write_table(rows, row_group_size=ROWS)
    return (tmp_path / "rows.parquet").read_bytes()


Serve = Callable[[Callable[[int, bytes], bytes]], None]


@pytest.fixture
def serve(content: bytes, monkeypatch: pytest.MonkeyPatch) -> Serve:
    """Serve the file as an object; the given function changes the bytes at an offset."""

    def start(way: Callable[[int, bytes], bytes]) -> None:
        monkeypatch.setattr(storage, "find", lambda at: Listed(at, len(content), "1"))
        monkeypatch.setattr(storage, "read_range", lambda _, start, stop: way(start, content[start:stop]))

    return start


def flipped(place: int, mask: int, times: int) -> Callable[[int, bytes], bytes]:
    """Change one byte of the file the first `times` times that it is read."""
    left = [times]

    def way(start: int, content: bytes) -> bytes:
        if not start <= place < start + len(content) or not left[0]:
            return content
        left[0] -= 1
        here = place - start
        return content[:here] + bytes([content[here] ^ mask]) + content[here + 1 :]

    return way


def read() -> pa.Table:
    return pa.Table.from_batches(reader.read_parts([AT]))


def test_a_wrong_byte_anywhere_is_read_again(rows: pa.Table, content: bytes, serve: Serve) -> None:
    rng = random.Random(1)
    for place in [*range(0, len(content), 11), *range(len(content) - 40, len(content))]:
        serve(flipped(place, rng.randrange(1, 256), times=1))
        assert read().equals(rows), place


def test_a_byte_that_stays_wrong_is_an_error(rows: pa.Table, content: bytes, serve: Serve) -> None:
    rng = random.Random(2)
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    for place in [rng.randrange(4, footer) for _ in range(40)]:  # the first four bytes are never read
        serve(flipped(place, rng.randrange(1, 256), times=10**6))
        with pytest.raises(StorageError, match=r"gs://loom/rows\.parquet: .*corrupted in transfer"):
            read()


def test_any_part_of_the_file_can_be_read(content: bytes, serve: Serve) -> None:
    serve(lambda _, content: content)
    file, rng = checksums.Verified(AT).opened(), random.Random(3)
    for _ in range(200):
        start, size = rng.randrange(len(content) + 10), rng.randrange(2000)
        file.seek(start)
        assert file.read(size) == content[start : start + size]
    file.seek(-8, 2)
    assert (file.tell(), file.read()) == (len(content) - 8, content[-8:])


def test_footer_and_metadata_are_requested_once(
    rows: pa.Table, content: bytes, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(lambda _, content: content)
    asked: list[str] = []
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    find, read_range = storage.find, storage.read_range
    monkeypatch.setattr(storage, "find", lambda at: asked.append("object") or find(at))
    monkeypatch.setattr(
        storage,
        "read_range",
        lambda at, start, stop: (stop > footer and asked.append("footer")) or read_range(at, start, stop),
    )
    part = reader.PartReader(AT)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda span: pa.Table.from_batches(part.rows(span)), part.spans * 8))
    assert found == [rows.slice(span.start, len(span)) for span in part.spans] * 8
    assert asked.count("object") == 1
    assert asked.count("footer") <= 4  # it is read twice, and may need two requests each time


def test_queries_verify_checksums_too(rows: pa.Table, content: bytes, serve: Serve) -> None:
    query = "SELECT sum(user), count(age), sum(len(tags)), count(*) FROM objects"
    truth = duckdb.from_arrow(rows).query("objects", query).fetchall()
    for place in range(5, len(content), len(content) // 20):
        serve(flipped(place, 0x55, times=1))
        with duckdb.connect() as connection:
            connection.register("objects", checksums.dataset([AT]))
            assert connection.sql(query).fetchall() == truth


def test_a_file_without_checksums_is_refused(
    rows: pa.Table, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checksums, "KEY", "another")
    serve(lambda _, content: content)
    with pytest.raises(StorageError, match="has no block checksums; rebuild the data set"):
        read()
