"""Logs of a server and labels that are joined to them."""

import csv
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from program import Done

from ctrloom.data.parquet.writer import sealed_writer
from ctrloom.serving.traffic import META, PREFIX
from hostile.case import Case, Check, Content

JOIN = "join-labels --log log --labels labels.csv --output joined.csv"
PART = "log/2026-11-30/part.parquet"
LABELS = "request_id,row,click\nr0,0,1\nr0,1,0\nr1,0,1\n"
NAMED = r"part\.parquet: "


def log(ids: Sequence[str] = ("r0", "r0", "r1"), rows: Sequence[int] = (0, 1, 0), **types: Any) -> Content:
    """A part of a log with the columns `a` and `n`; `types` are those of other than the usual ones."""

    def make(path: Path) -> None:
        count, moment = len(ids), datetime(2026, 11, 30, tzinfo=UTC)
        values = [list(ids), list(rows), [moment] * count, ["v"] * count, [0.5] * count, [None] * count]
        columns = dict(zip([f"{PREFIX}{name}" for name in META], values, strict=True))
        usual = {f"{PREFIX}{name}": type for name, type in META.items()}
        schema = pa.schema({**usual, "a": pa.string(), "n": pa.float64()})
        table = pa.table({**columns, "a": ["x"] * count, "n": [1.5] * count}, schema=schema)
        for name, type in types.items():
            at = table.column_names.index(f"{PREFIX}{name}")
            table = table.set_column(at, f"{PREFIX}{name}", table.column(at).cast(type))
        with sealed_writer(path, table.schema, compression="zstd") as (writer, _):
            writer.write_table(table)

    return make


def damaged(change: Callable[[bytes], bytes]) -> Content:
    """A part whose bytes were changed."""

    def make(path: Path) -> None:
        content = log()
        assert callable(content)
        content(path)
        path.write_bytes(change(path.read_bytes()))

    return make


def table(**columns: Any) -> Content:
    """A file of Parquet that others wrote."""
    return lambda path: pq.write_table(pa.table(columns), path)


def joined(
    name: str,
    labels: str | bytes = LABELS,
    error: str = "",
    rows: Sequence[Mapping[str, str]] | None = None,
    options: str = "",
    part: Content | None = None,
    warning: str = "",
    **more: Content,
) -> Case:
    """Labels joined to a log; `rows` have some of the columns of the result."""

    def check(folder: Path, done: Done) -> bool:
        with (folder / "joined.csv").open() as file:
            found = list(csv.DictReader(file))
        if rows is None:
            return True
        same = all(row.items() >= want.items() for row, want in zip(found, rows, strict=False))
        return len(found) == len(rows) and same

    files = {PART: log() if part is None else part, "labels.csv": labels, **more}
    return Case(f"join: {name}", files, f"{JOIN} {options}", error, check, warning=warning)


def other(name: str, command: str, error: str, after: Check = Case.after, **more: Content) -> Case:
    """Another command than the usual one."""
    return Case(f"join: {name}", {PART: log(), "labels.csv": LABELS, **more}, command, error, after=after)


def parquet(name: str, error: str, **columns: Any) -> Case:
    """Labels in Parquet."""
    return other(name, JOIN.replace("labels.csv", "l.parquet"), error, **{"l.parquet": table(**columns)})


def _labels_are_there(folder: Path, done: Done) -> bool:
    return (folder / "labels.csv").read_text() == LABELS


def _flipped(content: bytes) -> bytes:
    middle = len(content) // 3
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


