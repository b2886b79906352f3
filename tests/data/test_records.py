"""Quoted line ends: a record is one row with its first line, whatever lines its fields contain."""

import csv
import io
from typing import Any

import pytest
from data_helpers import Write
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ctrloom.config import SourceConfig
from ctrloom.data.ingest.cast import read_rows
from ctrloom.data.sources import blocks, delimited
from ctrloom.data.sources.dialect import Dialect
from ctrloom.data.sources.records import split_records, whole_records

COMMA = Dialect(",")
SOURCE = SourceConfig.parse(
    {"columns": {"label": "label", "name": "categorical", "size": "numeric"}, "header": False}, "test"
)
CELLS = st.text('a,"\n', max_size=4)
TABLES = st.lists(st.lists(CELLS, min_size=1, max_size=3), min_size=1, max_size=6)


def as_csv(rows: list[list[str]], quoting: Any) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n", quoting=quoting).writerows(rows)
    return text.getvalue()


@given(TABLES, st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]), st.integers(1, 30))
@example([[",\n"], ["\n,"], [",", "\n"]], csv.QUOTE_ALL, 5)
def test_records_are_those_that_were_written(rows: list[list[str]], quoting: Any, size: int) -> None:
    text = as_csv(rows, quoting)
    found = split_records(text.encode(), COMMA)
    assert found.problems == {}
    assert [next(csv.reader(io.StringIO(record.decode(), newline=""))) for record in found.texts] == rows
    assert [text[: int(start)].count("\n") for start in found.starts] == found.lines.tolist()
    ends = {0}
    for row in rows:
        ends.add(max(ends) + len(as_csv([row], quoting)))
    for end in (at + 1 for at, character in enumerate(text) if character == "\n"):
        assert whole_records(text.encode(), COMMA, 0, end) == max(each for each in ends if each <= end)
    for piece in blocks.pieces(text.encode(), COMMA, size):
        assert bytes(piece).count(b'"') % 2 == 0


@pytest.mark.parametrize("size", [3, 8, 20, 1000])
@pytest.mark.parametrize("piece", [3, 20, 1000])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("suffix", ["csv", "csv.gz"])
def test_a_field_with_line_ends_is_read_whole(
    write: Write, monkeypatch: pytest.MonkeyPatch, size: int, piece: int, end: str, suffix: str
) -> None:
    monkeypatch.setattr(blocks.read_blocks, "__defaults__", (size,))
    monkeypatch.setattr(blocks.pieces, "__defaults__", (piece,))
    names = ["a\n0,b", 'x ""\n', "plain", "\n\n", '1,b,2\n"', "last"]
    quoted = (name.replace('"', '""').replace("\n", end) for name in names)
    text = end.join(f'{i % 2},"{name}",{i}' for i, name in enumerate(quoted))
    batches = list(read_rows(SOURCE, [write(f"a.{suffix}", text)]))
    assert [row for b in batches for row in b.malformed] == []
    expected = [name.replace("\n", end) for name in names]
    assert [name for b in batches for name in b.table["name"].to_pylist()] == expected
    assert [size for b in batches for size in b.table["size"].to_pylist()] == list(range(6))
    assert [at for b in batches for at in b.positions] == list(range(6))


GOOD = "1,ann,1\n"


@pytest.mark.parametrize(
    ("damaged", "faults", "names"),
    [
        ('0,"bob,2\n1,"cy",3\n', [(2, 1, "does not end on its line")], ["cy"]),
        ('0,"bob,2\n1,cy,3\n', [(2, 1, "does not end on its line")], ["cy"]),
        ('0,bob,"2\n', [(2, 1, "does not end on its line")], []),
        ('0,"a\n1,b"c,7\n1,cy,3\n', [(2, 1, "is not doubled")], ["cy"]),
        ('0,"a\nb,7",8,9\n1,cy,3\n', [(2, 1, "has 4 columns instead of 3")], ["cy"]),
        ('0,"a\nb",old\n1,cy,3\n', [(2, 1, "size is not a number")], ["cy"]),
        ('0,"a\n\n\nb",2\n1,cy,old\n', [(6, 2, "size is not a number")], ["a\n\n\nb"]),
        ('0,x"y,2\n1,"cy",3\n0,5",4\n', [], ['x"y', "cy", '5"']),
        ('0,"a\rb",2\n1,cy,3\n', [(2, 1, "has a carriage return")], ["cy"]),
        ("0,a\0b,2\n1,cy,3\n", [(2, 1, "contains a NUL byte")], ["cy"]),
        ("\ufeff0,a,2\n1,cy,3\n", [(2, 1, "begins with a byte order mark")], ["cy"]),
    ],
)
def test_a_damaged_record_is_one_malformed_row(
    write: Write, damaged: str, faults: list[tuple[int, int, str]], names: list[str]
) -> None:
    batches = list(read_rows(SOURCE, [write("a.csv", GOOD + damaged + GOOD)]))
    bad = [row for b in batches for row in b.malformed]
    assert [(row.line, row.position) for row in bad] == [(line, at) for line, at, _ in faults]
    assert all(fault in row.reason for row, (_, _, fault) in zip(bad, faults, strict=True))
    assert [name for b in batches for name in b.table["name"].to_pylist()] == ["ann", *names, "ann"]
    at = [*(at for b in batches for at in b.positions), *(row.position for row in bad)]
    assert sorted(at) == list(range(2 + len(names) + len(faults)))


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r\r\n"])
def test_line_ends_may_have_any_number_of_carriage_returns(write: Write, end: str) -> None:
    lines = ["", "1,ann,1", "", '0,"a,b",2', "1,cy,3", "", ""]
    batches = list(read_rows(SOURCE, [write("a.csv", end.join(lines) + "\r")]))
    assert [row for b in batches for row in b.malformed] == []
    assert [name for b in batches for name in b.table["name"].to_pylist()] == ["ann", "a,b", "cy"]


