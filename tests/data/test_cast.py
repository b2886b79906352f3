from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data_helpers import Write

from ctrloom.config import SourceConfig
from ctrloom.config.base import ConfigError
from ctrloom.data.ingest.cast import TypedBatch, check_rules, read_rows, typed_schema


def read(write: Write, columns: dict[str, Any], content: str, **keys: Any) -> TypedBatch:
    config = SourceConfig.parse({"columns": {"c": "categorical", **columns}, **keys}, "test")
    (batch,) = read_rows(config, [write("a.csv", content)])
    assert batch.table.schema == typed_schema(config)
    return batch


def labels(write: Write, rule: dict[str, str], *values: str) -> TypedBatch:
    content = "c,y\n" + "".join(f"a,{value}\n" for value in values)
    return read(write, {"y": {"kind": "label", **rule}}, content)


@pytest.mark.parametrize(
    ("rule", "values", "expected"),
    [
        ({}, ["0", "1", "-1", "+1", "true", "False", "1.0"], [0, 1, 0, 1, 1, 0, 1]),
        ({"positive": "> 3"}, ["1", "3", "4", "3.5"], [0, 0, 1, 1]),
        ({"positive": ">=3"}, ["2", "3"], [0, 1]),
        ({"positive": "< 3"}, ["2", "3"], [1, 0]),
        ({"positive": "<= 3"}, ["3", "4"], [1, 0]),
        ({"positive": "== 3"}, ["3", "3.0", "4"], [1, 1, 0]),
        ({"positive": "!= 3"}, ["3", "4"], [0, 1]),
        ({"positive": "!= spam"}, ["spam", "ham"], [0, 1]),
        ({"positive": "click"}, ["click", "view", "Click"], [1, 0, 0]),
        ({"positive": "3"}, ["3.0", "4"], [1, 0]),
        ({"positive": "> 3", "drop": "== 3"}, ["1", "3", "5"], [0, 1]),
    ],
)
def test_label_rules(write: Write, rule: dict[str, str], values: list[str], expected: list[int]) -> None:
    batch = labels(write, rule, *values)
    assert batch.table["label"].to_pylist() == expected
    assert not batch.malformed
    assert batch.dropped == len(values) - len(expected)


def test_invalid_labels_are_malformed(write: Write) -> None:
    assert [row.line for row in labels(write, {}, "1", "", "2", "0").malformed] == [3, 4]
    batch = labels(write, {"positive": "> 3", "drop": "== 3"}, "4", "good", "", "3")
    assert [row.reason for row in batch.malformed] == ["y is not a number: 'good'", "y has no value: ''"]
    assert batch.dropped == 1
    assert [row.line for row in labels(write, {"positive": "click"}, "", "view").malformed] == [2]


def test_an_invalid_rule_is_a_configuration_error() -> None:
    label = {"kind": "label", "positive": "> many"}
    config = SourceConfig.parse({"columns": {"c": "categorical", "y": label}}, "test")
    with pytest.raises(ConfigError, match=r"columns\.y.*not a number"):
        check_rules(config)


@pytest.mark.parametrize(
    "columns",
    [
        {"label": "categorical"},
        {"weight": "numeric", "w": "weight"},
        {"t": {"kind": "timestamp", "derive": ["hour"]}, "t_hour": "categorical"},
    ],
)
def test_duplicate_field_names_are_a_configuration_error(columns: dict[str, Any]) -> None:
    config = SourceConfig.parse({"columns": {"c": "categorical", "y": "label", **columns}}, "test")
    with pytest.raises(ConfigError, match="duplicate or reserved field"):
        check_rules(config)


@pytest.mark.parametrize(
    "columns",
    [
        {"a" * 300: "categorical"},
        {"日" * 30: "numeric"},
        {"t" * 198: {"kind": "timestamp", "derive": ["hour"]}},
    ],
)
def test_a_name_that_no_file_can_have_is_a_configuration_error(columns: dict[str, Any]) -> None:
    (name,) = columns
    config = SourceConfig.parse({"columns": {"c": "categorical", "y": "label", **columns}}, "test")
    with pytest.raises(
        ConfigError, match=f"the name '{name[:30]}.* is too long for a file; rename the column"
    ):
        check_rules(config)


