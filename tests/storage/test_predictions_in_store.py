"""Predictions to and from real servers of the object stores."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from faults import Spoil
from small import LITTLE, mixed_csv

import ctrloom
from ctrloom import stages, storage
from ctrloom.architecture import Architecture
from ctrloom.config import ModelsConfig
from ctrloom.config.batch import BatchConfig
from ctrloom.data.dataset import Dataset
from ctrloom.serving import predict as module
from ctrloom.storage import StorageError
from ctrloom.training.plans import Plan, train_runs
from ctrloom.training.runs import open_runs

# Clients leave sockets to the garbage collector when a server closes the connection.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def bundle(mixed: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    plan = Plan("lr", "LR", "baseline", "lr", (Architecture.complete(mixed.schema.names, (2,)),))
    train_runs(mixed, [plan], ModelsConfig({"default": LITTLE.model_dump()}), [0], folder / "runs")
    open_runs(folder / "runs")[0].export(mixed, folder / "bundle")
    return folder / "bundle"


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    (tmp_path / "raw").mkdir()
    for i in range(3):
        (tmp_path / "raw" / f"{i}.csv").write_text(mixed_csv(np.random.default_rng(i), 20 + i))
    return tmp_path / "raw"


def objects(url: str) -> dict[str, str]:
    base = storage.place(url)
    return {storage.relative(each.at, base): each.generation for each in storage.objects_in(base)}


def test_everything_in_a_store_is_as_on_this_machine(
    bundle: Path, raw: Path, bucket: str, tmp_path: Path
) -> None:
    storage.upload(raw, storage.place(f"{bucket}/raw"))
    storage.upload(bundle, storage.place(f"{bucket}/bundle"))
    here = ctrloom.predict(bundle, [f"{raw}/*.csv"], f"{tmp_path}/here/", keep=["user"])

    def there() -> module.Predicted:
        return ctrloom.predict(
            f"{bucket}/bundle", [f"{bucket}/raw/*.csv"], f"{bucket}/out/", tmp_path / "cache", ["user"]
        )

    done = there()
    assert (done.rows, done.malformed, done.fields) == (here.rows, here.malformed, here.fields)
    assert [file.output for file in done.files] == [f"{bucket}/out/{i}.parquet" for i in range(3)]
    storage.download(storage.place(f"{bucket}/out"), tmp_path / "copy")
    for i in range(3):
        name = f"{i}.parquet"
        assert pq.read_table(tmp_path / "copy" / name).equals(pq.read_table(tmp_path / "here" / name))
        assert ctrloom.read_predictions(tmp_path / "copy" / name).num_rows == 20 + i
    before = objects(f"{bucket}/out")
    assert all(file.skipped for file in there().files)
    assert objects(f"{bucket}/out") == before
    storage.write_text(storage.place(f"{bucket}/raw/1.csv"), mixed_csv(np.random.default_rng(9), 5))
    again = there()
    assert [file.skipped for file in again.files] == [True, False, True]
    assert [file.rows for file in again.files] == [20, 5, 22]


@pytest.mark.parametrize("ending", ["parquet", "csv", "csv.gz"])
def test_one_file_in_a_store(bundle: Path, raw: Path, bucket: str, tmp_path: Path, ending: str) -> None:
    files = [f"{raw}/*.csv"]
    ctrloom.predict(bundle, files, tmp_path / f"p.{ending}", keep=["tags"])
    ctrloom.predict(bundle, files, f"{bucket}/deep/er/p.{ending}", keep=["tags"])
    storage.download(storage.place(f"{bucket}/deep"), tmp_path / "copy")
    read = pd.read_parquet if ending == "parquet" else pd.read_csv
    found = read(tmp_path / "copy" / "er" / f"p.{ending}")
    pd.testing.assert_frame_equal(found, read(tmp_path / f"p.{ending}"), check_exact=True)
    assert list(objects(bucket)) == [f"deep/er/p.{ending}"]


def test_a_failure_leaves_no_object_and_the_old_one(
    bundle: Path, raw: Path, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> pa.Table:
        raise RuntimeError("in the middle")

    storage.write_text(storage.place(f"{bucket}/old.csv"), "old")
    before = objects(bucket)
    monkeypatch.setattr(module, "_passed", failing)
    for output in ("old.csv", "new.csv", "new.parquet", "folder/"):
        with pytest.raises(RuntimeError):
            ctrloom.predict(bundle, [f"{raw}/*.csv"], f"{bucket}/{output}")
    assert objects(bucket) == before


def test_inputs_and_bundle_in_a_store_are_not_written_over(
    bundle: Path, raw: Path, bucket: str, tmp_path: Path
) -> None:
    storage.upload(raw, storage.place(f"{bucket}/raw"))
    storage.upload(bundle, storage.place(f"{bucket}/bundle"))
    before = objects(bucket)
    for output, told in (
        ("raw/1.csv", "is also the input"),
        ("raw/", "would change the input"),
        ("raw/1.csv/", "is also the input"),
        ("", "would change the input"),
        ("raw/1.csv/x/", "would change the input"),
    ):
        with pytest.raises(StorageError, match=told):
            ctrloom.predict(bundle, [f"{bucket}/raw/*.csv"], f"{bucket}/{output}")
    with pytest.raises(StorageError, match="would change the input"):
        ctrloom.predict(f"{bucket}/bundle", [f"{raw}/*.csv"], f"{bucket}/bundle/p.csv", tmp_path / "cache")
    assert objects(bucket) == before
    done = ctrloom.predict(bundle, [f"{bucket}/raw/*.csv"], f"{bucket}/raws/")
    assert len(done.files) == 3


def test_faults_on_the_way_are_retried(
    bundle: Path, raw: Path, bucket: str, tmp_path: Path, spoil: Spoil
) -> None:
    storage.upload(raw, storage.place(f"{bucket}/raw"))
    spoil(bucket, 5, 0.1)
    done = ctrloom.predict(bundle, [f"{bucket}/raw/*.csv"], f"{bucket}/out/")
    ctrloom.predict(bundle, [f"{raw}/*.csv"], f"{tmp_path}/here/")
    storage.download(storage.place(f"{bucket}/out"), tmp_path / "copy")
    assert done.rows == 63
    for i in range(3):
        name = f"{i}.parquet"
        assert pq.read_table(tmp_path / "copy" / name).equals(pq.read_table(tmp_path / "here" / name))


def test_the_stages_of_the_pipeline_in_a_store(bundle: Path, raw: Path, bucket: str, tmp_path: Path) -> None:
    storage.upload(raw, storage.place(f"{bucket}/raw/2026-01-02"))
    stages.promote(f"{bucket}/registry", bundle)
    version = stages.fetch_bundle("", f"{bucket}/registry", tmp_path / "model")
    storage.upload(bundle, storage.place(f"{bucket}/bundle"))
    assert stages.fetch_bundle(f"{bucket}/bundle", "", tmp_path / "same") == version
    config = BatchConfig.parse(
        {"name": "nightly", "files": f"{bucket}/raw/{{date}}/*.csv", "until": "2026-01-02"}, "test"
    )
    found = stages.batch_predict(tmp_path / "model", config, bucket, tmp_path / "scores")
    assert found.bundle == version
    assert found.output == f"{bucket}/scores/nightly/"
    assert sorted(objects(f"{bucket}/scores/nightly")) == [
        *(f"2026-01-02/{i}.parquet" for i in range(3)),
        *(f"_scores/2026-01-02/{i}.parquet.json" for i in range(3)),
    ]
    again = stages.batch_predict(tmp_path / "same", config, bucket, tmp_path / "scores")
    assert [file.skipped for file in again.predicted.files] == [True] * 3
