"""One value is one token, whatever its type; the truth is Python's own text of the value."""

import datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq
import pytest
from data_helpers import Write
from hypothesis import given
from hypothesis import strategies as st

from ctrloom.config import Multivalued, SourceConfig
from ctrloom.data.ingest.cast import read_rows
from ctrloom.data.ingest.token_lists import token_lists
from ctrloom.data.ingest.tokens import text, tokens
from ctrloom.data.vocabulary.token_warnings import spelling_warnings
from ctrloom.schema import Field

WHOLE = [0, 1, 7, 100, 127]
NUMBERS = [
    *(pa.from_numpy_dtype(np.dtype(f"{sign}int{bits}")) for sign in ("", "u") for bits in (8, 16, 32, 64)),
    *(pa.float16(), pa.float32(), pa.float64()),
    *(pa.decimal128(21, 2), pa.decimal128(38, 0), pa.decimal128(38, 18), pa.decimal256(50, 3)),
    *(pa.decimal32(6, 1), pa.decimal64(12, 9)),
]


def typed(values: list[int], type: pa.DataType) -> pa.Array:
    """The values in a type, made without the casts under test."""
    if pa.types.is_decimal(type):
        return pa.array([Decimal(value) for value in values], type)
    return pa.array(np.array(values, type.to_pandas_dtype()), type)


@pytest.mark.parametrize("type", NUMBERS, ids=str)
def test_whole_numbers_of_any_type_are_one_token(type: pa.DataType) -> None:
    assert text(typed(WHOLE, type)).to_pylist() == [str(value) for value in WHOLE]


@given(st.integers(-(2**63), 2**63 - 1))
def test_large_ids(number: int) -> None:
    """Ids above 2**53 are exact as integers and decimals; floats have the digits of the number they hold."""
    for type in (pa.int64(), pa.decimal128(38, 0), pa.decimal128(38, 2)):
        assert text(pa.array([number]).cast(type)).to_pylist() == [str(number)]
    assert text(pa.array([float(number)])).to_pylist() == [str(int(float(number)))]
    if abs(number) < 2**53:
        assert text(pa.array([float(number)])).to_pylist() == [str(number)]


def test_the_largest_numbers() -> None:
    assert text(pa.array([2**64 - 1], pa.uint64())).to_pylist() == ["18446744073709551615"]
    assert text(pa.array([1e300, -1e300, float("inf")])).to_pylist() == [
        str(int(1e300)),
        str(int(-1e300)),
        "inf",
    ]


def test_fractions_of_any_type_are_one_token() -> None:
    values = ["0.5", "-2.25", "0.1", "1e-7"]
    floats = [float(value) for value in values]
    for type in (pa.decimal128(21, 7), pa.decimal128(38, 20), pa.decimal256(60, 9)):
        assert text(pa.array([Decimal(value) for value in values], type)).to_pylist() == values
    assert text(pa.array(floats)).to_pylist() == values
    assert text(pa.array(floats, pa.float32())).to_pylist() == values


@pytest.mark.parametrize("type", [pa.float16(), pa.float32(), pa.float64()], ids=str)
def test_nan_is_missing_and_zero_has_no_sign(type: pa.DataType) -> None:
    values = pa.array(np.array([np.nan, -0.0, 1.0], type.to_pandas_dtype()), type)
    assert tokens(values, pa.array([""])).to_pylist() == [None, "0", "1"]
    lists = pa.ListArray.from_arrays([0, 2, 3], values)
    assert token_lists("c", lists, Multivalued(), pa.array([""]))[0].to_pylist() == [["0"], ["1"]]


def test_missing_values_in_any_type() -> None:
    missing = pa.array(["", "-1.0", "unknown"])
    for type in (pa.int32(), pa.float64(), pa.decimal128(9, 2)):
        assert tokens(typed([-1, 1], type), missing).to_pylist() == [None, "1"]
    assert tokens(pa.array(["-1.0", "-1", "unknown"]), missing).to_pylist() == [None, "-1", None]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_instants_of_any_unit_and_zone_are_one_token(unit: str) -> None:
    day, noon = datetime.datetime(2020, 2, 29), datetime.datetime(2020, 2, 29, 12, 30)
    assert text(pa.array([day, noon], pa.timestamp(unit))).to_pylist() == [
        "2020-02-29",
        "2020-02-29 12:30:00",
    ]
    for zone in ("UTC", "Asia/Tokyo"):
        values = pa.array([noon.replace(tzinfo=datetime.UTC)], pa.timestamp(unit, zone))
        assert text(values).to_pylist() == ["2020-02-29 12:30:00Z"]
    if unit != "s":
        fine = pa.array([noon.replace(microsecond=120_000)], pa.timestamp(unit))
        assert text(fine).to_pylist() == ["2020-02-29 12:30:00.12"]


