"""Values of single cells: labels, numbers, weights, times, lists, and ids."""

from pathlib import Path
from typing import Any

from program import Done

from hostile.case import INGEST, Case, ingested, run_yaml

LABEL = {"click": "label", "a": "categorical"}


def cell(
    name: str,
    kind: object,
    odd: str,
    error: str = "",
    good: tuple[str, str] = ("1", "2"),
    read: Any = ...,
    warning: str = "",
    command: str = INGEST,
    **data: Any,
) -> Case:
    """A column `v` of a kind with good cells and an odd one, which is rejected, or read as `read`."""
    rows = [f"{i % 2},x,{value}\n" for i, value in enumerate(good * 60)]
    content = "click,a,v\n" + "".join(rows) + f"1,odd,{odd}\n"

    def check(folder: Path, done: Done) -> bool:
        (row,) = [row for row in ingested(folder) if row["a"] == "odd"]
        return read is ... or repr(row["timestamp" if "timestamp" in row else "v"]) == repr(read)

    files = {"clicks.csv": content, "run.yaml": run_yaml({**LABEL, "v": kind}, **data)}
    return Case(name, files, command, error=error, warning=warning, check=check)


def label(name: str, bad: str, error: str = r"line 122.*not a label", **rule: str) -> Case:
    """A label that is rejected."""
    files = {
        "clicks.csv": "click,a\n" + "1,x\n0,x\n" * 60 + f"{bad},x\n",
        "run.yaml": run_yaml({"click": {"kind": "label", **rule}, "a": "categorical"}),
    }
    return Case(f"label {name}", files, error=error)


def weighted(name: str, weights: str, error: str, labels: str = "1010") -> Case:
    """Four rows with weights, 30 times."""
    rows = 30 * "".join(f"{y},x,{w}\n" for y, w in zip(labels, weights.split(), strict=True))
    files = {"clicks.csv": f"click,a,w\n{rows}", "run.yaml": run_yaml({**LABEL, "w": "weight"})}
    return Case(f"weights {name}", files, error=error)


def one_class(name: str, value: str) -> Case:
    """All labels are equal."""
    files = {"clicks.csv": "click,a\n" + f"{value},x\n" * 40, "run.yaml": run_yaml(LABEL)}
    return Case(name, files, error=r"all [0-9]+ rows of the train split have the label")