CLICKS = [{"click": "1"}, {"click": "0"}, {"click": "1"}]
CASES = [
    joined("as it was logged", rows=CLICKS),
    joined("a part with a flipped byte", error=NAMED, part=damaged(_flipped)),
    joined("a part that is cut off", error=NAMED, part=damaged(lambda content: content[:-40])),
    joined("half a part", error=NAMED, part=damaged(lambda content: content[: len(content) // 2])),
    joined("an empty part", error=NAMED, part=""),
    joined("a part that is text", error=NAMED, part="request_id,row\nr0,0\n"),
    joined("Parquet of others in the log", error=NAMED + ".*no part", part=table(a=[1])),
    joined("a part with rows as text", error=NAMED + ".*ctrloom.row", part=log(row=pa.string())),
    joined("a part with times as text", error=NAMED + ".*ctrloom.time", part=log(time=pa.string())),
    joined("other files in the log", rows=CLICKS, **{"log/notes.txt": "x", "log/other/x.parquet": "x"}),
    joined("a temporary file in the log", rows=CLICKS, **{"log/2026-11-30/.x.parquet.1-1.tmp": "x"}),
    joined(
        "a request id twice in the log",
        rows=[{"click": "1"}, {"click": "1"}],
        part=log(["r0", "r0"], [0, 0]),
        warning="1 labels are of several logged rows",
    ),
    joined("a day that is none", error="no log of these days", options="--since 2026-12-01"),
    joined("the last day before the first", error="no log", options="--since 2026-11-30 --until 2026-11-29"),
    joined("a date in another form", error=r"--since 30\.11\.26", options="--since 30.11.26"),
    joined("labels without request_id", "id,click\nr0,1\n", "no column 'request_id'"),
    joined("labels without labels", "request_id,row\nr0,1\n", "no column with labels"),
    joined("labels without a request id", "request_id,row,click\n,0,1\n", "1 rows have no request_id"),
    joined("only missing request ids", "request_id,click\n,0\n,1\n", "2 rows have no request_id"),
    joined("rows as 0.0", LABELS.replace(",0,1\nr0", ",0.0,1\nr0"), "'row' must have whole numbers"),
    joined("rows as text", "request_id,row,click\nr0,first,1\n", "'row' must have whole numbers"),
    joined("a row that is missing", "request_id,row,click\nr0,,1\n", "'row' must have whole numbers"),
    joined("rows with zeros in front", "request_id,row,click\nr0,01,7\n", rows=[{"click": "7"}]),
    joined("different labels of a row", LABELS + "r1,0,0\n", "different labels for row 0 of request 'r1'"),
    joined("the same label twice", LABELS + "r1,0,1\n", rows=CLICKS),
    joined("labels of other requests", LABELS + "r9,0,1\n", rows=CLICKS, warning="1 labels are of no"),
    joined("no labels", "request_id,click\n", rows=[]),
    joined(
        "no labels, so none is a click",
        "request_id,row,click\n",
        rows=3 * CLICKS[1:2],
        options="--unlabelled 0",
    ),
    joined("an empty file of labels", "", r"labels\.csv: cannot be read"),
    joined("labels that are not UTF-8", b"request_id,click\nr0,\xff\n", r"labels\.csv: cannot be read"),
    joined("labels of unequal lines", "request_id,click\nr0,1\nr1\n", r"labels\.csv: cannot be read"),
    joined("binary labels", bytes(range(256)), r"labels\.csv"),
    joined("a header twice", "request_id,click,click\nr0,1,0\n", "several columns 'click'"),
    joined("a label column as in the log", "request_id,a\nr0,1\n", "the column 'a', as logged rows have"),
    joined("a column of the log's own", "request_id,ctrloom.row\nr0,1\n", r"ctrloom\.row"),
    joined("zeros in front of a value", "request_id,click,id\nr0,1,007\n", rows=[{"id": "007"}]),
    joined("a quoted line feed", 'request_id,click,id\nr0,1,"7\n8"\n', rows=[{"id": "7\n8"}]),
    joined(
        "a label for the others that is none",
        error="--unlabelled x: must be a number",
        options="--unlabelled x",
    ),
    joined("to keep an unknown column", error="--keep age", options="--keep age"),
    joined("to keep a column twice", error="row: the rows have", options="--keep row --keep row"),
    joined("a time as the label", error="click: the rows have", options="--time click"),
    joined("a time as a raw column", error="a: the rows have", options="--time a"),
    other("no log", JOIN.replace("--log log", "--log none"), "none: has no log|none"),
    other("a log that is a file", JOIN.replace("--log log", "--log labels.csv"), r"labels\.csv"),
    other("no file of labels", JOIN.replace("labels.csv", "none.csv"), r"none\.csv"),
    other("labels that are a folder", JOIN.replace("labels.csv", "log"), r"log"),
    other("output over the labels", JOIN.replace("joined.csv", "./labels.csv"), "input", _labels_are_there),
    other("output in the log", JOIN.replace("joined.csv", "log/joined.csv"), "input"),
    other("output with another ending", JOIN.replace("joined.csv", "joined.txt"), r"\.parquet or \.csv"),
    other("output that is a folder", JOIN.replace("joined.csv", "x.csv"), r"x\.csv", **{"x.csv/y": "z"}),
    other(
        "labels in CSV called Parquet",
        JOIN.replace("labels.csv", "l.parquet"),
        r"l\.parquet",
        **{"l.parquet": LABELS},
    ),
    parquet("request ids without a value", "have no request_id", request_id=["r0", None], click=[1, 0]),
    parquet("request ids that are lists", "request_id", request_id=[["r0"]], click=[1]),
    parquet("request ids that are floats", "request_id", request_id=[1.5], click=[1]),
    parquet("rows without a value", "no number", request_id=["r0", "r0"], row=[0, None], click=[1, 0]),
    parquet("rows that are fractions", "row", request_id=["r0"], row=[0.5], click=[1]),
    parquet("labels that are lists", "unknown type", request_id=["r0"], click=[[1]]),
    parquet("labels that are bytes", "", request_id=["r0"], click=[b"\xff"]),
    parquet("labels of a dictionary", "", request_id=["r0"], click=pa.array(["1"]).dictionary_encode()),
    parquet("labels that are null", "", request_id=["r0"], click=[None]),
]