def test_dates_and_times() -> None:
    for type in (pa.date32(), pa.date64()):
        assert text(pa.array([datetime.date(2020, 2, 29)], type)).to_pylist() == ["2020-02-29"]
    assert text(pa.array([datetime.time(9, 5)], pa.time64("us"))).to_pylist() == ["09:05:00"]
    assert text(pa.array([True, False])).to_pylist() == ["true", "false"]


@pytest.mark.parametrize(
    "values",
    [
        pa.array([1, 200, None], pa.uint8()),
        pa.array([2**62 + 1, -5, None]),
        pa.array([0.5, 1e-7, None]),
        pa.array([Decimal("1.5"), Decimal("-20.25"), None], pa.decimal128(9, 2)),
        pa.array([True, False, None]),
        pa.array([datetime.date(2020, 2, 29), datetime.date(1969, 1, 1), None]),
        pa.array([datetime.datetime(2020, 2, 29, 1, 2, 3), datetime.datetime(1969, 1, 1, 1), None]),
    ],
    ids=lambda values: str(values.type),
)
def test_parquet_and_csv_of_one_table_have_the_same_tokens(values: pa.Array, tmp_path: Any) -> None:
    if pa.types.is_timestamp(values.type):
        values = values.cast(pa.timestamp("s"))
    table = pa.table({"c": values, "y": [1, 0, 1]})
    pq.write_table(table, tmp_path / "a.parquet")
    arrow_csv.write_csv(table, tmp_path / "a.csv")
    found = []
    for format in ("parquet", "csv"):
        source = SourceConfig.parse({"columns": {"c": "categorical", "y": "label"}, "format": format}, "test")
        (batch,) = read_rows(source, [str(tmp_path / f"a.{format}")])
        found.append(batch.table["c"].to_pylist())
    if pa.types.is_decimal(values.type):
        found[1] = [value and value.rstrip("0") for value in found[1]]  # text stays as it is
    assert found[0] == found[1]
    assert found[0][2] is None


def test_numbers_are_missing_in_any_spelling(write: Write, tmp_path: Any) -> None:
    columns = {"c": "categorical", "n": "numeric", "y": "label"}
    content = "c,n,y\na,nan,1\na,NaN,0\na,-999,1\na,-999.0,0\na,,1\na,-998,1\na,-inf,0\n"
    source = SourceConfig.parse({"columns": columns, "missing_values": ["", "-999"]}, "test")
    (batch,) = read_rows(source, [write("a.csv", content)])
    assert batch.table["n"].to_pylist() == [None] * 5 + [-998.0]
    assert [row.reason for row in batch.malformed] == ["n is not a number: '-inf'"]
    (batch,) = read_rows(source, [write("b.csv", content + "a,x,1\n")])  # read value by value
    assert batch.table["n"].to_pylist() == [None] * 5 + [-998.0]
    assert [row.line for row in batch.malformed] == [8, 9]


def warnings(*found: str) -> list[str]:
    field = Field(name="c", kind="categorical", size=2, column="c")
    return list(spelling_warnings(field, pa.array(found, pa.string())))


def test_two_spellings_of_one_value_are_named() -> None:
    (warning,) = warnings("1", "x", "1.0", "-2.00", "-2", "3.0", "1.5")
    assert "c: '1' and '1.0' (and 1 more such pairs) occur as different values" in warning
    (warning,) = warnings("a", " a", "b ")
    assert "'a' and ' a' occur" in warning
    assert "'0' and '-0' occur" in warnings("-0", "0")[0]
    assert "'true' and 'True' occur" in warnings("true", "True")[0]


def test_a_token_that_may_mean_no_value_is_named() -> None:
    (warning,) = warnings("a", "NaN", "null")
    assert "'NaN' and 'null' are values like any other" in warning
    assert "data.missing_values" in warning


def test_usual_tokens_are_not_named() -> None:
    assert warnings("1", "2", "1.5", "3.0", "true", "false", "nano", "a b", "v1.0", "v1") == []
    assert warnings() == []
