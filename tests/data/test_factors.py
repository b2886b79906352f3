"""Factors of kept numbers and of several values: embeddings equal sums written out from the raw text."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from data_helpers import data_config

from ctrloom.config import VocabularyConfig
from ctrloom.config.base import ConfigError
from ctrloom.data.dataset import Dataset
from ctrloom.data.ingest.run import ingest
from ctrloom.data.vocabulary.build import build_vocabulary
from ctrloom.nn.embedding import FieldEmbedding

COLUMNS = {
    "click": "label",
    "views": "numeric",
    "price": "numeric",
    "tags": "multivalued",
    "words": "multivalued",
    "user": "categorical",
}
FILES = {"train": "a.csv", "valid": "b.csv", "test": "c.csv"}
SQUARED = {"method": "keep", "scaling": "log_squared"}
FIELDS: dict[str, Any] = {
    "views": {"bucketing": {**SQUARED, "missing": "zero"}},
    "price": {"bucketing": SQUARED},
    "tags": {"pooling": "sum", "max_values": 3},
    "words": {"max_values": 3},
}


def raw_rows() -> list[dict[str, str]]:
    rng = np.random.default_rng(5)
    numbers = ["", "0", "1.5", "2", "3", "-7", "20.5", "99", "1000000"]
    return [
        {
            "click": str(n % 2),
            "views": str(rng.choice(numbers)),
            "price": str(rng.choice(numbers)),
            "tags": "|".join(rng.choice(list("abcd"), rng.integers(5))),
            "words": "|".join(rng.choice(list("wxyz"), rng.integers(5))),
            "user": f"u{rng.integers(4)}",
        }
        for n in range(300)
    ]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, list[dict[str, str]]]:
    folder, rows = tmp_path_factory.mktemp("factors"), raw_rows()
    lines = [",".join(COLUMNS), *(",".join(row[name] for name in COLUMNS) for row in rows)]
    (folder / "a.csv").write_text("\n".join(lines) + "\n")
    (folder / "b.csv").write_text("\n".join(lines[:9]) + "\n")
    (folder / "c.csv").write_text("\n".join(lines[:8]) + "\n")
    files = {
        split: [str(folder / f"{n}.csv")] for split, n in zip(("train", "valid", "test"), "abc", strict=True)
    }
    vocabulary = VocabularyConfig.parse({"fields": FIELDS}, "test")
    store = folder / "store"
    return Dataset.open(build_vocabulary(ingest(data_config(files, COLUMNS), store), vocabulary, store)), rows


def expected(dataset: Dataset, rows: list[dict[str, str]], table: np.ndarray) -> np.ndarray:
    """The embedding of each field of each row."""
    starts = dict(zip(dataset.schema.names, dataset.schema.offsets, strict=True))
    ids: dict[str, dict[str, int]] = {}
    for name in ("tags", "words", "user"):
        stored = pq.read_table(dataset.vocabulary_directory / f"{name}.parquet").to_pydict()
        ids[name] = dict(zip(stored["token"], stored["id"], strict=True))

    def number(name: str, text: str, missing: float) -> np.ndarray:
        if not text:
            return missing * table[starts[name]]
        x = float(text)
        return (math.floor(math.log(x) ** 2) if x > 2 else x) * table[starts[name] + 1]

    def several(name: str, text: str) -> list[np.ndarray]:
        known = [table[starts[name] + ids[name][token]] for token in text.split("|")[:3] if token]
        return known or [table[starts[name]]]

    return np.array(
        [
            [
                number("views", row["views"], 0.0),
                number("price", row["price"], 1.0),
                sum(several("tags", row["tags"])),
                np.mean(several("words", row["words"]), axis=0),
                table[starts["user"] + ids["user"][row["user"]]],
            ]
            for row in rows
        ]
    )


@pytest.mark.parametrize("streamed", [False, True])
def test_embeddings_are_those_of_the_raw_text(made: Any, streamed: bool) -> None:
    dataset, rows = made
    embedding = FieldEmbedding(dataset.schema, 3, 1.0).double()
    source = dataset.stream("train") if streamed else dataset.rows("train")
    found = torch.cat([embedding(b.ids_NC, b.factors_NC.double()) for b in source.batches(64)])
    whole = expected(dataset, rows, embedding.weight.detach().numpy())
    np.testing.assert_allclose(found.detach().numpy(), whole, rtol=1e-6, atol=1e-12)
    assert not found[[n for n, row in enumerate(rows) if not row["views"]], 0].any()


def test_pooling_and_missing_are_part_of_the_schema(made: Any, tmp_path: Path) -> None:
    schema = made[0].schema
    tags, views = (schema.fields[schema.names.index(name)] for name in ("tags", "views"))
    mean = tags.model_copy(update={"pooling": "mean"})
    assert views.bucketing is not None
    own = views.model_copy(update={"bucketing": views.bucketing.model_copy(update={"missing": "embedding"})})
    for changed in (mean, own):
        fields = tuple(changed if f.name == changed.name else f for f in schema.fields)
        assert schema.model_copy(update={"fields": fields}).fingerprint != schema.fingerprint


def test_one_setting_pools_all_fields_and_others_have_none(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("y,tags,words,u\n" + "".join(f"{n % 2},a|b,c|d,e\n" for n in range(50)))
    columns = {"y": "label", "tags": "multivalued", "words": "multivalued", "u": "categorical"}
    data = ingest(data_config(str(tmp_path / "a.csv"), columns), tmp_path)

    def pooling(**settings: Any) -> list[str]:
        config = VocabularyConfig.parse(settings, "test")
        return [f.pooling for f in Dataset.open(build_vocabulary(data, config, tmp_path)).schema.fields[:2]]

    assert pooling() == ["mean", "mean"]
    assert pooling(pooling="sum", fields={"words": {"pooling": "mean"}}) == ["sum", "mean"]
    with pytest.raises(ConfigError, match=r"fields\.u: pooling applies to multivalued fields"):
        pooling(fields={"u": {"pooling": "sum"}})
