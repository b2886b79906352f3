"""Crosses compared with counts by pandas, and invalid pairs."""

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctrloom.config import DataConfig, VocabularyConfig
from ctrloom.config.base import ConfigError
from ctrloom.data.dataset import Dataset
from ctrloom.data.errors import DataError
from ctrloom.data.ingest.run import ingest
from ctrloom.data.vocabulary.build import build_vocabulary
from ctrloom.data.vocabulary.stored_crosses import cross_file
from ctrloom.schema import SchemaMismatchError

SEEN = {"user": "categorical", "item": "categorical", "age": "numeric", "price": "numeric"}
COLUMNS = {"click": "label", **SEEN, "tags": "multivalued"}
KEPT_PRICE = {"price": {"bucketing": {"method": "keep"}}}


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("crosses")
    rng = np.random.default_rng(0)
    for split, rows in (("train", 3000), ("valid", 500), ("test", 500)):
        drawn = {
            "click": rng.integers(0, 2, rows),
            "user": [f"u{v}" if v else "" for v in rng.zipf(1.4, rows) % 40],
            "item": [f"i{v}" if v else "" for v in rng.zipf(1.3, rows) % 60],
            "age": rng.integers(0, 30, rows),
            "price": rng.normal(size=rows).round(3),
            "tags": "x|y",
        }
        pd.DataFrame(drawn).to_csv(folder / f"{split}.csv", index=False)
    return folder


def encoded(raw: Path, crosses: Any, min_count: int = 2) -> Dataset:
    files = {split: str(raw / f"{split}.csv") for split in ("train", "valid", "test")}
    data = DataConfig.parse({"files": files, "columns": COLUMNS}, "test")
    settings = {"min_count": min_count, "fields": KEPT_PRICE, "crosses": crosses}
    config = VocabularyConfig.parse(settings, "vocabulary")
    return Dataset.open(build_vocabulary(ingest(data, raw / "store"), config, raw / "store"))


def columns_of(dataset: Dataset, split: Any = "train") -> pd.DataFrame:
    ids = dataset.rows(split).ids_NC.numpy()
    starts = np.array(dataset.schema.offsets)[list(dataset.schema.field_of_column)]
    names = [dataset.schema.names[f] for f in dataset.schema.field_of_column]
    return pd.DataFrame(ids - starts, columns=names).loc[:, lambda t: ~t.columns.duplicated()]


@pytest.mark.parametrize("min_count", [1, 3])
def test_crosses_are_what_pandas_counts(raw: Path, min_count: int) -> None:
    dataset = encoded(raw, {"min_count": min_count}, min_count=60)  # every field has rare values
    assert [c.fields for c in dataset.schema.crosses] == list(combinations(["user", "item", "age"], 2))
    train, keys = columns_of(dataset), dataset.crosses()
    assert (train[["user", "item"]] == 1).any().all()
    sizes = {field.name: field.size for field in dataset.schema.fields}
    for cross in dataset.schema.crosses:
        a, b = cross.fields
        known = train[(train[a] != 1) & (train[b] != 1)]
        counts = known.groupby([a, b]).size()
        counts = counts[counts >= min_count]
        expected = sorted((x * sizes[b] + y, n) for (x, y), n in counts.items())
        table = pq.read_table(dataset.directory / cross_file(cross.fields)).to_pydict()
        assert list(zip(table["key"], table["count"], strict=True)) == expected
        assert table["id"] == list(range(1, len(expected) + 1))
        assert keys[cross.fields].key_K.tolist() == table["key"]
        assert keys[cross.fields].count_K.tolist() == table["count"]
        assert cross.size == len(expected) + 1


