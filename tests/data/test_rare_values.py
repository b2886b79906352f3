"""Crosses of raw tokens, compared with counts by pandas: rare values have ids that only crosses know."""

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from ctrloom.architecture import Architecture
from ctrloom.config import DataConfig, ModelsConfig, VocabularyConfig
from ctrloom.config.base import ConfigError
from ctrloom.config.growth import GrowthConfig
from ctrloom.data.batches.batch import Batch, concatenated
from ctrloom.data.batches.tensors import to_batch
from ctrloom.data.dataset import Dataset
from ctrloom.data.ingest.cast import typed, typed_schema
from ctrloom.data.ingest.run import ingest
from ctrloom.data.row_values import row_values, texts
from ctrloom.data.sources.memory import read_memory
from ctrloom.data.vocabulary.build import build_vocabulary
from ctrloom.data.vocabulary.drift_baseline import DriftBaseline
from ctrloom.data.vocabulary.growth import grow_vocabulary
from ctrloom.data.vocabulary.row_encoder import RowEncoder
from ctrloom.data.vocabulary.stored_crosses import cross_file
from ctrloom.methods.permuted import _with_permuted
from ctrloom.methods.statistics.field_codes import Coder
from ctrloom.models import build
from ctrloom.nn.cross_features import CrossEmbedding, fill_crosses
from ctrloom.nn.embedding import FieldEmbedding, KeptEmbedding
from ctrloom.serving.field_counter import FieldCounter
from ctrloom.serving.value_shares import ValueCounter
from ctrloom.stages.attention import values_of

COLUMNS = {
    "click": "label",
    "user": "categorical",
    "item": "categorical",
    "age": "numeric",
    "tags": "multivalued",
    "place": "categorical",
}
CROSSED = ("user", "item", "age")
RARE = 30  # tokens with fewer rows have no embedding


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rng = tmp_path_factory.mktemp("rare"), np.random.default_rng(1)
    for split, rows in (("train", 1500), ("valid", 300), ("test", 300)):
        drawn = {
            "click": rng.integers(0, 2, rows),
            "user": [f"u{v}" if v else "" for v in rng.zipf(1.5, rows) % 90],
            "item": [f"i{v}" if v else "" for v in rng.zipf(1.4, rows) % 70],
            "age": rng.integers(0, 60, rows),
            "tags": [f"t{v}|t{v % 3}" for v in rng.zipf(1.5, rows) % 40],
            "place": [f"p{v}" for v in rng.zipf(1.5, rows) % 40],
        }
        pd.DataFrame(drawn).to_csv(folder / f"{split}.csv", index=False)
    return folder


def encoded(raw: Path, **crosses: Any) -> Dataset:
    files = {split: str(raw / f"{split}.csv") for split in ("train", "valid", "test")}
    data = DataConfig.parse({"files": files, "columns": COLUMNS}, "test")
    pairs = [list(pair) for pair in combinations(CROSSED, 2)]
    boundaries = {"method": "boundaries", "values": list(range(1, 60))}
    settings = {
        "min_count": RARE,
        "fields": {"age": {"bucketing": boundaries}},
        "crosses": {"pairs": pairs, "counted": "tokens", **crosses},
    }
    config = VocabularyConfig.parse(settings, "vocabulary")
    return Dataset.open(build_vocabulary(ingest(data, raw / "store"), config, raw / "store"))


@pytest.fixture(scope="module")
def dataset(raw: Path) -> Dataset:
    return encoded(raw)


def read(raw: Path, split: str = "train") -> pd.DataFrame:
    frame = pd.read_csv(raw / f"{split}.csv").fillna("").astype(str)
    frame["age"] = [
        f">= {a}" if a == "59" else f"[{a}, {int(a) + 1})" if a != "0" else "< 1" for a in frame["age"]
    ]
    return frame


def tokens_of(dataset: Dataset, name: str) -> dict[str, int]:
    table = pq.read_table(dataset.vocabulary_directory / f"{name}.parquet").to_pydict()
    return {"": 0, **dict(zip(table["token"], table["id"], strict=True))}


