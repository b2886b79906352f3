"""Rows in memory get the probabilities, to the bit, that the command writes for the same rows in a file."""

import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from predictor_bundles import (
    TEXT_COLUMNS,
    TYPED_COLUMNS,
    bundle_of,
    command,
    text_rows,
    typed_rows,
    written,
)

import ctrloom
from ctrloom.data.batches.tensors import to_batch
from ctrloom.data.errors import DataError
from ctrloom.data.ingest.cast import typed, typed_schema
from ctrloom.data.sources.memory import read_memory
from ctrloom.data.vocabulary.field_encoders import Buckets
from ctrloom.serving import predictor as predictors
from ctrloom.serving.predictor import Predictor

PLACES: dict[str, Path] = {}  # bundles, made once: hypothesis takes no fixtures of a test
TEXT_KEYS: dict[str, Any] = {"missing_values": ["", "NA", "-1", "0.50"], "trim": True}
NUMBERS = [
    "0",
    "-0",
    "1",
    "-1",
    "0.5",
    "0.50",
    ".5",
    "5.",
    "+3",
    "007",
    "1e2",
    "1E-3",
    " 2 ",
    "2.5",
    "10",
    "nan",
]
NUMBERS += ["2.718281828459045", "54.59815003314423", "-0.0", "12345678901234567890", "", "NA", " NA ", "3"]
NUMBERS += ["7.38905609893065", "99999", "-1.0", "0.1234567890123456789012345", "1e-320", "NaN"]
MONEY = [
    "€ 1.234,50",
    "1234,5 €",
    "-€3",
    "€-3",
    "12,",
    ",5",
    "NA",
    "-1",
    "",
    "nan",
    "0,50",
    "2.345,67",
    "0.50",
]
TIMES = ["2024-01-10 10:00:00", "2024-09-27 23:59:59", " 2024-03-11 12:30:00 "]
JSON = ['["j0", 0]', "[]", "", "null", '["j1", 1.0, true, null, "NA", "", "-1", -1]', '["j3", 3, 2, 1]', "NA"]
JSON += ["[1e1, 0.1, NaN]", '[" j1"]', ' ["j2"] ']
WORDS = ["u1", "u8", " u2 ", "u 3", "NA", "-1", "new", "", "é", "日本", "a|b", "line\nend", 'quo"te', "0.50"]
SPOILT = {
    "log": ["1e400", "inf", "x", "1_0", "١", "1.234,5", "0x1"],
    "share": ["-inf", "1 2", "--1"],
    "money": ["1.23", "€", "1,2,3", "$1"],
    "seen": ["2023-02-29 10:00:00", "", "soon", "2024-01-10 10:00:00Z"],
    "json": ["{}", '["a"', '[["j1"]]', '["\\ud800"]', "3"],
}


@pytest.fixture(scope="module", autouse=True)
def bundles(tmp_path_factory: pytest.TempPathFactory) -> None:
    rng = np.random.default_rng(3)
    text = tmp_path_factory.mktemp("text")
    (text / "train.csv").write_text(written(text_rows(rng, 400), [*TEXT_COLUMNS]))
    PLACES["text"] = bundle_of(text, text / "train.csv", TEXT_COLUMNS, TEXT_KEYS)
    parquet = tmp_path_factory.mktemp("typed")
    pq.write_table(typed_rows(rng, 400), parquet / "train.parquet")
    keys = {"format": "parquet", "missing_values": ["", "-1", "2.0"]}
    PLACES["typed"] = bundle_of(parquet, parquet / "train.parquet", TYPED_COLUMNS, keys)
    for name, place in list(PLACES.items()):
        LOADED[name] = ctrloom.load_bundle(place)


LOADED: dict[str, Predictor] = {}


def by_arrow(predictor: Predictor, rows: Any) -> predictors.Scored:
    """Score rows as those of files are."""
    few, predictors.FEW = predictors.FEW, -1
    try:
        return predictor.score(rows)
    finally:
        predictors.FEW = few


def same(one: np.ndarray, other: np.ndarray) -> bool:
    """True if two arrays have the same bits."""
    return one.dtype == other.dtype == np.float32 and one.tobytes() == other.tobytes()


