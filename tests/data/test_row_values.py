"""Columns that no model reads travel with the rows, and values of rows are read back as they were."""

import csv
import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ctrloom.config import DataConfig, VocabularyConfig
from ctrloom.config.base import ConfigError
from ctrloom.data.dataset import Dataset
from ctrloom.data.ingest.cast import check_rules
from ctrloom.data.ingest.run import ingest
from ctrloom.data.row_values import (
    MISSING,
    UNSEEN,
    readable,
    require_readable,
    row_values,
    texts,
)
from ctrloom.data.vocabulary.build import build_vocabulary
from ctrloom.data.vocabulary.growth import require_same_columns
from ctrloom.models.bundle import load_bundle
from ctrloom.serving.predict import predict
from ctrloom.stages import baselines
from ctrloom.training.runs import open_runs

COLUMNS = {
    "click": "label",
    "at": {"kind": "timestamp", "derive": ["hour"]},
    "user": "context",
    "weight_of_row": "weight",
    "item": "categorical",
    "age": "numeric",
    "tags": "multivalued",
}
ROWS = {"train": 300, "valid": 80, "test": 70}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("context")
    rng = np.random.default_rng(0)
    for split, rows in ROWS.items():
        with open(made / f"{split}.csv", "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            for n in range(rows):
                user = "" if n % 9 == 0 else f"u{rng.integers(40)}, é"
                item = "" if n % 11 == 0 else f"i{rng.integers(6 + 4 * (split != 'train'))}"
                weight, age = rng.integers(0, 3), rng.integers(80)
                writer.writerow([n % 3 % 2, 1_700_000_000 + 40_000 * n, user, weight, item, age, "x|y"])
    return made


@pytest.fixture(scope="module")
def dataset(folder: Path) -> Dataset:
    return encoded(folder)


def encoded(folder: Path) -> Dataset:
    files = {split: [str(folder / f"{split}.csv")] for split in ROWS}
    config = DataConfig.parse({"files": files, "columns": COLUMNS}, "test")
    return Dataset.open(
        build_vocabulary(ingest(config, folder / "store"), VocabularyConfig(), folder / "store")
    )


def raw(folder: Path, split: str, name: str) -> list[str]:
    with open(folder / f"{split}.csv", newline="") as file:
        return [row[name] for row in csv.DictReader(file)]


def shown(dataset: Dataset, name: str) -> list[str]:
    values = row_values(dataset, "test", name)
    return [str(values.text_K[int(code)]) for code in values.code_N]


def test_context_is_no_field_and_does_not_change_the_schema(dataset: Dataset) -> None:
    assert dataset.schema.names == ("at_hour", "item", "age", "tags")
    assert readable(dataset.schema) == ("at_hour", "item", "age", "user", "day")


def test_values_are_those_of_the_file(dataset: Dataset, folder: Path) -> None:
    assert shown(dataset, "user") == [text or MISSING for text in raw(folder, "test", "user")]
    known = set(raw(folder, "train", "item")) - {""}
    items = [MISSING if not t else t if t in known else UNSEEN for t in raw(folder, "test", "item")]
    assert UNSEEN in items
    assert shown(dataset, "item") == items
    days = [datetime.datetime.fromtimestamp(int(t), datetime.UTC).date() for t in raw(folder, "test", "at")]
    assert shown(dataset, "day") == [day.isoformat() for day in days]
    values = row_values(dataset, "test", "item")
    single = values.single_K[values.code_N]
    assert single.tolist() == [text in known for text in raw(folder, "test", "item")]


def test_texts_are_null_without_a_single_value(dataset: Dataset, folder: Path) -> None:
    batches = list(texts(dataset, "test", ["user", "item", "day"]))
    label, weight, user, item, day = (pa.concat_arrays(column).to_pylist() for column in zip(*batches))  # noqa: B905
    assert label == [int(t) for t in raw(folder, "test", "click")]
    assert weight == [float(t) for t in raw(folder, "test", "weight_of_row")]
    assert user == [text or None for text in raw(folder, "test", "user")]
    assert item == [None if text in (MISSING, UNSEEN) else text for text in shown(dataset, "item")]
    assert [each.isoformat() for each in day] == shown(dataset, "day")


def test_rows_and_clicks_with_a_weight_are_counted(dataset: Dataset, folder: Path) -> None:
    label = np.array(raw(folder, "test", "click"), float)
    weight = np.array(raw(folder, "test", "weight_of_row"), float)
    rows, clicks, rate = dataset.counted("test")
    assert rows == (weight > 0).sum() < len(weight)
    assert clicks == label[weight > 0].sum() < label.sum()
    assert rate == pytest.approx((weight * label).sum() / weight.sum())


@pytest.mark.parametrize("name", ["tags", "nobody", "label"])
def test_a_column_without_values_is_refused(dataset: Dataset, name: str) -> None:
    with pytest.raises(ConfigError, match=f"evaluation.group: .*{name!r}; choose from at_hour, item, age"):
        require_readable(dataset.schema, [name], "evaluation.group")


def test_a_context_column_may_not_be_named_like_a_stored_column() -> None:
    files = {"train": "x.csv"}
    config = DataConfig.parse(
        {"files": files, "columns": {"y": "label", "a": "categorical", "label": "context"}}, "test"
    )
    with pytest.raises(ConfigError, match="reserved field 'label'"):
        check_rules(config.source)


def test_rows_to_score_need_no_context(dataset: Dataset, folder: Path, tmp_path: Path) -> None:
    from ctrloom.config import ModelsConfig

    models = ModelsConfig({"default": {"embedding_size": 2, "epochs": 1}})
    baselines(dataset.path, ["fm"], models, [0], tmp_path / "runs")
    open_runs(tmp_path / "runs")[0].export(dataset, tmp_path / "bundle")
    with open(folder / "test.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    with open(tmp_path / "few.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, ["at", "item", "age", "tags"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    for name in (folder / "test.csv", tmp_path / "few.csv"):
        predict(tmp_path / "bundle", [str(name)], tmp_path / f"{name.stem}.parquet")
    whole, few = (pq.read_table(tmp_path / f"{stem}.parquet") for stem in ("test", "few"))
    assert whole == few
    assert load_bundle(tmp_path / "bundle").schema.source.named("context") == ["user"]


def test_retraining_accepts_rows_with_other_context(dataset: Dataset, folder: Path, tmp_path: Path) -> None:
    from ctrloom.data.manifest import IngestedManifest

    other = {**COLUMNS, "user": "ignored"}
    config = DataConfig.parse({"files": {"train": [str(folder / "train.csv")]}, "columns": other}, "test")
    manifest, _ = IngestedManifest.load(ingest(config, tmp_path))
    require_same_columns(dataset.schema, manifest, "bundle")