def own_ids(dataset: Dataset, rows: Batch) -> np.ndarray:
    starts = np.array(dataset.schema.offsets)[list(dataset.schema.field_of_column)]
    return rows.ids_NC.numpy().astype(np.int64) - starts


def common(dataset: Dataset, rows: Batch) -> np.ndarray:
    """The ids of rows within their fields, with 1 in place of those of rare values."""
    own = own_ids(dataset, rows)
    for column, field in enumerate(dataset.schema.field_of_column):
        own[own[:, column] >= dataset.schema.fields[field].size, column] = 1
    return own


@pytest.mark.parametrize("min_count", [1, 2, RARE + 5])
def test_crosses_are_the_counts_of_raw_tokens(raw: Path, min_count: int) -> None:
    dataset, train = encoded(raw, min_count=min_count), read(raw)
    for cross in dataset.schema.crosses:
        a, b = cross.fields
        counts = train.groupby([a, b]).size()
        ids = tokens_of(dataset, a), tokens_of(dataset, b)
        size = next(field.ids for field in dataset.schema.fields if field.name == b)
        expected = sorted((ids[0][x] * size + ids[1][y], n) for (x, y), n in counts.items() if n >= min_count)
        table = pq.read_table(dataset.directory / cross_file(cross.fields)).to_pydict()
        assert list(zip(table["key"], table["count"], strict=True)) == expected
        assert cross.size == len(expected) + 1


def test_rare_values_have_the_last_ids_of_their_field(raw: Path, dataset: Dataset) -> None:
    train = read(raw)
    for name in CROSSED:
        field = dataset.schema.fields[dataset.schema.names.index(name)]
        counts = train[name].value_counts().drop("", errors="ignore")
        frequent = {token for token, count in counts.items() if count >= RARE}
        ids = tokens_of(dataset, name)
        assert field.size == 2 + len(frequent)
        assert field.rare == len(counts) - len(frequent) > 5
        assert {token for token, id in ids.items() if 2 <= id < field.size} == frequent
    others = [dataset.schema.fields[dataset.schema.names.index(name)] for name in ("tags", "place")]
    assert [field.rare for field in others] == [0, 0]


def test_without_rare_values_both_ways_of_counting_are_one(raw: Path) -> None:
    one, other = (encoded(raw, min_count=RARE, counted=counted) for counted in ("tokens", "ids"))
    assert one.schema.fingerprint == other.schema.fingerprint
    assert encoded(raw, counted="ids").schema.fields == one.schema.fields
    assert encoded(raw).schema.fields != one.schema.fields


def test_held_out_pairs_of_rare_values_are_found(raw: Path, dataset: Dataset) -> None:
    """The rows of the cross table, of validation rows, against a look-up of raw pairs."""
    train, valid = read(raw), read(raw, "valid")
    hyper = ModelsConfig.parse({"optinter": {"embedding_size": 2}}).of("optinter")
    layer = CrossEmbedding(dataset.schema, [("user", "item"), ("item", "age")], 2, 0.1, hyper)  # type: ignore[arg-type]
    fill_crosses(layer, dataset.crosses())
    row_NP = layer.eval().rows(dataset.rows("valid").widened().ids_NC).numpy()
    for number, (a, b) in enumerate(layer.pairs):
        seen = set(map(tuple, train[[a, b]].to_numpy()))
        found: dict[tuple[str, str], set[int]] = {}
        for pair, row in zip(map(tuple, valid[[a, b]].to_numpy()), row_NP[:, number], strict=True):
            assert (row != number) == (pair in seen)
            found.setdefault(pair, set()).add(int(row))
        assert all(len(rows) == 1 for rows in found.values())
        known = [rows for pair, rows in found.items() if pair in seen]
        assert len(set.union(*known)) == len(known) > 30
    counts = {name: train[name].value_counts() for name in ("user", "item")}
    common = {*map(tuple, train[["user", "item"]].to_numpy())} & {
        *map(tuple, valid[["user", "item"]].to_numpy())
    }
    assert any(counts["user"][u] < RARE and counts["item"][i] < RARE for u, i in common)