def a_text_row() -> st.SearchStrategy[dict[str, str]]:
    """A row of text; few are malformed."""
    number = st.one_of(st.sampled_from(NUMBERS), st.floats(-5, 3000).map(lambda x: f"{x:.3f}"))
    lists = st.lists(st.sampled_from(["t1", "t5", "w2", "w3", "new", " t2", "", "NA", "-1"]), max_size=5)
    row = st.fixed_dictionaries(
        {
            "user": st.sampled_from(WORDS),
            "seen": st.sampled_from(TIMES),
            "money": st.sampled_from(MONEY),
            "tags": lists.map("|".join),
            "words": lists.map("--".join),
            "json": st.sampled_from(JSON),
            **{name: number for name in TEXT_COLUMNS if TEXT_COLUMNS[name] == "numeric"},
        }
    )
    spoilt = st.sampled_from([{name: value} for name, values in SPOILT.items() for value in values])
    return st.tuples(row, st.one_of(st.just({}), st.just({}), spoilt)).map(lambda pair: pair[0] | pair[1])


slowly = settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


@slowly
@given(st.lists(a_text_row(), min_size=1, max_size=12), st.integers(0, 10**9))
def test_text_scores_as_the_text_of_a_file(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, str]], number: int
) -> None:
    usual = text_rows(np.random.default_rng(number), 4)
    rows = [*rows, *usual]
    file = tmp_path_factory.mktemp("text") / "rows.csv"
    file.write_text(written(rows, [name for name in TEXT_COLUMNS if name != "click"]))
    expected, reasons = command(PLACES["text"], file)
    predictor = LOADED["text"]
    frame = pd.DataFrame(rows)
    for given_rows in (rows, frame, pa.Table.from_pylist(rows), pa.Table.from_pylist(rows).to_batches()[0]):
        scored = predictor.score(given_rows)
        assert same(scored.probability_N, expected)
        assert scored.malformed == {row: reason.split(": ", 1)[1] for row, reason in reasons.items()}
    sound = [row for n, row in enumerate(rows) if n not in reasons]
    assert len(sound) >= 4
    assert predictor.row_encoder.encode(sound) is not None
    assert not reasons or predictor.row_encoder.encode(rows) is None
    alone = predictor.predict(sound)
    assert same(alone, expected[~np.isnan(expected)])
    assert same(alone, by_arrow(predictor, sound).probability_N)


def some(
    kind: pa.DataType, values: st.SearchStrategy[Any]
) -> st.SearchStrategy[tuple[pa.DataType, list[Any]]]:
    """A type of column, and values for nine rows of which some are missing."""
    nine = st.lists(st.one_of(st.none(), values), min_size=9, max_size=9)
    return nine.map(lambda found: (kind, found))


INTEGERS = st.one_of(st.integers(-3, 12), st.integers(-(2**63), 2**63 - 1))
FLOATS = st.one_of(
    st.sampled_from([0.0, -0.0, 0.25, 1.0, 2.0, -1.0, 1e-5, 1e16, 2.0**63, 1e300, 5e-324, float("nan")]),
    st.floats(allow_nan=True, allow_infinity=False),
)
HALVES = st.floats(width=32, allow_infinity=False)
TOKENS = st.one_of(
    st.sampled_from(["1", "2", " 2", "d1", "t1", "true", "-1", "", "new", "é"]), st.text(max_size=3)
)
DECIMALS = st.decimals(-100, 100, places=2)
INSTANTS = st.datetimes(datetime(1970, 1, 2), datetime(2100, 1, 1))
DAYS = st.dates(date(1960, 1, 1), date(2100, 1, 1))
TOKEN_TYPES = [
    some(pa.int64(), INTEGERS),
    some(pa.uint64(), st.integers(0, 2**64 - 1)),
    some(pa.float64(), st.one_of(FLOATS, st.just(float("inf")))),
    some(pa.float32(), HALVES),
    some(pa.bool_(), st.booleans()),
    some(pa.string(), TOKENS),
    some(pa.large_string(), TOKENS),
    some(pa.dictionary(pa.int32(), pa.string()), TOKENS),
    some(pa.decimal128(12, 2), DECIMALS),
    some(pa.date32(), DAYS),
    some(pa.timestamp("us"), INSTANTS),
    some(pa.timestamp("ms", "Asia/Tokyo"), INSTANTS.map(lambda t: t.replace(microsecond=0, tzinfo=UTC))),
    some(pa.time64("us"), st.times()),
    some(pa.binary(), st.sampled_from([b"d1", b"1"])),
]
NUMBER_TYPES = [
    some(pa.int64(), INTEGERS),
    some(pa.float64(), FLOATS),
    some(pa.float32(), HALVES),
    some(pa.bool_(), st.booleans()),
    some(pa.decimal128(12, 2), DECIMALS),
    some(pa.string(), st.sampled_from(NUMBERS)),
]
LIST_TYPES = [
    some(pa.list_(pa.string()), st.lists(st.one_of(st.none(), TOKENS), max_size=5)),
    some(pa.list_(pa.int64()), st.lists(st.one_of(st.none(), st.integers(-3, 9)), max_size=5)),
    some(pa.list_(pa.float64()), st.lists(st.one_of(st.none(), FLOATS), max_size=5)),
    some(pa.list_(pa.bool_()), st.lists(st.booleans(), max_size=2)),
    some(pa.string(), st.lists(st.sampled_from(["t1", "t2", "", "-1", "new"])).map("|".join)),
    some(pa.int64(), st.integers(-3, 9)),
]
TIME_TYPES = [
    (pa.int64(), st.integers(-10_000_000_000, 10_000_000_000)),
    (pa.float64(), st.floats(-1e9, 1e9)),
    (pa.timestamp("us"), INSTANTS.map(lambda t: t.replace(hour=12))),  # a time that every day has
    (pa.timestamp("ns", "UTC"), INSTANTS.map(lambda t: t.replace(tzinfo=UTC))),
    (pa.date32(), DAYS),
]
TYPES = {
    **dict.fromkeys(("user", "amount", "flag", "price", "day"), st.one_of(TOKEN_TYPES)),
    **dict.fromkeys(("log", "frequency", "share"), st.one_of(NUMBER_TYPES)),
    **dict.fromkeys(("tags", "numbers"), st.one_of(LIST_TYPES)),
    "at": st.sampled_from(TIME_TYPES).flatmap(
        lambda pair: st.lists(pair[1], min_size=9, max_size=9).map(lambda found: (pair[0], found))
    ),
}


