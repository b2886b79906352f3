"""Corrupted reads and damaged Parquet files never give wrong rows."""

import io
import random
import re
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from damage import undetected

from ctrloom import storage
from ctrloom.config.errors import UserError
from ctrloom.data.errors import DataError
from ctrloom.data.parquet import checksums, reader, verified, writer
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
    monkeypatch.setattr(verified, "TAIL", 512)
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
    file, rng = verified.Verified(AT).opened(), random.Random(3)
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
            connection.register("objects", verified.dataset([AT]))
            assert connection.sql(query).fetchall() == truth


def test_a_file_without_checksums_is_refused(
    rows: pa.Table, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checksums, "KEY", "another")
    serve(lambda _, content: content)
    with pytest.raises(StorageError, match="has no block checksums; rebuild the data set"):
        read()


@pytest.fixture
def local(content: bytes, tmp_path: Path) -> Path:
    """The same file on this machine."""
    return tmp_path / "rows.parquet"


def test_rows_of_a_local_file_are_verified(local: Path, rows: pa.Table) -> None:
    def all_rows() -> object:
        return pa.Table.from_batches(reader.read_parts([local])).to_pylist()

    def by_query() -> object:
        with duckdb.connect() as connection:
            connection.register("files", verified.dataset([local]))
            return connection.sql(
                "SELECT sum(user), count(age), sum(len(tags)), count(*) FROM files"
            ).fetchall()

    assert all_rows() == rows.to_pylist()
    for read in (all_rows, by_query, lambda: reader.read_table(local, ["user", "age"]).to_pylist()):
        assert undetected(read, local.parent, 150) <= 10  # the first four bytes, and those of other columns


def test_every_byte_of_the_footer_is_verified(local: Path, content: bytes, rows: pa.Table) -> None:
    """Names, types and counts of the columns are there."""
    start = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    for place in range(start, len(content)):
        local.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        with pytest.raises((StorageError, DataError), match="^" + re.escape(str(local))) as error:
            reader.PartReader(local)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("size", [0, 1, 4, 11, 12, 60, 300, -1, -9])
def test_a_truncated_local_file_is_an_error(local: Path, content: bytes, size: int) -> None:
    local.write_bytes(content[:size])
    with pytest.raises(UserError, match=f"^{re.escape(str(local))}: is not Parquet, or is damaged; delete"):
        reader.PartReader(local)


def test_a_file_that_changes_while_it_is_read_is_named(local: Path, content: bytes) -> None:
    part = reader.PartReader(local)
    assert len(list(part.rows())) == 2
    local.write_bytes(content[:-1] + b"1")
    with pytest.raises(DataError, match=r"rows\.parquet: was changed while it was being read"):
        list(part.rows())


def test_files_of_others_are_read_without_verification(tmp_path: Path, rows: pa.Table) -> None:
    pq.write_table(rows, tmp_path / "other.parquet")
    assert pa.Table.from_batches(reader.read_parts([tmp_path / "other.parquet"])).equals(rows)
    with pytest.raises(DataError, match=r"other\.parquet: cannot be read: .*absent"):
        reader.read_table(tmp_path / "other.parquet", ["absent"])
    with pytest.raises(DataError, match=r"none\.parquet: cannot be read: .*No such file"):
        reader.PartReader(tmp_path / "none.parquet")


def test_a_footer_that_contradicts_itself_is_an_error(tmp_path: Path) -> None:
    """Of a file without a seal: PyArrow would end the process if asked for a column's description."""
    path = tmp_path / "other.parquet"
    pq.write_table(pa.table({"a": pa.array([1, 2, 3] * 50, pa.int32()), "s": ["x", "y", None] * 50}), path)
    content = path.read_bytes()
    start = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    optional = [at for at in range(start, len(content) - 8) if content[at] == 2]  # of these bytes, some are
    read = "import sys; from pathlib import Path; from ctrloom.data.parquet import reader\n"
    read += "for path in map(Path, sys.argv[1:]):\n"
    read += "    try: list(reader.PartReader(path).rows(dictionaries=['s']))\n"
    read += "    except ValueError as error: print(error)\n"
    files = [tmp_path / f"{at}.parquet" for at in optional]
    for file, at in zip(files, optional, strict=True):
        file.write_bytes(content[:at] + b"\0" + content[at + 1 :])  # a required column
    done = subprocess.run([sys.executable, "-c", read, *map(str, files)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "cannot be read" in done.stdout


class Counted(io.BytesIO):
    """Bytes, and how many of them were read."""

    count = 0

    def read(self, size: int | None = -1) -> bytes:
        found = super().read(size)
        self.count += len(found)
        return found


def test_little_is_read_of_a_file_that_is_not_parquet() -> None:
    """The last bytes of other files are no length of a footer."""
    stream = Counted(b"x" * 10 * verified.TAIL + (5 * verified.TAIL).to_bytes(4, "little") + b"text")
    assert verified.opened_if_sealed("rows.parquet", stream) is stream
    assert (stream.count, stream.tell()) == (verified.TAIL, 0)