def test_streamed_rows_and_parts_have_the_same_ids(dataset: Dataset) -> None:
    whole = dataset.rows("train")
    streamed = concatenated(list(dataset.stream("train").batches(200)))
    assert torch.equal(streamed.ids_NC, whole.widened().ids_NC)
    parts = [dataset.rows("train", part, 3).ids_NC for part in range(3)]
    assert torch.equal(torch.cat(parts), whole.ids_NC)


def test_single_rows_are_encoded_as_batches(raw: Path, dataset: Dataset) -> None:
    frame = pd.read_csv(raw / "valid.csv", dtype=str).fillna("").drop(columns="click")
    rows = [*frame.to_dict("records"), {**frame.iloc[0].to_dict(), "user": "stranger"}]
    encoder, source = dataset.encoder(), dataset.schema.source
    batch = typed(read_memory(rows, source), source, typed_schema(source, with_label=False))
    expected = to_batch(dataset.schema, encoder.encode(batch.dictionary_rows)).widened()
    found = RowEncoder(encoder).encode(rows)
    assert found is not None
    np.testing.assert_array_equal(found.ids_NC, expected.ids_NC.numpy())
    user = dataset.schema.fields[0]
    assert (expected.ids_NC[:, 0] >= user.size).any()
    counted = FieldCounter(dataset.schema).counts(found.ids_NC)[1]
    own = own_ids(dataset, expected)
    for f, field in enumerate(dataset.schema.fields):
        columns = np.array(dataset.schema.field_of_column) == f
        assert counted[field.name] == ((own == 1) | (own >= field.size))[:, columns].any(1).sum()


MODELS = ["lr", "fm", "ffm", "deepfm", "hofm", "autofm", "afn", "poly2", "optinter"]


@pytest.mark.parametrize("name", MODELS)
def test_embeddings_of_rare_values_are_those_of_unseen_ones(dataset: Dataset, name: str) -> None:
    """A model is the one over a schema without rare values, but for its crosses."""
    schema, rows = dataset.schema, dataset.rows("valid").widened()
    own = tuple(field.model_copy(update={"rare": 0}) for field in schema.fields)
    plain = schema.model_copy(update={"fields": own})
    hyper = ModelsConfig.parse({name: {"embedding_size": 3, "hidden": [4], "embedding_std": 0.5}}).of(name)
    architecture = Architecture.complete(schema.names)
    if name == "optinter":
        kept = tuple(i.model_copy(update={"function": "hadamard"}) for i in architecture.interactions)
        architecture = architecture.model_copy(update={"interactions": kept})
    elif name == "poly2":
        architecture = architecture.model_copy(update={"interactions": ()})
    starts, logits = np.array(plain.offsets)[list(plain.field_of_column)], []
    known = Batch(torch.from_numpy(common(dataset, rows) + starts), rows.label_N, rows.factors_NC)
    for own_schema, own_rows in ((schema, rows), (plain, known)):
        torch.manual_seed(0)
        model = build(name, architecture, own_schema, hyper).eval()
        logits.append(model(own_rows.ids_NC, own_rows.factors_NC))
    assert torch.equal(*logits)


def test_kept_positions_of_rare_values_are_those_of_unseen_ones(dataset: Dataset) -> None:
    schema, rows = dataset.schema, dataset.rows("valid").widened()
    kept = [(0, 2), (1,), (), (0, 1, 2), (2,)]
    table = KeptEmbedding(schema, 3, kept, 1.0)
    whole = FieldEmbedding(schema, 3, 1.0)
    sizes, at = [field.size for field in schema.fields], 0
    with torch.no_grad():
        whole.weight.zero_()
        for start, size, places in zip(schema.table_offsets, sizes, kept, strict=True):
            own = table.weight[at : at + size * len(places)].view(size, len(places))
            whole.weight[start : start + size, list(places)] = own
            at += size * len(places)
    assert torch.equal(table(rows.ids_NC, rows.factors_NC), whole(rows.ids_NC, rows.factors_NC))


