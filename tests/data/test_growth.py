"""Ids keep their meaning when vocabularies grow."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from data_helpers import Write, data_config

from ctrloom.config import VocabularyConfig
from ctrloom.config.base import ConfigError
from ctrloom.config.growth import GrowthConfig
from ctrloom.data.dataset import Dataset
from ctrloom.data.errors import DataError
from ctrloom.data.ingest.run import ingest
from ctrloom.data.vocabulary.build import build_vocabulary
from ctrloom.data.vocabulary.drift_baseline import DriftBaseline
from ctrloom.data.vocabulary.encode import Encoder
from ctrloom.data.vocabulary.growth import grow_vocabulary
from ctrloom.schema import CountedKeys

COLUMNS = {
    "click": "label",
    "user": "categorical",
    "age": "numeric",
    "price": "numeric",
    "tags": "multivalued",
}
VOCABULARY = {
    "bucketing": {"method": "equal_width", "buckets": 3},
    "fields": {"price": {"bucketing": {"method": "keep"}}},
}
Row = tuple[int, str, str, str, str]


def day(number: int, rows: int = 300) -> list[Row]:
    """Rows whose users, ages, prices and tags drift from day to day; some are missing."""
    rng = np.random.default_rng(number)
    made: list[Row] = []
    for _ in range(rows):
        tags = [f"t{t}" for t in rng.choice(4, int(rng.integers(3)), replace=False) + number]
        user = "" if rng.random() < 0.05 else f"u{rng.integers(8) + 3 * number}"
        age = "" if rng.random() < 0.05 else str(int(rng.integers(60)) + 20 * number)
        made.append((int(rng.random() < 0.4), user, age, f"{rng.normal(10 + number, 2):.3f}", "|".join(tags)))
    return made


def ingested(write: Write, store: Path, number: int, columns: dict[str, Any] = COLUMNS) -> Path:
    text = "".join(",".join(map(str, row)) + "\n" for row in [tuple(columns), *day(number)])
    # Empty lines make files of equal rows differ: ingest rejects copies.
    splits = {"train": text, "valid": text + "\n", "test": text + "\n\n"}
    files = {split: [write(f"{number}/{split}.csv", rows)] for split, rows in splits.items()}
    return ingest(data_config(files, columns), store)


def grown(write: Write, store: Path, days: int = 3, **growth: Any) -> list[Dataset]:
    first = build_vocabulary(ingested(write, store, 0), VocabularyConfig.parse(VOCABULARY, "test"), store)
    made = [Dataset.open(first)]
    for number in range(1, days):
        rows = ingested(write, store, number)
        config = GrowthConfig.parse(growth, "test")
        made.append(Dataset.open(grow_vocabulary(rows, made[-1].directory, config, store)))
    return made


def tokens(dataset: Dataset, field: str) -> list[str]:
    found: list[str] = dataset.encoder().vocabularies[field].tokens.to_pylist()
    return found


def seen(number: int, place: int) -> Counter[str]:
    return Counter(token for row in day(number) for token in str(row[place]).split("|") if token)


def test_ids_are_stable_over_days_and_new_values_come_last(write: Write, tmp_path: Path) -> None:
    days = grown(write, tmp_path / "store", min_count=2)
    for number in (1, 2):
        for field, place in (("user", 1), ("tags", 4)):
            old, new = tokens(days[number - 1], field), tokens(days[number], field)
            assert new[: len(old)] == old
            wanted = {t for t, n in seen(number, place).items() if n >= 2} - set(old)
            assert wanted, "the days differ"
            assert set(new[len(old) :]) == wanted
            counts = days[number].encoder().vocabularies[field].counts.to_pylist()
            assert counts == [seen(number, place)[token] for token in new]
        before, now = (d.schema.fields for d in days[number - 1 : number + 1])
        assert [f.boundaries for f in before] == [f.boundaries for f in now]
        assert [f.width for f in before] == [f.width for f in now]


def test_rows_are_encoded_with_the_grown_ids(write: Write, tmp_path: Path) -> None:
    last = grown(write, tmp_path / "store", min_count=5)[-1]
    (part,) = last.manifest.paths(last.directory, "train")
    users = pq.read_table(part, columns=["user"])["user"].to_pylist()
    known = {token: 2 + i for i, token in enumerate(tokens(last, "user"))}
    assert users == [known.get(row[1], 1) if row[1] else 0 for row in day(2)]
    assert 1 not in users or min(seen(2, 1).values()) < 5
    low, high = Dataset.open(last.directory).schema.fields[2].boundaries
    first = [float(row[3]) for row in day(0)]
    assert (low, high) == (min(first), max(first))
    prices = pq.read_table(part, columns=["price"])["price"].to_pylist()
    expected = np.clip([(float(row[3]) - low) / (high - low) for row in day(2)], 0, 1)
    np.testing.assert_allclose(prices, expected, rtol=1e-6)


def test_a_field_can_ask_more_of_its_new_values(write: Write, tmp_path: Path) -> None:
    days = grown(write, tmp_path / "store", days=2, fields={"user": 10_000})
    assert tokens(days[1], "user") == tokens(days[0], "user")
    assert len(tokens(days[1], "tags")) > len(tokens(days[0], "tags"))


def test_values_without_an_id_are_counted_in_the_reference(write: Write, tmp_path: Path) -> None:
    first, last = grown(write, tmp_path / "store", days=2, min_count=20)
    reference, rows = DriftBaseline.load(last.directory), day(1)
    assert (reference.rows, reference.positives) == (300, sum(row[0] for row in rows))
    user = reference.fields["user"]
    assert user.missing == sum(row[1] == "" for row in rows)
    assert user.unseen == sum(n for t, n in seen(1, 1).items() if t not in tokens(last, "user"))
    price = reference.fields["price"]
    assert price.edges == DriftBaseline.load(first.directory).fields["price"].edges
    values = [float(row[3]) for row in rows]
    assert list(price.counts) == np.histogram(values, [-np.inf, *price.edges, np.inf])[0].tolist()


def test_crosses_that_are_known_stay_under_their_new_keys(write: Write, tmp_path: Path) -> None:
    store = tmp_path / "store"
    config = VocabularyConfig.parse({"crosses": {"pairs": [["user", "age"]]}}, "test")
    first = Dataset.open(build_vocabulary(ingested(write, store, 0), config, store))
    pair = ("user", "age")
    known = {pair: first.crosses()[pair]}
    growth = GrowthConfig(cross_min_count=5)
    last = Dataset.open(grow_vocabulary(ingested(write, store, 1), first.directory, growth, store, known))

    def values(dataset: Dataset, keys: CountedKeys) -> dict[tuple[int, int], int]:
        size = dataset.schema.fields[1].size
        return {divmod(int(k), size): int(n) for k, n in zip(keys.key_K, keys.count_K, strict=True)}

    assert last.schema.fields[1].size > first.schema.fields[1].size
    old, new = values(first, known[pair]), values(last, last.crosses()[pair])
    (part,) = last.manifest.paths(last.directory, "train")
    ids = pq.read_table(part, columns=["user", "age"]).to_pydict()
    seen = Counter(zip(ids["user"], ids["age"], strict=True))
    expected = set(old) | {v for v, n in seen.items() if n >= 5 and 1 not in v}
    assert new == {value: seen[value] for value in expected}
    assert set(new) - set(old)


def test_a_bundle_of_other_columns_is_refused(write: Write, tmp_path: Path) -> None:
    first = grown(write, tmp_path / "store", days=1)[0]
    other = ingested(write, tmp_path / "store", 1, {**COLUMNS, "age": "categorical"})
    with pytest.raises(ConfigError, match=r"data.columns: 'age'"):
        grow_vocabulary(other, first.directory, GrowthConfig(), tmp_path / "store")
    rows = ingested(write, tmp_path / "store", 1)
    with pytest.raises(ConfigError, match=r"growth.fields: 'usr'"):
        grow_vocabulary(rows, first.directory, GrowthConfig(fields={"usr": 2}), tmp_path / "store")
    (first.directory / "reference.json").unlink()
    with pytest.raises(DataError, match=r"reference.json: no such file"):
        grow_vocabulary(rows, first.directory, GrowthConfig(), tmp_path / "store")
    assert Encoder.load(first.directory)