def mappings_of(table: pa.Table) -> list[dict[str, Any]]:
    """Rows of Python values; numbers of 32 bits are NumPy's, as Python has none."""
    rows = table.to_pylist()
    for name in table.schema.names:
        if pa.types.is_float32(table.schema.field(name).type):
            for row in rows:
                row[name] = None if row[name] is None else np.float32(row[name])
    return rows


@slowly
@given(st.fixed_dictionaries(TYPES))
def test_typed_values_score_as_those_of_parquet(
    tmp_path_factory: pytest.TempPathFactory, columns: dict[str, tuple[pa.DataType, list[Any]]]
) -> None:
    arrays = {name: pa.array(values, kind, from_pandas=False) for name, (kind, values) in columns.items()}
    table, file = pa.table(arrays), tmp_path_factory.mktemp("typed") / "rows.parquet"
    pq.write_table(table, file)
    expected, reasons = command(PLACES["typed"], file)
    predictor, rows = LOADED["typed"], mappings_of(table)
    for scored in (predictor.score(table), predictor.score(rows), by_arrow(predictor, rows)):
        assert same(scored.probability_N, expected)
        assert scored.malformed == {row: reason.split(": ", 1)[1] for row, reason in reasons.items()}
    assert (predictor.row_encoder.encode(rows) is None) == bool(reasons)


ANY = st.one_of(
    st.none(),
    TOKENS,
    INTEGERS,
    FLOATS,
    st.booleans(),
    DECIMALS,
    INSTANTS,
    DAYS,
    st.times(),
    st.binary(max_size=2),
)
ANY = st.one_of(
    ANY, st.sampled_from(["t1|t2", '["j0", 1]', 2**70, 10**90, {"a": 1}, {1}, object, "\ud800", pd.NA, 2j])
)
ANY = st.one_of(
    ANY, st.lists(ANY, max_size=4), st.lists(TOKENS, max_size=4).map(tuple), st.just(np.array(["t1"]))
)


@slowly
@given(st.data(), st.sampled_from(["text", "typed"]))
def test_few_rows_get_the_same_ids_and_factors_as_many(data: st.DataObject, name: str) -> None:
    """Each column holds values of any types; what one way refuses, the other refuses too."""
    predictor = LOADED[name]
    names = [column for column in (TEXT_COLUMNS if name == "text" else TYPED_COLUMNS) if column != "click"]
    usual = (
        text_rows(np.random.default_rng(0), 6)
        if name == "text"
        else mappings_of(typed_rows(np.random.default_rng(0), 6))
    )
    changed = data.draw(st.lists(st.tuples(st.integers(0, 5), st.sampled_from(names), ANY), max_size=8))
    rows = [dict(row) for row in usual]
    for row, column, value in changed:
        rows[row][column] = value
    source = predictor.schema.source
    batch = typed(read_memory(rows, source), source, typed_schema(source, with_label=False))
    few = predictor.row_encoder.encode(rows)
    assert (few is None) == bool(batch.malformed)
    sound = [row for n, row in enumerate(rows) if n not in {each.position for each in batch.malformed}]
    few = predictor.row_encoder.encode(sound)
    if not sound:
        return
    assert few is not None
    many = to_batch(predictor.schema, predictor.encoder.encode(batch.dictionary_rows)).widened()
    assert few.ids_NC.tolist() == many.ids_NC.tolist()
    assert few.factors_NC is not None
    assert many.factors_NC is not None
    assert few.factors_NC.tobytes() == many.factors_NC.numpy().tobytes()


