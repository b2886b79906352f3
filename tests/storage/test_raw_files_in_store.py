"""Raw files in an object store: globs, verified reads, and fingerprints by generation."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from faults import Spoil

from ctrloom import storage
from ctrloom.config import DataConfig, Files, SourceConfig
from ctrloom.data.ingest.cast import read_rows
from ctrloom.data.ingest.run import ingest
from ctrloom.data.sources.files import resolve
from ctrloom.runners.request import revision
from ctrloom.storage import StorageError

# Clients leave sockets to the garbage collector when a server closes the connection.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
COLUMNS = {"click": "label", "user": "categorical"}


def clicks(rows: int, first: int = 0) -> str:
    return "click,user\n" + "".join(f"{n % 2},u{n % 7}\n" for n in range(first, first + rows))


def config(*files: str) -> DataConfig:
    return DataConfig.parse({"files": list(files), "columns": COLUMNS}, "test")


def test_a_glob_finds_objects(bucket: str) -> None:
    for name in ("day=1/a.csv", "day=2/b.csv", "day=2/b.txt", "other/c.csv"):
        storage.write_text(storage.place(bucket) / name, clicks(1))
    assert resolve([f"{bucket}/day=*/*.csv"]) == [f"{bucket}/day=1/a.csv", f"{bucket}/day=2/b.csv"]
    with pytest.raises(ValueError, match="no file matches"):
        resolve([f"{bucket}/none-*.csv"])


def test_rows_are_complete_despite_faults(bucket: str, tmp_path: Path, spoil: Spoil) -> None:
    (tmp_path / "a.csv").write_text(clicks(400))
    (tmp_path / "b.csv").write_text(clicks(300, first=400))
    storage.upload(tmp_path, storage.place(bucket))
    here = storage.read_json(ingest(config(str(tmp_path / "*.csv")), tmp_path / "here"))
    spoil(bucket, seed=2, share=0.5, kinds=["misread", "unanswered"])
    there = storage.read_json(ingest(config(f"{bucket}/*.csv"), tmp_path / "there"))
    assert there["rows"] == here["rows"]
    assert [each["sha256"] for each in there["sources"]] == [each["sha256"] for each in here["sources"]]
    assert [each["path"] for each in there["sources"]] == [f"{bucket}/a.csv", f"{bucket}/b.csv"]


def test_parquet_and_text_are_read_where_a_model_predicts(bucket: str, tmp_path: Path) -> None:
    source = SourceConfig.parse({"format": "parquet", "columns": COLUMNS}, "test")
    table = pa.table({"click": [0, 1], "user": ["a", "b"]})
    pq.write_table(table, tmp_path / "x.parquet")
    storage.put(tmp_path / "x.parquet", storage.place(bucket) / "x.parquet")
    (batch,) = read_rows(source, [f"{bucket}/x.parquet"])
    assert batch.table.column("user").to_pylist() == ["a", "b"]


def test_missing_files_are_named(bucket: str, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"none\.csv: cannot be read: no such object"):
        ingest(config(f"{bucket}/none.csv"), tmp_path)


def test_files_are_the_same_until_one_changes(bucket: str) -> None:
    at = storage.place(bucket) / "day=1" / "a.csv"
    storage.write_text(at, clicks(3))
    named, matched = Files(train=(str(at),)), Files(train=(f"{bucket}/day=*/*.csv",))
    before = [revision(named), revision(matched)]
    assert [revision(named), revision(matched)] == before
    storage.write_text(at, clicks(4))
    now = [revision(named), revision(matched)]
    assert now[0] != before[0]
    assert now[1] != before[1]
    storage.write_text(storage.place(bucket) / "day=2" / "b.csv", clicks(1))
    assert revision(named) == now[0]
    assert revision(matched) != now[1]