def test_statistics_and_copies_do_not_distinguish_rare_values(dataset: Dataset) -> None:
    schema, rows = dataset.schema, dataset.rows("train")
    codes = Coder.fit(schema, rows).codes(rows)
    for f, field in enumerate(schema.fields):
        if field.kind == "categorical":
            assert codes[:, f].max() < field.size
    wider, more = _with_permuted(schema, rows, ["user"], 0)
    ids = more.ids_NC.numpy().astype(np.int64)
    first = ids[:, 0] - wider.offsets[0]
    copied = ids[:, -1] - wider.offsets[-1]
    assert sorted(copied) == sorted(first)


def test_values_for_evaluation_do_not_distinguish_rare_values(raw: Path, dataset: Dataset) -> None:
    train, valid = read(raw), read(raw, "valid")
    counts = train["user"].value_counts()
    shown = ["" if not u else u if counts.get(u, 0) >= RARE else None for u in valid["user"]]
    values = row_values(dataset, "valid", "user")
    named = [values.text_K[int(code)].as_py() for code in values.code_N]
    assert named == ["(missing)" if u == "" else u or "(unseen or rare)" for u in shown]
    (columns,) = texts(dataset, "valid", ["user"])
    assert columns[-1].to_pylist() == [u or None for u in shown]
    row = next(n for n, u in enumerate(shown) if u is None and valid["user"][n] in set(train["user"]))
    assert values_of(dataset.encoder(), dataset.rows("valid")[row : row + 1])[0] == "unseen"


def test_shares_of_unseen_values_count_rare_ones(raw: Path, dataset: Dataset) -> None:
    train, valid = read(raw), read(raw, "valid")
    counts = train["user"].value_counts()
    given, before = ([counts.get(u, 0) < RARE for u in frame["user"] if u] for frame in (valid, train))
    encoder, user = dataset.encoder(), dataset.schema.fields[0]
    counter = ValueCounter(user)
    typed_users = pa.array([u or None for u in valid["user"]])
    counter.add(typed_users, encoder.vocabularies["user"].ids(pa.chunked_array([typed_users])))
    shares = counter.shares(encoder.vocabularies["user"], DriftBaseline.load(dataset.directory))
    assert shares.unseen == pytest.approx(np.mean(given))
    assert shares.unseen_in_training == pytest.approx(np.mean(before))


def test_trees_do_not_distinguish_rare_values(dataset: Dataset) -> None:
    pytest.importorskip("lightgbm")
    from ctrloom.models.tree_tensors import Columns
    from ctrloom.models.trees import matrix

    rows = dataset.rows("valid").widened()
    found = matrix(dataset.schema, rows.ids_NC, rows.factors_NC).toarray()  # type: ignore[union-attr]
    np.testing.assert_array_equal(found[:, :3], common(dataset, rows)[:, :3])
    used = np.arange(found.shape[1])
    columns = Columns(dataset.schema, used)(rows.ids_NC, rows.factors_NC).numpy()
    np.testing.assert_array_equal(columns, found)


def test_vocabularies_with_rare_values_do_not_grow(raw: Path, dataset: Dataset, tmp_path: Path) -> None:
    files = {"train": str(raw / "valid.csv"), "valid": str(raw / "test.csv"), "test": str(raw / "train.csv")}
    later = ingest(DataConfig.parse({"files": files, "columns": COLUMNS}, "test"), tmp_path)
    with pytest.raises(
        ConfigError, match=r"crosses were counted by tokens .* 'user' have ids, which cannot grow"
    ):
        grow_vocabulary(later, dataset.directory, GrowthConfig(), tmp_path, dataset.crosses())