def test_missing_and_unseen_values_are_counted_by_row() -> None:
    usual = text_rows(np.random.default_rng(5), 3)
    rows = [
        {**row, "user": user, "tags": tags}
        for row, user, tags in zip(
            usual, ["stranger", " NA ", "u1"], ["t1|new|newer", "", "t1|t2|t3|new"], strict=True
        )
    ]
    predictor = LOADED["text"]
    for scored in (predictor.score(rows), by_arrow(predictor, rows), predictor.score(pd.DataFrame(rows))):
        assert (scored.missing["user"], scored.unseen["user"]) == (1, 1)
        assert (scored.missing["tags"], scored.unseen["tags"]) == (1, 1)  # a fourth value is not read
        assert scored.unseen["plain"] == 0


def test_values_that_are_no_values_are_those_of_a_missing_key() -> None:
    row = text_rows(np.random.default_rng(6), 1)[0]
    del row["user"]
    expected = LOADED["text"].predict(row)
    none = (None, float("nan"), np.float32("nan"), pd.NA, pd.NaT)
    for value in (*none, "", "NA", " -1 ", -1, -1.0, Decimal(-1)):
        assert same(LOADED["text"].predict({**row, "user": value}), expected), value


def test_equal_numbers_are_one_token() -> None:
    (row,) = mappings_of(typed_rows(np.random.default_rng(7), 1))
    values = [3, 3.0, np.int8(3), np.float32(3), Decimal("3.00"), "3", True]
    *equal, other = (LOADED["typed"].predict({**row, "user": value}).item() for value in values)
    assert len({*equal}) == 1
    assert other != equal[0]


@pytest.mark.parametrize("name", ["log", "frequency"])
def test_numbers_seen_before_are_read_by_their_type(name: str) -> None:
    """A bucketed number is remembered, and an equal value of another type is not taken for it."""
    predictor, (row,) = LOADED["text"], text_rows(np.random.default_rng(11), 1)
    numbers = (1, "1", 1.0, True, np.float32(1), Decimal(1), 1, "1", True)
    for value in (*numbers, "True", [1], complex(1), Fraction(1), 0.0, -0.0, "-0", float("nan")):
        few, many = predictor.score({**row, name: value}), by_arrow(predictor, {**row, name: value})
        assert same(few.probability_N, many.probability_N), value
        assert (few.malformed, few.missing, few.unseen) == (many.malformed, many.missing, many.unseen), value
        assert bool(few.malformed) == (type(value) in (list, complex, Fraction) or value == "True")


def test_long_texts_of_numbers_are_not_kept() -> None:
    predictor, (row,) = LOADED["text"], text_rows(np.random.default_rng(11), 1)
    ((_, buckets),) = dict(predictor.row_encoder.columns)["log"]
    assert isinstance(buckets, Buckets)
    expected, kept = predictor.predict({**row, "log": "1"}), buckets.recent.cache_info().currsize
    assert same(predictor.predict({**row, "log": " " * 1000 + "1"}), expected)
    assert buckets.recent.cache_info().currsize == kept


@pytest.mark.parametrize("copied", [deepcopy, lambda predictor: pickle.loads(pickle.dumps(predictor))])
def test_copies_and_pickles_score_as_the_predictor(copied: Callable[[Predictor], Predictor]) -> None:
    rows = text_rows(np.random.default_rng(12), 20)
    expected = LOADED["text"].predict(rows)
    assert same(copied(LOADED["text"]).predict(rows), expected)


def test_malformed_rows_are_named_and_the_others_scored() -> None:
    rows = text_rows(np.random.default_rng(8), 4)
    sound = [dict(rows[0]), dict(rows[3])]
    rows[1]["log"], rows[2]["json"] = "much", {"j0": 1}
    scored = LOADED["text"].score(rows)
    assert scored.malformed == {
        1: "log is not a number: 'much'",
        2: "json holds struct<j0: int64>, which cannot be multivalued: {'j0': 1}",
    }
    assert same(scored.probability_N[[0, 3]], LOADED["text"].predict(sound))
    assert np.isnan(scored.probability_N[[1, 2]]).all()
    with pytest.raises(DataError, match=r"^row 1: log is not a number: 'much' \(2 rows are malformed; `sc"):
        LOADED["text"].predict(rows)