def test_text_of_a_malformed_record_has_all_its_lines(write: Write) -> None:
    (batch,) = read_rows(SOURCE, [write("a.csv", GOOD + '0,"a\nb",old\n' + GOOD)])
    assert [row.text for row in batch.malformed] == ['0,"a\nb",old']


def test_a_missing_quote_does_not_take_the_rest_of_a_large_file(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "MAX_LINE_BYTES", 100)
    monkeypatch.setattr(blocks.read_blocks, "__defaults__", (50,))
    lines = [f"{i % 2},n{i},{i}\n" for i in range(100)]
    lines[7] = '1,"n7,7\n'
    batches = list(read_rows(SOURCE, [write("a.csv", "".join(lines))]))
    assert [row.line for b in batches for row in b.malformed] == [8]
    assert sum(len(b.positions) for b in batches) == 99


def test_a_row_of_many_lines_is_noted(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delimited, "LONG_RECORD", 3)
    path = write("a.csv", GOOD + '0,"bob,2\n' + GOOD * 3 + '1,cy",3\n' + GOOD)
    (batch,) = read_rows(SOURCE, [path])
    assert batch.notes == ("line 2 begins a row of 5 lines; if that is wrong, a quote is missing there",)


@pytest.mark.parametrize("size", [8, 1000])
def test_a_header_may_have_quoted_line_ends(write: Write, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(blocks.read_blocks, "__defaults__", (size,))
    columns = {"label": "label", "na\nme": "categorical"}
    config = SourceConfig.parse({"columns": columns}, "test")
    path = write("a.csv", '\ufefflabel,"na\nme"\n1,ann\n?,bob\n')
    batches = list(read_rows(config, [path]))
    assert [row.line for b in batches for row in b.malformed] == [4]
    assert [name for b in batches for name in b.table["na\nme"].to_pylist()] == ["ann"]


@pytest.mark.parametrize("size", [8, 1000])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_repeated_header_is_malformed(
    write: Write, monkeypatch: pytest.MonkeyPatch, size: int, mark: str
) -> None:
    monkeypatch.setattr(blocks.read_blocks, "__defaults__", (size,))
    config = SourceConfig.parse({"columns": {"label": "label", "name": "categorical"}}, "test")
    path = write("a.csv", f"name,label\nann,1\n{mark}name,label\nbob,0\n")
    batches = list(read_rows(config, [path], with_label=False))
    assert [(row.line, row.reason) for b in batches for row in b.malformed] == [(3, "repeats the header")]
    assert [name for b in batches for name in b.table["name"].to_pylist()] == ["ann", "bob"]


PARTS = [
    b'"',
    b'""',
    b",",
    b"\n",
    b"\r\n",
    b"\r",
    b" ",
    b"\0",
    b"\xff",
    b"\xef\xbb\xbf",
    b"a",
    b'0,"x\ny",3\n',
]
KEYS = st.fixed_dictionaries({"quoting": st.booleans(), "trim": st.booleans()})


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(PARTS), max_size=14), KEYS, st.integers(1, 20), st.integers(1, 20))
@example([b"\r\r\n", b'"'], {"quoting": True, "trim": True}, 3, 3)
def test_every_row_of_any_bytes_is_read_or_malformed(
    write: Write, parts: list[bytes], keys: dict[str, bool], size: int, piece: int
) -> None:
    columns = {"label": "label", "name": "categorical", "size": "numeric"}
    config = SourceConfig.parse({"columns": columns, **keys}, "test")
    path = write("a.csv", b"label,name,size\n1,ann,1\n" + b"".join(parts) + b"\n0,bob,2\n")
    found = []
    for block, part in ((10**6, 10**6), (size, piece)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(blocks.read_blocks, "__defaults__", (block,))
            patch.setattr(blocks.pieces, "__defaults__", (part,))
            batches = list(read_rows(config, [path]))
        bad = [(row.position, row.line, row.reason, row.text) for b in batches for row in b.malformed]
        good = [int(at) for b in batches for at in b.positions]
        assert sorted([*good, *(at for at, *_ in bad)]) == list(range(sum(b.rows for b in batches)))
        found.append((bad, good, [row for b in batches for row in b.table.to_pylist()]))
    assert found[0] == found[1]
