"""Parquet files: types, missing values, and damaged files."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
from program import Done

from hostile.case import Case, Content, ingested, run_yaml

COLUMNS = {"click": "label", "v": "categorical"}
CLICKS = pa.array([0, 1] * 60)


def case(
    name: str,
    content: Content,
    error: str = "",
    check: Callable[[Path, Done], bool] = Case.check,
    warning: str = "",
    columns: dict[str, Any] = COLUMNS,
) -> Case:
    """A file `clicks.parquet`."""
    config = run_yaml(columns, files="clicks.parquet", format="parquet")
    return Case(
        name, {"clicks.parquet": content, "run.yaml": config}, error=error, check=check, warning=warning
    )


def column(
    name: str, values: Any, error: str = "", read: set[Any] | None = None, kind: object = "categorical"
) -> Case:
    """A column `v`, which is rejected, or of which the distinct values are `read`."""
    values = values if isinstance(values, pa.Array) else pa.array(values)
    repeated = pa.concat_arrays([values] * (-(-120 // len(values))))[:120]

    def write(path: Path) -> None:
        pq.write_table(pa.table({"click": CLICKS, "v": repeated}), path)

    def check(folder: Path, done: Done) -> bool:
        found = {repr(row["timestamp" if "timestamp" in row else "v"]) for row in ingested(folder)}
        return read is None or found == set(map(repr, read))

    kinds = {"click": "label", "a": "categorical", "v": kind} if kind != "categorical" else COLUMNS
    if kind != "categorical":

        def write(path: Path) -> None:
            pq.write_table(pa.table({"click": CLICKS, "a": ["x"] * 120, "v": repeated}), path)

    return case(name, write, error, check, columns=kinds)


def _labels(values: pa.Array) -> Content:
    def write(path: Path) -> None:
        pq.write_table(pa.table({"click": values, "v": ["x"] * len(values)}), path)

    return write


def _good(path: Path) -> None:
    pq.write_table(pa.table({"click": CLICKS, "v": ["x", "y", "z"] * 40}), path)


def _changed(change: Callable[[bytearray], None]) -> Content:
    def write(path: Path) -> None:
        _good(path)
        content = bytearray(path.read_bytes())
        change(content)
        path.write_bytes(content)

    return write


def _cut(size: int) -> Content:
    return _changed(lambda content: content.__delitem__(slice(size, None)))


def _long_footer(content: bytearray) -> None:
    content[-8:-4] = (0x7FFFFFFF).to_bytes(4, "little")


def _zeros(content: bytearray) -> None:
    content[-60:-20] = bytes(40)


def _duplicate(path: Path) -> None:
    pq.write_table(pa.Table.from_arrays([CLICKS, CLICKS, CLICKS], ["click", "v", "v"]), path)


def _feather(path: Path) -> None:
    feather.write_feather(pa.table({"click": CLICKS, "v": CLICKS}), str(path))


def _empty(path: Path) -> None:
    pq.write_table(pa.table({"click": CLICKS[:0], "v": CLICKS[:0]}), path)


def _no_columns(path: Path) -> None:
    pq.write_table(pa.table({}), path)


NAN = float("nan")
FILE = r"clicks\.parquet: "
CASES = [
    case("no Parquet", "click,v\n1,x\n", FILE + r".*(not Parquet|Parquet)"),
    case("empty", b"", FILE),
    case("only the magic number", b"PAR1", FILE),
    case("encrypted", b"PARE" + bytes(100) + b"PARE", FILE),
    case("Feather", _feather, FILE),
    case("no rows", _empty, r"(empty|no rows)"),
    case("no columns", _no_columns, FILE + r".*no column 'click'"),
    case("truncated in the data", _cut(40), FILE),
    case("truncated in the footer", _cut(-20), FILE),
    case("a footer longer than the file", _changed(_long_footer), FILE),
    case("zeros in the footer", _changed(_zeros), FILE),
    case("a directory", lambda path: path.mkdir(), r"clicks\.parquet: is a directory"),
    case("duplicate column", _duplicate, FILE + r"has 2 columns named 'v'"),
    case("label of booleans", _labels(pa.array([True, False] * 60))),
    case("label with nulls", _labels(pa.array([1, None, 0] * 40)), r"clicks\.parquet.*not a label"),
    case("label of floats", _labels(pa.array([1.0, 0.0] * 60))),
    case("label of lists", _labels(pa.array([[1], [0]] * 60)), FILE + r"click holds list"),
    column("int64 ids", pa.array([1, 2, 3]), read={"1", "2", "3"}),
    column("float ids are those of int64", pa.array([1.0, 2.0, 3.0]), read={"1", "2", "3"}),
    column("float32 ids", pa.array([1.0, 2.0], pa.float32()), read={"1", "2"}),
    column(
        "decimal ids", pa.array([Decimal("1.00"), Decimal("2.00")], pa.decimal128(21, 2)), read={"1", "2"}
    ),
    column("ids with NaN", pa.array([1.0, NAN, 2.0]), read={"1", None, "2"}),
    column("ids with null", pa.array([1, None, 2]), read={"1", None, "2"}),
    column("uint64 ids", pa.array([2**64 - 1, 1], pa.uint64()), read={str(2**64 - 1), "1"}),
    column("ids above 2**53 as floats", pa.array([2.0**53 + 2, 1.0])),
    column("booleans", pa.array([True, False]), read={"true", "false"}),
    column("dates", pa.array([date(2026, 1, 1)])),
    column("times", pa.array([1, 2], pa.time32("s"))),
    column("durations", pa.array([1, 2], pa.duration("s"))),
    column("structs", pa.array([{"x": 1}]), FILE + r"v holds struct"),
    column("maps", pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())), FILE + r"v holds map"),
    column("lists as ids", pa.array([["x"], ["y"]]), FILE + r"v holds list"),
    column("lists of lists", pa.array([[["x"]]]), FILE + r"v holds list", kind="multivalued"),
    column("lists", pa.array([["x", "y"], ["z"]]), kind="multivalued"),
    column("binary", pa.array([b"x", b"\xff"]), FILE),
    column("large strings", pa.array(["x", "y"], pa.large_string()), read={"x", "y"}),
    column("dictionaries", pa.array(["x", "y"]).dictionary_encode(), read={"x", "y"}),
    column("only nulls", pa.nulls(120)),
    column("numbers with NaN", pa.array([1.0, NAN]), kind="numeric"),
    column("numbers with infinity", pa.array([1.0, np.inf]), r"v is not a number", kind="numeric"),
    column("half floats", pa.array(np.array([1, 2], np.float16)), kind="numeric"),
    column("numbers as text", pa.array(["1", "x"]), r"v is not a number", kind="numeric"),
    column(
        "timestamps with a zone",
        pa.array([datetime(2026, 1, 1, tzinfo=UTC)], pa.timestamp("us", "Asia/Tokyo")),
        read={1767225600},
        kind="timestamp",
    ),
    column(
        "timestamps of nanoseconds", pa.array([10**18], pa.timestamp("ns")), read={10**9}, kind="timestamp"
    ),
    column(
        "timestamps with null",
        pa.array([0, None], pa.timestamp("s")),
        r"v is not a timestamp",
        kind="timestamp",
    ),
    column("dates as timestamps", pa.array([date(1970, 1, 2)]), read={86400}, kind="timestamp"),
    column(
        "timestamps of the year 300000", pa.array([9 * 10**12], pa.timestamp("s")), r"v", kind="timestamp"
    ),
]