def test_absent_columns_are_named_and_other_columns_ignored() -> None:
    predictor, rows = LOADED["text"], text_rows(np.random.default_rng(9), 2)
    expected = predictor.predict(rows)
    table = pa.Table.from_pylist(rows)
    assert same(predictor.predict([{**row, "extra": object()} for row in rows]), expected)
    assert same(predictor.predict(table.append_column("extra", pa.array([1, 2]))), expected)
    for lacking in (table.drop_columns(["user", "log"]), table.to_pandas().drop(columns=["user", "log"])):
        with pytest.raises(DataError, match=r"^rows: lack the columns 'user', 'log'"):
            predictor.predict(lacking)
    with pytest.raises(DataError, match=r"^rows: lack the columns 'user', .*similar names are 'users'"):
        predictor.predict([{"users": "u1"}])
    with pytest.raises(DataError, match="have 2 columns named 'user'"):
        predictor.predict(table.append_column("user", table["user"]))
    for wrong, message in (("rows.csv", "type str"), (7, "type int"), ([["u1"]], "row 0: is of type list")):
        with pytest.raises(DataError, match=message):
            predictor.predict(wrong)  # type: ignore[arg-type]
    assert predictor.predict([]).shape == (0,)
    assert predictor.predict(table.slice(0, 0)).shape == (0,)


@pytest.mark.parametrize("format", ["libsvm", "libffm"])
def test_indices_and_values_are_read_as_in_a_file(format: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    prefix = "3:" if format == "libffm" else ""

    def row() -> dict[str, str]:
        return {
            "site": f"{prefix}{rng.integers(20, 24)}:1",
            "price": f"{prefix}7:{rng.normal():.3f}",
            "ad": f"{prefix}{rng.integers(30, 33)}:1",
        }

    columns = {"click": "label", "site": "categorical", "price": "numeric", "ad": "categorical"}
    (tmp_path / "train.txt").write_text("".join(f"{i % 2} {' '.join(row().values())}\n" for i in range(60)))
    bundle = bundle_of(tmp_path, tmp_path / "train.txt", columns, {"format": format, "header": False})
    rows = [row() for _ in range(10)]
    (tmp_path / "rows.txt").write_text("".join(" ".join(each.values()) + "\n" for each in rows))
    expected, _ = command(bundle, tmp_path / "rows.txt")
    predictor = ctrloom.load_bundle(bundle)
    assert same(predictor.predict(rows), expected)
    rows[4]["ad"] = "here"
    scored = predictor.score(rows)
    assert list(scored.malformed) == [4]
    assert scored.malformed[4].startswith(f"ad is not {'field:' if format == 'libffm' else ''}index:value")
    typed_row = {"site": 21, "price": 0.5, "ad": None}
    assert same(predictor.predict(typed_row), predictor.predict({**typed_row, "site": f"{prefix}21:1"}))


def test_a_row_scores_nearly_the_same_in_any_batch() -> None:
    rows = text_rows(np.random.default_rng(10), 300)
    together = LOADED["text"].predict(rows)
    alone = np.concatenate([LOADED["text"].predict(row) for row in rows])
    np.testing.assert_allclose(alone, together, rtol=1e-5)


def test_more_rows_than_a_few_score_as_those_of_a_file(tmp_path: Path) -> None:
    rows = text_rows(np.random.default_rng(11), predictors.FEW + 1)
    (tmp_path / "rows.csv").write_text(written(rows, [*TEXT_COLUMNS]))
    expected, _ = command(PLACES["text"], tmp_path / "rows.csv")
    assert same(LOADED["text"].predict(rows), expected)
    assert same(LOADED["text"].predict_files([str(tmp_path / "rows.csv")]), expected)


@pytest.mark.parametrize("many", [False, True])
def test_threads_share_a_predictor(many: bool) -> None:
    predictor = LOADED["text"]
    requests = [text_rows(np.random.default_rng(seed), 1 + seed % 5) for seed in range(40)]
    score: Callable[[Any], np.ndarray] = (
        (lambda rows: predictor.predict(pd.DataFrame(rows))) if many else predictor.predict
    )
    expected = [score(rows) for rows in requests]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            assert all(map(same, pool.map(score, requests), expected))


def test_predicting_leaves_the_process_as_it_was() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state(), torch.is_grad_enabled(), torch.is_inference_mode_enabled()
    LOADED["text"].predict(text_rows(np.random.default_rng(12), 2))
    after = torch.get_rng_state(), torch.is_grad_enabled(), torch.is_inference_mode_enabled()
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]
