"""Rows to score, and where the scores go."""

import os
import stat
from pathlib import Path

import pyarrow.parquet as pq
from program import Done

from hostile.assets import SCORED
from hostile.case import Case, Check, Content

PREDICT = "predict --bundle {assets}/bundle --input rows.csv --output "


def scored(
    name: str,
    rows: str | bytes,
    error: str = "",
    count: int | None = None,
    malformed: int = 0,
    warning: str = "",
) -> Case:
    """Scores of `rows.csv`."""

    def check(folder: Path, done: Done) -> bool:
        table = pq.read_table(folder / "out.parquet")
        rejected = table.num_rows - table["malformed"].null_count
        rising = table["row"].to_pylist() == list(range(table.num_rows))
        return rising and (count is None or (table.num_rows, rejected) == (count, malformed))

    return Case(name, {"rows.csv": rows}, PREDICT + "out.parquet", error, check, warning=warning)


def output(name: str, to: str, error: str = "", after: Check = Case.after, **files: Content) -> Case:
    """Scores written to `to`."""
    return Case(name, {"rows.csv": SCORED, **files}, PREDICT + to, error, after=after)


def _device(minor: int, name: str) -> Content:
    """A device of its own: as root, a command could replace that of the machine by a file."""

    def make(path: Path) -> None:
        try:
            os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, minor))
        except PermissionError:
            path.symlink_to(f"/dev/{name}")

    return make


def _input_is_there(folder: Path, done: Done) -> bool:
    return (folder / "rows.csv").read_text() == SCORED


def _device_is_there(folder: Path, done: Done) -> bool:
    return (folder / "device").is_char_device()


def _csv(folder: Path, done: Done) -> bool:
    lines = (folder / "out.csv").read_text(errors="replace").splitlines()
    return len(lines) == 4 and "probability" in lines[0]


CASES = [
    scored("rows", SCORED, count=3),
    scored("with label and weight", "click,a,n,w\n1,x,1,1\n0,y,2,1\n", count=2),
    scored("columns in another order", "n,a\n1,x\n2,y\n", count=2),
    scored("additional columns", "a,n,extra\nx,1,9\ny,2,9\n", count=2, warning=r"extra"),
    scored("a column is missing", "a\nx\ny\n", r"no column 'n'"),
    scored("no rows", "a,n\n", count=0),
    scored("empty", "", r"rows\.csv: the file is empty"),
    scored("malformed rows", "a,n\nx,1\ny\nz,abc\nx,2\n", count=4, malformed=2),
    scored("a line feed in quotes", 'a,n\nx,1\n"y\nz",2\nx,3\n', count=3),
    scored("unseen values", "a,n\nq,1\nr,2\n", count=2, warning=r"a.*unseen"),
    scored("only missing values", "a,n\n,\n,\n", count=2, warning=r"a.*no value"),
    scored("a number of 1e308", "a,n\nx,1e308\n", count=1),
    scored("Parquet", b"PAR1" + bytes(100) + b"PAR1", r"Parquet"),
    output("output is the input", "rows.csv", r"rows\.csv.*input", _input_is_there),
    output("output is the input by another path", "./rows.csv", r"rows\.csv.*input"),
    output("output is a directory", "{assets}", r"assets"),
    output("output in a new folder", "new/folder/out.parquet"),
    output("output below a file", "rows.csv/out.parquet", r"rows\.csv"),
    output(
        "output to a full device",
        "device",
        r"device.*(space|full)",
        _device_is_there,
        device=_device(7, "full"),
    ),
    output("output to a device that takes all", "device", "", _device_is_there, device=_device(3, "null")),
    output("output as CSV", "out.csv", after=_csv),
    output("input stays", "out.parquet", after=_input_is_there),
]