def test_long_names_that_are_not_names_of_files_are_allowed() -> None:
    columns = {"c" * 200: "categorical", "y" * 300: "label", "s" * 300: "context", "i" * 300: "ignored"}
    check_rules(SourceConfig.parse({"columns": columns}, "test"))


def test_missing_values(write: Write) -> None:
    columns = {"n": "numeric", "m": "multivalued", "y": "label"}
    batch = read(write, columns, "c,n,m,y\n-,-,-,1\n,,,0\nx,1,a||-|b,1\n", missing_values=["", "-"])
    assert batch.table["c"].to_pylist() == [None, None, "x"]
    assert batch.table["n"].to_pylist() == [None, None, 1.0]
    assert batch.table["m"].to_pylist() == [[], [], ["a", "b"]]


def test_numbers_may_have_spaces_and_exponents(write: Write) -> None:
    batch = read(
        write, {"n": "numeric", "y": "label"}, "c,n,y\na, 3,0\na,+1.5e3,1\na,.5 ,1\na,5.,1\na,1e999,0\n"
    )
    assert batch.table["n"].to_pylist() == [3.0, 1500.0, 0.5, 5.0]
    assert [row.line for row in batch.malformed] == [6]


def test_weights(write: Write) -> None:
    batch = read(write, {"w": "weight", "y": "label"}, "c,w,y\n,0,0\n,2.5,1\n,-1,1\n,x,1\n,,0\n,1e99,0\n")
    assert batch.table["weight"].to_pylist() == [0.0, 2.5]
    assert [row.line for row in batch.malformed] == [4, 5, 6, 7]


@pytest.mark.parametrize(
    ("format", "text"),
    [
        (None, "1413849600"),
        (None, "1413849600.9"),
        ("%y%m%d%H", "14102100"),
        ("%Y-%m-%d", "2014-10-21"),
    ],
)
def test_timestamps_and_what_is_derived_from_them(write: Write, format: str | None, text: str) -> None:
    time = {"kind": "timestamp", "format": format, "derive": ["hour", "weekday", "day", "month"]}
    batch = read(write, {"t": time, "y": "label"}, f"c,t,y\na,{text},1\na,never,0\na,,0\n")
    assert batch.table["timestamp"].to_pylist() == [1413849600]
    derived = [batch.table[f"t_{part}"].to_pylist() for part in time["derive"]]
    assert derived == [["0"], ["1"], ["21"], ["10"]]  # a Tuesday
    assert [row.line for row in batch.malformed] == [3, 4]


def test_timestamps_in_milliseconds_are_malformed(write: Write) -> None:
    batch = read(write, {"t": "timestamp", "y": "label"}, "c,t,y\na,1413849600000,1\na,0,1\n")
    assert "as seconds since 1970 (see `unit`)" in batch.malformed[0].reason
    assert batch.table["timestamp"].to_pylist() == [0]


def test_parquet_types_are_converted(tmp_path: Any) -> None:
    columns = {
        "c": pa.array(["x", "y"]).dictionary_encode(),
        "m": pa.array([["a", None, ""], None]),
        "n": pa.array([1.5, float("nan")]),
        "t": pa.array([1_413_849_600_123, 0], pa.timestamp("ms")),
        "y": pa.array([1.0, 0.0]),
    }
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    kinds = {"c": "categorical", "m": "multivalued", "n": "numeric", "t": "timestamp", "y": "label"}
    config = {"columns": kinds, "format": "parquet", "missing_values": ["", "nan"]}
    (batch,) = read_rows(SourceConfig.parse(config, "test"), [str(tmp_path / "a.parquet")])
    assert batch.table.to_pydict() == {
        "c": ["x", "y"],
        "m": [["a"], []],
        "n": [1.5, None],
        "label": [1, 0],
        "timestamp": [1413849600, 0],
    }


def test_numbers_of_parquet_become_the_tokens_that_text_would_give(tmp_path: Any) -> None:
    values = [3.0, 3.5, -0.0, 1e6, None]
    pq.write_table(pa.table({"c": values, "y": [1] * 5}), tmp_path / "a.parquet")
    config = SourceConfig.parse({"columns": {"c": "categorical", "y": "label"}, "format": "parquet"}, "test")
    (batch,) = read_rows(config, [str(tmp_path / "a.parquet")])
    assert batch.table["c"].to_pylist() == ["3", "3.5", "0", "1000000", None]
