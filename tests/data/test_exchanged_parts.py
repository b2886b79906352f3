"""A file of a data set that was exchanged for another intact one of the same size is noticed."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data_helpers import Write, data_config

from ctrloom import storage
from ctrloom.config import VocabularyConfig
from ctrloom.data.dataset import Dataset
from ctrloom.data.errors import DataError
from ctrloom.data.ingest.run import ingest
from ctrloom.data.parquet.reader import read_parts
from ctrloom.data.parquet.writer import table_writer
from ctrloom.data.vocabulary.build import build_vocabulary

CONFIG = VocabularyConfig.parse({"bucketing": {"method": "keep"}}, "test")


def ingested(write: Write, folder: Path) -> Path:
    rng = np.random.default_rng(0)
    rows = [
        f"{label},{value!r}\n"
        for label, value in zip(rng.integers(2, size=900), rng.random(900).tolist(), strict=True)
    ]
    file = write("rows.csv", "click,number\n" + "".join(rows))
    manifest = ingest(data_config(file, {"click": "label", "number": "numeric"}), folder)
    assert isinstance(manifest, Path)
    return manifest


def exchange(path: Path, column: str) -> None:
    """Write the same rows with the values of a column in another order: an intact file of the same size."""
    size, table, rng = path.stat().st_size, pq.read_table(path), np.random.default_rng(1)
    for _ in range(2_000):
        order = pa.array(rng.permutation(len(table)))
        other = table.set_column(
            table.column_names.index(column), table.schema.field(column), table[column].take(order)
        )
        with table_writer(path, other.schema, ["value"], ["field"]) as (writer, _):
            writer.write_table(other)
        if path.stat().st_size == size:
            break
    assert path.stat().st_size == size, "another size is noticed anyway"
    assert not pa.Table.from_batches(read_parts([path])).equals(table)


def test_rows_of_an_ingested_data_set(write: Write, tmp_path: Path) -> None:
    manifest = ingested(write, tmp_path)
    (part,) = (manifest.parent / "train").iterdir()
    exchange(part, "number")
    with pytest.raises(DataError, match=rf"{part}: is not the file that was written with this data set"):
        build_vocabulary(manifest, CONFIG, tmp_path)


def test_counts_of_an_ingested_data_set(write: Write, tmp_path: Path) -> None:
    manifest = ingested(write, tmp_path)
    (part,) = (manifest.parent / "counts").iterdir()
    exchange(part, "value")
    with pytest.raises(DataError, match=rf"{part}: is not the file that was written with this data set"):
        build_vocabulary(manifest, CONFIG, tmp_path)


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_rows_of_an_encoded_data_set(split: str, write: Write, tmp_path: Path) -> None:
    manifest = build_vocabulary(ingested(write, tmp_path), CONFIG, tmp_path)
    dataset = Dataset.open(manifest)
    dataset.rows(split)
    (part,) = (Path(str(manifest)).parent / split).iterdir()
    exchange(part, "number")
    with pytest.raises(DataError, match=rf"{part}: is not the file that was written with this data set"):
        Dataset.open(manifest).rows(split)


def test_files_of_an_older_manifest_are_accepted(write: Write, tmp_path: Path) -> None:
    """It has no checksum of their footers."""
    manifest = ingested(write, tmp_path)
    record = storage.read_json(manifest)
    for parts in (*record["files"].values(), *record["counts"].values()):
        for part in parts:
            assert part.pop("seal")
    del record["checksum"]
    storage.write_json(manifest, record)
    build_vocabulary(manifest, CONFIG, tmp_path)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("rows", "train"), 2**70, "rows.train: is 1,180,591,620,717,411,303,424, but the files have"),
        (("rows", "train"), 1, "rows.train: is 1, but the files have"),
        (("rows",), {}, "rows and files: must have the split 'train'"),
        (("files",), {}, "rows and files: must have the split 'train'"),
        (("files", "valid"), [], "rows.valid: is .*, but the files have 0 rows"),
        (("files", "test", 0, "rows"), 2**70, "files.test.0.rows: .* less than or equal to"),
    ],
)
def test_numbers_of_rows_must_agree(
    path: tuple[Any, ...], value: Any, message: str, write: Write, tmp_path: Path
) -> None:
    manifest = ingested(write, tmp_path)
    record = storage.read_json(manifest)
    at = record
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    del record["checksum"]
    storage.write_json(manifest, record)
    with pytest.raises(DataError, match=f"{manifest}: is not a manifest of ingested data .*{message}"):
        build_vocabulary(manifest, CONFIG, tmp_path)