VOCABULARY = "vocabulary run.yaml --store store"
TIME = {"kind": "timestamp"}
DAY = {"kind": "timestamp", "format": "%Y-%m-%d"}
NUMBER = r"line 122: v is not a number"
CASES = [
    label("2", "2"),
    label("yes", "yes", r"not a label.*positive"),
    label("empty", ""),
    label("1.5", "1.5"),
    label("nan", "nan"),
    label("in Arabic digits", "\u0661"),
    label("2 for a rule", "spam", r"line 122.*not a number", positive="> 3"),
    label("of an invalid rule", "1", r"data\.columns\.click: '> abc'", positive="> abc"),
    label("dropped everywhere", "1", r"(split is empty|dropped)", drop=">= 0"),
    one_class("no negative", "1"),
    one_class("no positive", "0"),
    cell("number abc", "numeric", "abc", NUMBER),
    cell("number nan", "numeric", "nan", read=None),
    cell("number inf", "numeric", "inf", NUMBER),
    cell("number -Infinity", "numeric", "-Infinity", NUMBER),
    cell("number 1e400", "numeric", "1e400", NUMBER),
    cell("number 0x10", "numeric", "0x10", NUMBER),
    cell("number 1_000", "numeric", "1_000", NUMBER),
    cell("number 1,000", "numeric", '"1,000"', NUMBER),
    cell("number $0.99", "numeric", "$0.99", NUMBER),
    cell("number 50 %", "numeric", "50%", NUMBER),
    cell("number in Arabic digits", "numeric", "\u0661\u0662", NUMBER),
    cell("number with two points", "numeric", "1.2.3", NUMBER),
    cell("number --1", "numeric", "--1", NUMBER),
    cell("number 1 2", "numeric", "1 2", NUMBER),
    cell("number with spaces", "numeric", " 3 ", read=3.0),
    cell("number missing", "numeric", "", read=None),
    cell("number -0", "numeric", "-0", read=-0.0),
    cell("number 5e-324", "numeric", "5e-324", read=5e-324),
    cell(
        "1 and 1.0 are two ids",
        "categorical",
        "1.0",
        good=("1", "2"),
        warning=r"v: .*1\.0.* occur as different values",
        command=VOCABULARY,
    ),
    cell("1 and 01", "categorical", "01", read="01"),
    cell("the text nan", "categorical", "nan", read="nan"),
    cell("the text NULL as missing", "categorical", "NULL", read=None, missing_values=["", "NULL"]),
    cell("an id of 100,000 characters", "categorical", "x" * 100_000, read="x" * 100_000),
    cell("a JSON list", "multivalued", '"[""a0"", ""b0""]"', good=("a|b", "c"), warning=r"v.*JSON"),
    cell("negative timestamp", TIME, "-86400", read=-86400),
    cell("epoch milliseconds", TIME, "1767225600000", r"line 122.*years 1000 to 9999.*unit"),
    cell("timestamp 1e30", TIME, "1e30", r"line 122.*years 1000 to 9999"),
    cell("timestamp as text", TIME, "2026-01-01", r"line 122.*(format|not a (timestamp|number))"),
    cell("timestamp missing", TIME, "", r"line 122.*not a timestamp"),
    cell("February 30", DAY, "2020-02-30", r"line 122.*format", good=("2020-02-28", "2020-02-29")),
    cell(
        "February 29 of no leap year",
        DAY,
        "2021-02-29",
        r"line 122.*format",
        good=("2020-02-28", "2020-02-29"),
    ),
    cell("month 13", DAY, "2020-13-01", r"line 122.*format", good=("2020-02-28", "2020-02-29")),
    cell("day 0", DAY, "2020-01-00", r"line 122.*format", good=("2020-02-28", "2020-02-29")),
    cell("year 0", DAY, "0000-01-01", r"line 122", good=("2020-02-28", "2020-02-29")),
    cell("April 31", DAY, "2020-04-31", r"line 122.*format", good=("2020-02-28", "2020-02-29")),
    cell("more after the day", DAY, "2020-01-01x", r"line 122.*format", good=("2020-02-28", "2020-02-29")),
    cell(
        "hour 25",
        {"kind": "timestamp", "format": "%Y-%m-%d %H"},
        "2020-01-01 25",
        r"line 122.*format",
        good=("2020-02-28 23", "2020-02-29 00"),
    ),
    cell(
        "leap day",
        DAY,
        "2020-03-01",
        good=("2020-02-28", "2020-02-29"),
        read=1583020800,
    ),
    cell(
        "the name of a zone in the format",
        {"kind": "timestamp", "format": "%Y-%m-%d %Z"},
        "2020-01-01 EST",
        r"%Z",
        good=("2020-01-01 UTC", "2020-01-02 UTC"),
    ),
    cell("an unknown format", {"kind": "timestamp", "format": "%Q"}, "1", r"%Q|format"),
    cell("a format without a directive", {"kind": "timestamp", "format": "day"}, "day", r"format"),
    weighted("negative", "1 1 1 -1", r"line 5.*not a weight"),
    weighted("nan", "1 1 1 nan", r"line 5.*not a weight"),
    weighted("1e39", "1 1 1 1e39", r"line 5.*not a weight"),
    weighted("all 0", "0 0 0 0", r"weight"),
    weighted("of all positives 0", "0 1 0 1", r"weight"),
    weighted("of all negatives 0", "1 0 1 0", r"weight"),
    weighted("3e38", "3e38 3e38 3e38 3e38", r"weight"),
]
