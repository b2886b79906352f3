"""Text files: layout, encoding, quotes, and compression."""

import bz2
import gzip
import io
import lzma
import os
import zipfile
from pathlib import Path

import pyarrow as pa

from hostile.case import Case, Content, rows_are, run_yaml

AB = {"click": "label", "a": "categorical", "b": "categorical"}
HEAD = "click,a,b\n"
GOOD = "1,x,y\n0,x,z\n" * 60  # enough for three splits
READ = (("x", "y", 1), ("x", "z", 0)) * 60  # a, b and the label of GOOD
NEXT = 122  # the line after HEAD and GOOD


def text(
    name: str, content: Content, error: str = "", *rows: tuple, quarantined: int = 0, **data: object
) -> Case:
    """`clicks.csv` with `content`: rejected with `error`, or read as `rows`."""
    files = {"clicks.csv": content, "run.yaml": run_yaml(AB, **data)}
    return Case(
        name, files, error=error, check=rows_are(*rows, quarantined=quarantined) if rows else Case.check
    )


def line(name: str, bad: str | bytes, error: str) -> Case:
    """Good lines and then a bad one, which is named with the file and its number."""
    bad = bad.encode() if isinstance(bad, str) else bad
    return text(name, (HEAD + GOOD).encode() + bad + b"\n", rf"clicks\.csv, line {NEXT}: .*({error})")


