"""Small bundles with columns of every kind, encoded by the real stages; weights are initial ones."""

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from small import LITTLE

from ctrloom.architecture import Architecture
from ctrloom.config import DataConfig, VocabularyConfig
from ctrloom.data.dataset import Dataset
from ctrloom.data.ingest.run import ingest
from ctrloom.data.vocabulary.build import build_vocabulary
from ctrloom.models import build
from ctrloom.models.bundle import Bundle, ModelCard, save_bundle
from ctrloom.serving.predict import predict

TIMES = {
    "seen": {"kind": "timestamp", "format": "%Y-%m-%d %H:%M:%S", "timezone": "Asia/Tokyo"}
    | {"derive": ["hour", "weekday", "day", "month"]}
}
TEXT_COLUMNS: dict[str, Any] = {
    "click": "label",
    "user": "categorical",
    **TIMES,
    "log": "numeric",
    "frequency": "numeric",
    "width": "numeric",
    "bounds": "numeric",
    "plain": "numeric",
    "share": "numeric",
    "money": {"kind": "numeric", "decimal": ",", "thousands": ".", "symbol": "€"},
    "kept_log": "numeric",
    "squared": "numeric",
    "tags": "multivalued",
    "words": {"kind": "multivalued", "separator": "--"},
    "json": {"kind": "multivalued", "format": "json"},
}
BUCKETING: dict[str, Any] = {
    "frequency": {"method": "equal_frequency", "buckets": 5},
    "width": {"method": "equal_width", "buckets": 4},
    "bounds": {"method": "boundaries", "values": [-1, 0, 2.5, 10]},
    "plain": {"method": "keep", "scaling": "none"},
    "share": {"method": "keep", "scaling": "min_max"},
    "kept_log": {"method": "keep", "scaling": "log"},
    "squared": {"method": "keep", "scaling": "log_squared", "missing": "zero"},
}
TYPED_COLUMNS: dict[str, Any] = {
    "click": "label",
    "user": "categorical",
    "amount": "categorical",
    "flag": "categorical",
    "price": "categorical",
    "day": "categorical",
    "at": {"kind": "timestamp", "timezone": "Europe/Berlin", "derive": ["hour", "weekday"]},
    "log": "numeric",
    "frequency": "numeric",
    "share": "numeric",
    "tags": "multivalued",
    "numbers": "multivalued",
}


def bundle_of(
    folder: Path, train: Path, columns: dict[str, Any], keys: dict[str, Any], model: str = "deepfm"
) -> Path:
    """A bundle for the columns of a file; `keys` are other keys of the section `data`."""
    config = DataConfig.parse({"files": str(train), "columns": columns, **keys}, "test")
    fields = {name: {"bucketing": each} for name, each in BUCKETING.items() if name in columns}
    multivalued = {name: {"max_values": 3} for name in ("tags", "json", "numbers") if name in columns}
    multivalued |= {name: {"pooling": "sum"} for name in ("words",) if name in columns}
    vocabulary = VocabularyConfig.parse({"min_count": 2, "fields": {**fields, **multivalued}}, "test")
    dataset = Dataset.open(build_vocabulary(ingest(config, folder / "store"), vocabulary, folder / "store"))
    torch.manual_seed(1)
    architecture = Architecture.complete(dataset.schema.names)
    settings = LITTLE.model_copy(update={"embedding_std": 0.5})
    card = ModelCard.model_validate(
        {
            "title": model,
            "model": model,
            "hyperparameters": settings.model_dump(),
            "seed": 1,
            "data_fingerprint": dataset.data_fingerprint,
            "schema_fingerprint": dataset.schema.fingerprint,
            "architecture_fingerprint": architecture.fingerprint,
            "code_version": "test",
        }
    )
    made = build(model, architecture, dataset.schema, card.hyperparameters)
    save_bundle(Bundle(card, architecture, dataset.schema, made), dataset.directory, folder / "bundle")
    return folder / "bundle"


def written(rows: Sequence[dict[str, str]], names: Sequence[str]) -> str:
    """Rows as CSV, every field in quotes."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, names, quoting=csv.QUOTE_ALL, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def text_rows(rng: np.random.Generator, count: int) -> list[dict[str, str]]:
    """Rows of text for `TEXT_COLUMNS`, as in training."""

    def sometimes(value: Callable[[], str]) -> str:
        return "" if rng.random() < 0.1 else value()

    return [
        {
            "click": str(int(rng.random() < 0.5)),
            "user": sometimes(lambda: f"u{rng.integers(9)}"),
            "seen": f"2024-0{rng.integers(1, 10)}-{rng.integers(10, 28)} {rng.integers(10, 24)}:00:00",
            "money": sometimes(
                lambda: f"€ {rng.integers(1, 9)}.{rng.integers(100, 999)},{rng.integers(10, 99)}"
            ),
            "tags": "|".join(f"t{i}" for i in rng.integers(0, 6, rng.integers(0, 5))),
            "words": "--".join(f"w{i}" for i in rng.integers(0, 6, rng.integers(0, 4))),
            "json": "[" + ", ".join(f'"j{i}", {i}' for i in rng.integers(0, 4, rng.integers(0, 3))) + "]",
            **{
                name: sometimes(lambda: f"{np.exp(rng.normal(1, 2)) - 1:.2f}".rstrip("0").rstrip("."))
                for name in ("log", "frequency", "width", "bounds", "plain", "share", "kept_log", "squared")
            },
        }
        for _ in range(count)
    ]


def typed_rows(rng: np.random.Generator, count: int) -> pa.Table:
    """A table for `TYPED_COLUMNS`, as in training."""

    def column(kind: pa.DataType, draw: Callable[[], Any]) -> pa.Array:
        return pa.array([None if rng.random() < 0.1 else draw() for _ in range(count)], kind)

    at = rng.integers(1_600_000_000, 1_700_000_000, count)
    return pa.table(
        {
            "click": pa.array(rng.integers(0, 2, count)),
            "user": column(pa.int64(), lambda: int(rng.integers(-2, 9))),
            "amount": column(pa.float64(), lambda: float(rng.integers(0, 9)) / 4),
            "flag": column(pa.bool_(), lambda: bool(rng.random() < 0.5)),
            "price": column(pa.float32(), lambda: float(rng.integers(0, 9)) / 10),
            "day": column(pa.string(), lambda: f"d{rng.integers(7)}"),
            "at": pa.array(at, pa.int64()),
            "log": column(pa.float64(), lambda: float(np.exp(rng.normal(1, 2)))),
            "frequency": column(pa.int64(), lambda: int(rng.integers(-3, 50))),
            "share": column(pa.float64(), lambda: float(rng.normal())),
            "tags": column(
                pa.list_(pa.string()), lambda: [f"t{i}" for i in rng.integers(0, 6, rng.integers(0, 5))]
            ),
            "numbers": column(pa.list_(pa.int64()), lambda: rng.integers(-2, 6, rng.integers(0, 5)).tolist()),
        }
    )


def command(bundle: Path, file: Path) -> tuple[np.ndarray, dict[int, str]]:
    """Probabilities and reasons of malformed rows that the command writes for a file."""
    output = file.with_suffix(".out.parquet")
    predict(bundle, [str(file)], output)
    found = pq.read_table(output).to_pydict()
    probability = np.array([np.nan if p is None else p for p in found["probability"]], np.float32)
    reasons = {row: reason for row, reason in zip(found["row"], found["malformed"], strict=True) if reason}
    return probability, reasons