def test_crosses_frequent_enough_are_those_of_the_raw_tokens(raw: Path) -> None:
    """The published code counts pairs of tokens; see `config.vocabulary.Crosses`."""
    dataset = encoded(raw, {"pairs": [["user", "item"]], "min_count": 4}, min_count=4)
    read = pd.read_csv(raw / "train.csv").fillna("")
    counts = read.groupby(["user", "item"]).size()
    vocabularies = {}
    for name in ("user", "item"):
        table = pq.read_table(dataset.vocabulary_directory / f"{name}.parquet").to_pydict()
        vocabularies[name] = {"": 0, **dict(zip(table["token"], table["id"], strict=True))}
    size = dataset.schema.fields[1].size
    expected = {
        vocabularies["user"][u] * size + vocabularies["item"][i] for (u, i), n in counts.items() if n >= 4
    }
    assert set(dataset.crosses()["user", "item"].key_K.tolist()) == expected


def test_named_pairs_come_in_schema_order_and_the_manifest_lists_their_files(raw: Path) -> None:
    dataset = encoded(raw, {"pairs": [["age", "item"], ["item", "user"]]})
    assert list(dataset.crosses()) == [("user", "item"), ("item", "age")]
    listed = {file.path for file in dataset.manifest.encoder}
    assert {"crosses/user__item.parquet", "crosses/item__age.parquet"} <= listed


def test_crosses_are_part_of_the_fingerprints(raw: Path) -> None:
    without, one, other = encoded(raw, None), encoded(raw, {}), encoded(raw, {"min_count": 3})
    assert not without.crosses()
    assert not (without.directory / "crosses").exists()
    assert without.schema.fingerprint == one.schema.model_copy(update={"crosses": ()}).fingerprint
    prints = {(d.schema.fingerprint, d.data_fingerprint) for d in (without, one, other)}
    assert len({a for a, _ in prints}) == len({b for _, b in prints}) == 3
    assert encoded(raw, {}).directory == one.directory
    with pytest.raises(SchemaMismatchError, match="other crosses"):
        one.schema.require_same(other.schema, "the model")


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        (["user", "itm"], "'itm' is not a field"),
        (["user", "price"], "'price' is numeric.*bucket it"),
        (["tags", "item"], "'tags' is multivalued.*leave it out"),
        (["user", "user"], "duplicate field"),
    ],
)
def test_pairs_that_cannot_be_crossed_are_refused(raw: Path, pair: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        encoded(raw, {"pairs": [pair]})
    with pytest.raises(ConfigError, match="duplicate pair"):
        encoded(raw, {"pairs": [["user", "item"], ["item", "user"]]})


def test_a_changed_file_is_noticed(raw: Path) -> None:
    dataset = encoded(raw, {"min_count": 2})
    path = dataset.directory / cross_file(("user", "age"))
    table = pq.read_table(path)
    pq.write_table(table.slice(1), path)
    with pytest.raises(DataError, match="is not the one in schema"):
        dataset.crosses()["user", "age"]
    path.unlink()
    with pytest.raises(DataError, match="cannot be read"):
        dataset.crosses()["user", "age"]


NAMES = st.text("a_/%é", min_size=1, max_size=5)


@given(st.lists(st.tuples(NAMES, NAMES), min_size=2, max_size=2, unique=True))
def test_every_pair_has_a_file_of_its_own(pairs: list[tuple[str, str]]) -> None:
    first, second = (cross_file(pair) for pair in pairs)
    assert first != second
    assert first.count("/") == 1
    assert first.isascii()


def test_pairs_of_the_longest_names_have_files(tmp_path: Path) -> None:
    columns = {"click": "label", "u" * 200: "categorical", "i" * 200: "categorical"}
    lines = [f"{i % 2},u{i % 7},i{i % 5}" for i in range(500)]
    (tmp_path / "a.csv").write_text("\n".join([",".join(columns), *lines]))
    data = DataConfig.parse({"files": str(tmp_path / "a.csv"), "columns": columns}, "test")
    config = VocabularyConfig.parse(
        {"min_count": 2, "crosses": {"pairs": "all", "min_count": 2}}, "vocabulary"
    )
    dataset = Dataset.open(build_vocabulary(ingest(data, tmp_path / "store"), config, tmp_path / "store"))
    (pair,) = dataset.crosses()
    assert len(dataset.crosses()[pair].key_K) == 35
    assert cross_file(pair) != cross_file((pair[1], pair[0]))