def _zip(path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("clicks.csv", HEAD + GOOD)
    path.write_bytes(buffer.getvalue())


def _zstd(content: str) -> bytes:
    return pa.compress(content.encode(), codec="zstd", asbytes=True)


def _long_line(path: Path) -> None:
    path.write_bytes((HEAD + GOOD).encode() + b"1," + b"x" * (45 << 20) + b",y\n")


def _parquet_magic(path: Path) -> None:
    path.write_bytes(b"PAR1" + bytes(200) + b"PAR1")


def _link(to: str) -> Content:
    def make(path: Path) -> None:
        path.symlink_to(to)

    return make


MANY = HEAD + GOOD * 4
CASES = [
    text("empty file", "", r"clicks\.csv: the file is empty"),
    text("header only", HEAD, r"(empty|no rows)"),
    text("line feeds only", "\n\n\n", r"clicks\.csv.*(empty|header|column)"),
    text("byte order mark only", b"\xef\xbb\xbf", r"clicks\.csv.*(empty|column)"),
    text("byte order mark", b"\xef\xbb\xbf" + (HEAD + GOOD).encode(), "", *READ),
    text("CRLF", (HEAD + GOOD).replace("\n", "\r\n"), "", *READ),
    text("no line feed at the end", (HEAD + GOOD).rstrip(), "", *READ),
    text("empty lines between rows", HEAD + GOOD.replace("\n", "\n\n"), "", *READ),
    text("CR only", (HEAD + GOOD).replace("\n", "\r"), r"clicks\.csv.*(carriage return|\bCR\b|line end)"),
    line("CR within a line", "1,a\rb,y", "carriage return"),
    text("UTF-16 little endian", (HEAD + GOOD).encode("utf-16-le"), r"UTF-16|NUL|no column"),
    text("UTF-16 with mark", (HEAD + GOOD).encode("utf-16"), r"UTF-16.*iconv"),
    text("UTF-16 big endian with mark", b"\xfe\xff" + (HEAD + GOOD).encode("utf-16-be"), r"UTF-16.*iconv"),
    text("UTF-32", b"\xff\xfe\0\0" + (HEAD + GOOD).encode("utf-32-le"), r"UTF-(16|32)"),
    line("latin-1", "1,caf\u00e9,y".encode("latin-1"), "not UTF-8"),
    text(
        "latin-1 says what to do",
        HEAD.encode() + "1,caf\u00e9,y\n0,x,z\n".encode("latin-1") + GOOD.encode(),
        r"encoding",
    ),
    text(
        "latin-1 as configured",
        HEAD.encode() + "1,caf\u00e9,y\n0,x,z\n".encode("latin-1") + GOOD.encode(),
        "",
        *READ,
        ("caf\u00e9", "y", 1),
        ("x", "z", 0),
        encoding="latin-1",
    ),
    text("unknown encoding", HEAD + GOOD, r"encoding", encoding="klingon"),
    text(
        "latin-1 header", "click,a,b\u00e9\n".encode("latin-1") + GOOD.encode(), r"header \(line 1\)|encoding"
    ),
    line("one column too few", "1,x", "has 2 columns instead of 3"),
    line("one column too many", "1,x,y,z", "has 4 columns instead of 3"),
    line("trailing comma", "1,x,y,", "has 4 columns instead of 3"),
    line("spaces only", "   ", "has 1 columns instead of 3"),
    line("comment", "# exported 2026-11-30", "has 1 columns instead of 3"),
    line("repeated header", "click,a,b", "repeats the header"),
    line("total at the end", "TOTAL,2,2", "not a label"),
    text("quoted comma", HEAD + '1,"x,1",y\n0,x,z\n' + GOOD, "", *READ, ("x,1", "y", 1), ("x", "z", 0)),
    text(
        "doubled quotes", HEAD + '1,"x ""1""",y\n0,x,z\n' + GOOD, "", *READ, ('x "1"', "y", 1), ("x", "z", 0)
    ),
    text(
        "a quote within a cell",
        HEAD + '1,5" disk,y\n0,x,z\n' + GOOD,
        "",
        *READ,
        ('5" disk', "y", 1),
        ("x", "z", 0),
    ),
    text("a line feed in quotes", HEAD + GOOD + '1,"a\n0,b",w\n', "", *READ, ("a\n0,b", "w", 1)),
    text("a quote that never ends", HEAD + GOOD + '1,"a,y\n' + GOOD, rf"line {NEXT}.*(quote|end)"),
    text("a quote that ends in another block", HEAD + '1,"a' + "\n0,x,y" * 50, r"line 2.*quote"),
    text(
        "quoting off",
        HEAD + '1,"x,y\n0,x,z\n' + GOOD,
        "",
        *READ,
        ('"x', "y", 1),
        ("x", "z", 0),
        quoting=False,
    ),
    text("spaces after commas", "click, a, b\n1, x, y\n0, x, z\n", r"space"),
    text("semicolons", (HEAD + GOOD).replace(",", ";"), r"delimiter.*;"),
    text("tabs", (HEAD + GOOD).replace(",", "\t"), r"(delimiter|format).*(tab|tsv|\\t)"),
    text("pipes", (HEAD + GOOD).replace(",", "|"), r"delimiter.*\|"),
    text("semicolons as configured", (HEAD + GOOD).replace(",", ";"), "", *READ, delimiter=";"),
    text("delimiter of two characters", HEAD + GOOD, r"data\.delimiter", delimiter="||"),
    text("delimiter is a quote", HEAD + GOOD, r"delimiter", delimiter='"'),
    text("delimiter is a line feed", HEAD + GOOD, r"delimiter", delimiter="\n"),
    text("delimiter is not ASCII", HEAD + GOOD, r"delimiter", delimiter="\u00a7"),
    text("header with another case", (HEAD + GOOD).replace("click", "Click"), r"no column 'click'.*'Click'"),
    text("duplicate column", "click,a,b,b\n1,x,y,y\n0,x,z,z\n", r"2 columns named 'b'"),
    text("additional column", "click,a,b,c\n1,x,y,y\n0,x,z,z\n", r"does not list the column 'c'"),
    text("empty column name", "click,a,b,\n1,x,y,\n0,x,z,\n", r"does not list the column without a name"),
    text("no header", GOOD, r"no column 'click'.*header: false"),
    text("no header, one column more", "1,x,y,q\n0,x,z,q\n" * 60, r"4 columns", header=False),
    text("no header, one column less", "1,x\n0,x\n" * 60, r"(2 columns|instead of 3)", header=False),
    text("web page", "<!DOCTYPE html>\n<html><body>404</body></html>\n", r"clicks\.csv.*(no column|HTML)"),
    text("JSON lines", '{"click": 1, "a": "x", "b": "y"}\n' * 4, r"clicks\.csv: is JSON"),
    line("NUL within a cell", "1,a\0b,y", "NUL"),
    text("emoji", HEAD + "1,\U0001f600,y\n0,x,z\n" + GOOD, "", *READ, ("\U0001f600", "y", 1), ("x", "z", 0)),
    text(
        "an accent in two spellings",
        HEAD + "1,\u00e9,y\n0,e\u0301,z\n" * 60,
        "",
        *(("\u00e9", "y", 1), ("e\u0301", "z", 0)) * 60,
    ),
    text("a lone surrogate", HEAD.encode() + b"1,\xed\xa0\x80,y\n0,x,z\n", r"not UTF-8"),
    text("an overlong encoding", HEAD.encode() + b"1,\xc0\xaf,y\n0,x,z\n", r"not UTF-8"),
    text("a line of 45 MiB", _long_line, rf"line {NEXT} is longer than 16 MiB"),
    text("gzip", gzip.compress((HEAD + GOOD).encode()), "", *READ),
    text("gzip of two members", gzip.compress(HEAD.encode()) + gzip.compress(GOOD.encode()), "", *READ),
    text(
        "gzip, truncated",
        gzip.compress(MANY.encode())[:-12],
        r"clicks\.csv: .*(truncated|cannot be read|corrupt)",
    ),
    text(
        "gzip, other checksum",
        gzip.compress(MANY.encode())[:-8] + bytes(8),
        r"clicks\.csv: .*(cannot be read|corrupt|crc|check)",
    ),
    text("gzip, no content", gzip.compress(b""), r"clicks\.csv.*empty"),
    text("gzip, header only", b"\x1f\x8b\x08\0", r"clicks\.csv: "),
    text("gzip of gzip", gzip.compress(gzip.compress((HEAD + GOOD).encode())), r"clicks\.csv: "),
    text("zstd", _zstd(HEAD + GOOD), "", *READ),
    text("zstd, truncated", _zstd(MANY)[:-4], r"clicks\.csv: "),
    text("zstd, damaged", _zstd(MANY)[:12] + b"\xff\xff" + _zstd(MANY)[14:], r"clicks\.csv: "),
    text("bz2", bz2.compress((HEAD + GOOD).encode()), "", *READ),
    text("xz", lzma.compress((HEAD + GOOD).encode()), r"clicks\.csv.*\bxz\b"),
    text("zip", _zip, r"clicks\.csv.*zip"),
    text("Parquet named .csv", _parquet_magic, r"Parquet.*format: parquet"),
    text("directory", lambda path: path.mkdir(), r"clicks\.csv: is a directory"),
    text("FIFO", os.mkfifo, r"clicks\.csv.*(FIFO|pipe|not a (regular )?file)"),
    text("/dev/zero", _link("/dev/zero"), r"clicks\.csv|/dev/zero.*(device|not a (regular )?file)"),
    text("/dev/null", _link("/dev/null"), r"(clicks\.csv|/dev/null).*(device|empty|not a (regular )?file)"),
    text("a link to itself", _link("clicks.csv"), r"clicks\.csv"),
    text("a link to nowhere", _link("nowhere.csv"), r"(clicks|nowhere)\.csv: no file"),
    text("no such file", HEAD + GOOD, r"gone\.csv: no file matches", files="gone.csv"),
    text("glob without a match", HEAD + GOOD, r"gone-\*\.csv: no file matches", files="gone-*.csv"),
    text("no files", HEAD + GOOD, r"files", files=[]),
    text("NUL in a path", HEAD + GOOD, r"is not a path.*null", files="clicks\0.csv"),
    text("the same file twice", HEAD + GOOD, r"(twice|duplicate|same)", files=["clicks.csv", "clicks.csv"]),
    text(
        "the same file by another path",
        HEAD + GOOD,
        r"(twice|duplicate|same)",
        files=["clicks.csv", "store/../clicks.csv", "./clicks.csv"],
    ),
]
