"""The same rows under two names: links, other spellings, copies, other compressions, URLs."""

import gzip
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data_helpers import CLICKS, HEADER, Write, clicks, data_config

from ctrloom.data.errors import DataError
from ctrloom.data.ingest.run import ingest
from ctrloom.data.manifest import IngestedManifest
from ctrloom.data.sources import files

ROWS = HEADER + clicks(20_000)  # more than what is compared first
assert len(ROWS) > 1 << 16


def other_spelling(path: Path) -> Path:
    return path.parent / ".." / path.parent.name / path.name


def symlink(path: Path) -> Path:
    (link := path.with_name("link.csv")).symlink_to(path)
    return link


def hard_link(path: Path) -> Path:
    (link := path.with_name("hard.csv")).hardlink_to(path)
    return link


def link_to_folder(path: Path) -> Path:
    (link := path.parent.with_name("elsewhere")).symlink_to(path.parent)
    return link / path.name


def copy(path: Path) -> Path:
    return Path(shutil.copy(path, path.with_name("copy.csv")))


def gzipped(path: Path) -> Path:
    (made := path.with_name("other.csv.gz")).write_bytes(gzip.compress(path.read_bytes(), 1, mtime=7))
    return made


def zstandard(path: Path) -> Path:
    (made := path.with_name("other")).write_bytes(pa.compress(path.read_bytes(), "zstd", asbytes=True))
    return made


NAMES = [other_spelling, symlink, hard_link, link_to_folder, copy, gzipped, zstandard]


@pytest.mark.parametrize("named", NAMES)
@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_the_same_rows_under_two_names_are_rejected(
    write: Write, tmp_path: Path, named: Callable[[Path], Path], split: str
) -> None:
    path = write("in/a.csv", ROWS)
    again = str(named(Path(path)))
    given = {"train": [path, again]} if split == "train" else {"train": [path], split: [again]}
    with pytest.raises(DataError) as caught:
        ingest(data_config(given, CLICKS), tmp_path / "store")
    said = str(caught.value)
    assert path in said
    assert again in said
    assert ("leave one out of `files`" if split == "train" else "files of its own") in said
    assert os.listdir(tmp_path / "store") == []


def test_two_compressions_of_one_text_are_rejected(write: Write, tmp_path: Path) -> None:
    first, second = write("a.csv.gz", ROWS), write("b.csv.zst", ROWS)
    with pytest.raises(DataError, match=r"b\.csv\.zst: has the same rows as .*a\.csv\.gz"):
        ingest(data_config([first, second], CLICKS), tmp_path / "store")


def test_the_listed_file_of_a_glob_is_a_duplicate(write: Write, tmp_path: Path) -> None:
    path = write("a.csv", HEADER + clicks(10))
    with pytest.raises(DataError, match="is the same file as"):
        ingest(data_config([f"{tmp_path}/*.csv", path], CLICKS), tmp_path / "store")


def test_two_urls_of_one_content_are_rejected(write: Write, tmp_path: Path, served: str) -> None:
    write("a.csv", HEADER + clicks(100))
    write("b.csv", HEADER + clicks(100))
    with pytest.raises(DataError, match=f"{served}/b.csv .test.: has the same rows as {served}/a.csv"):
        ingest(
            data_config({"train": [f"{served}/a.csv"], "test": [f"{served}/b.csv"]}, CLICKS),
            tmp_path / "store",
        )


def test_equal_parquet_files_are_rejected(tmp_path: Path) -> None:
    table = pa.table({"click": [0, 1] * 50, "user": ["u"] * 100, "age": [3.0] * 100})
    for name in ("a", "b"):
        pq.write_table(table, tmp_path / f"{name}.parquet")
    with pytest.raises(DataError, match="has the same rows as"):
        ingest(data_config(f"{tmp_path}/*.parquet", CLICKS, format="parquet"), tmp_path / "store")


def test_rows_that_begin_alike_are_not_equal(write: Write, tmp_path: Path) -> None:
    paths = [write("a.csv.gz", ROWS + "0,u1,5\n"), write("b.csv", ROWS), write("c.csv.gz", ROWS + "1,u1,5\n")]
    manifest = ingest(data_config(paths, CLICKS), tmp_path / "store")
    assert sum(IngestedManifest.load(manifest)[0].rows.values()) == 60_002


def test_files_without_rows_may_be_equal(write: Write, tmp_path: Path) -> None:
    paths = [write("a.csv", HEADER + clicks(500))]
    paths += [write("empty-1.csv", HEADER), write("empty-2.csv", HEADER), write("empty-3.csv.gz", HEADER)]
    manifest = ingest(data_config(paths, CLICKS), tmp_path / "store")
    assert sum(IngestedManifest.load(manifest)[0].rows.values()) == 500


def test_plain_files_are_not_read_a_second_time(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [write("a.csv", ROWS + "0,u1,5\n"), write("b.csv", ROWS)]
    read: list[int] = []
    report = files._Reporting.read
    monkeypatch.setattr(
        files._Reporting,
        "read",
        lambda self, size=-1: (read.append(len(data := report(self, size))), data)[1],
    )
    ingest(data_config(paths, CLICKS), tmp_path / "store")
    assert sum(read) < 2 * len(ROWS) + 4 * (1 << 16)
