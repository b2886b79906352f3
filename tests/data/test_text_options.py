"""Encoding, quotes, spaces and formats of numbers of text files, and advice where they do not fit."""

import gzip
from typing import Any

import pyarrow as pa
import pytest
from data_helpers import Write, clicks, data_config
from hypothesis import given
from hypothesis import strategies as st

from ctrloom.config import Numeric, SourceConfig
from ctrloom.config.base import ConfigError
from ctrloom.data.errors import DataError
from ctrloom.data.ingest.cast import TypedBatch, read_rows
from ctrloom.data.ingest.converters import numbers
from ctrloom.data.ingest.number_format import plain_numbers
from ctrloom.data.ingest.run import ingest
from ctrloom.data.sources import blocks

COLUMNS = {"label": "label", "name": "categorical", "size": "numeric"}


def source(**keys: Any) -> SourceConfig:
    return SourceConfig.parse({"columns": COLUMNS, **keys}, "test")


def read(config: SourceConfig, *paths: str, with_label: bool = True) -> list[TypedBatch]:
    return list(read_rows(config, paths, with_label))


def names(batches: list[TypedBatch]) -> list[str]:
    return [name for batch in batches for name in batch.table["name"].to_pylist()]


def faults(batches: list[TypedBatch]) -> list[tuple[int, str]]:
    return [(row.line, row.reason) for batch in batches for row in batch.malformed]


@pytest.mark.parametrize(
    ("encoding", "name"),
    [
        ("latin-1", "é"),
        ("cp1252", "€"),
        ("utf-16", "Ω日"),
        ("utf-16-le", "Ω日"),
        ("utf-8", "Ω日"),
        ("utf-8-sig", "Ω日"),
        ("shift_jis", "日本"),
        ("ascii", "a"),
    ],
)
@pytest.mark.parametrize("compress", [bytes, gzip.compress])
@pytest.mark.parametrize("size", [3, 1000])
def test_text_is_read_in_its_encoding(
    write: Write, monkeypatch: pytest.MonkeyPatch, encoding: str, name: str, compress: Any, size: int
) -> None:
    monkeypatch.setattr(blocks.read_blocks, "__defaults__", (size,))
    content = f'label,name,size\n1,{name},1\n0,"x\n{name}",2\n'.encode(encoding)
    found = read(source(encoding=encoding), write("a.csv", compress(content)))
    assert names(found) == [name, f"x\n{name}"]
    assert faults(found) == []


def test_text_of_another_encoding_is_an_error_that_names_the_key(write: Write) -> None:
    content = "label,name,size\n1,é,1\n".encode("latin-1")
    path = write("a.csv", content)
    with pytest.raises(DataError, match=r"a\.csv: is not utf-16 \(.*\); correct `encoding`"):
        read(source(encoding="utf-16"), path)
    assert faults(read(source(), path)) == [(2, "name is not UTF-8")]
    header = write("b.csv", "läbel,name,size\n1,é,1\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"header cannot be read as UTF-8 .*; write it in UTF-8"):
        read(source(), header, with_label=False)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"encoding": "latin-9000"}, "'latin-9000' is not an encoding of text"),
        ({"encoding": "hex"}, "'hex' is not an encoding of text"),
        ({"delimiter": "::"}, "must be one ASCII character other than a quote or line end, not '::'"),
        ({"delimiter": "\\t"}, 'write "\\t" in double quotes for a tab'),
        ({"delimiter": '"'}, "must be one ASCII character"),
        ({"delimiter": "§"}, "must be one ASCII character"),
        ({"format": "parquet", "delimiter": ","}, "delimiter: does not apply to `format: parquet`"),
        ({"format": "libsvm", "quoting": False}, "quoting: does not apply to `format: libsvm`"),
        ({"trim": True, "delimiter": " "}, "trim: spaces cannot be removed where they are the delimiter"),
        ({"columns": {**COLUMNS, "size": {"kind": "numeric", "decimal": ","}, "b": "numeric"}}, ""),
        (
            {"columns": {**COLUMNS, "size": {"kind": "numeric", "decimal": ",", "thousands": ","}}},
            "decimal and thousands are both ','",
        ),
        ({"columns": {**COLUMNS, "size": {"kind": "numeric", "thousands": "0"}}}, "thousands"),
        ({"columns": {**COLUMNS, "size": {"kind": "numeric", "symbol": ""}}}, "symbol"),
    ],
)
def test_options_that_cannot_be_meant_are_rejected(given: dict[str, Any], message: str) -> None:
    if not message:
        data_config("a.csv", given["columns"])
        return
    with pytest.raises(ConfigError) as raised:
        data_config("a.csv", **{"columns": COLUMNS, **given})
    assert message in str(raised.value)


def test_quotes_are_parts_of_values_without_quoting(write: Write) -> None:
    lines = ['1,"ann",1', '0,"bob,2', '1,c"y,3', '0,"a,4']
    found = read(source(quoting=False), write("a.csv", "\n".join(["label,name,size", *lines])))
    assert names(found) == ['"ann"', '"bob', 'c"y', '"a']
    assert faults(found) == []


TRIMMED = [
    ("label , name,  size", '1, ann , 1\n0,"bob" ,2\n1,  "c, ""y"" "  , 3 \n', ["ann", "bob", 'c, "y"']),
    (" label,name,size", '1, "a\n0, b", 7.5\n0 ,,2\n 1, x"y,3\n', ["a\n0, b", None, 'x"y']),
    ('"label", "name", "size"', '"1", "a, ""b""", "2"\n"0", "c", "3"\n', ['a, "b"', "c"]),
]


@pytest.mark.parametrize(("header", "lines", "expected"), TRIMMED)
@pytest.mark.parametrize("size", [4, 12, 1000])
def test_spaces_around_names_and_values_are_removed(
    write: Write, monkeypatch: pytest.MonkeyPatch, header: str, lines: str, expected: list[str], size: int
) -> None:
    monkeypatch.setattr(blocks.read_blocks, "__defaults__", (size,))
    monkeypatch.setattr(blocks.pieces, "__defaults__", (size,))
    found = read(source(trim=True), write("a.csv", f"{header}\n{lines}"))
    assert names(found) == expected
    assert faults(found) == []


def test_a_repeated_header_with_spaces_is_malformed(write: Write) -> None:
    text = '"label", "name", "size"\n1, "a", 1\n"label", "name", "size"\n'
    assert faults(read(source(trim=True), write("a.csv", text), with_label=False)) == [
        (3, "repeats the header")
    ]


def test_values_that_differ_by_spaces_alone_are_one(write: Write) -> None:
    (found,) = read(source(trim=True), write("a.csv", "label,name,size\n1,a,1\n0, a,1\n1,a ,1\n"))
    assert found.dictionary_rows["name"].dictionary.to_pylist() == ["a"]


def test_trimming_is_suggested_for_names_with_spaces(write: Write) -> None:
    path = write("a.csv", "label, name, size\n1, a, 1\n")
    with pytest.raises(DataError, match="names of columns have spaces around them; set `trim: true`"):
        read(source(), path)
    with pytest.raises(DataError, match="have spaces around them; remove them, also around values"):
        read(source(), path, with_label=False)


NUMBERS = [
    (
        {"symbol": "$", "thousands": ","},
        {
            "$0.99": 0.99,
            "1,000": 1000.0,
            "$1,234.50": 1234.5,
            "-$5": -5.0,
            "$-5": -5.0,
            "$ 12,345,678": 12345678.0,
            "7": 7.0,
            "1e3": 1000.0,
            "5$": 5.0,
            "": None,
        },
        ["1,00", "1,0000", "$", "1,000,", ",100", "€5", "1.000,5", "abc"],
    ),
    (
        {"decimal": ",", "thousands": "."},
        {"1.234,5": 1234.5, "0,5": 0.5, "3": 3.0, "-1,5e2": -150.0, ",5": 0.5, "5,": 5.0},
        ["1.5", "1,234,5", "1.23"],
    ),
    ({"symbol": "%"}, {"12 %": 12.0, "12%": 12.0, "0.5%": 0.5}, ["12 %%x", "1,5%"]),
    ({"thousands": " "}, {"1 000": 1000.0, " 12 000.5 ": 12000.5}, ["1 00", "1  000"]),
]


@pytest.mark.parametrize(("format", "good", "others"), NUMBERS)
def test_numbers_are_read_in_the_format_of_their_column(
    write: Write, format: dict[str, str], good: dict[str, float], others: list[str]
) -> None:
    columns = {**COLUMNS, "size": {"kind": "numeric", **format}}
    lines = [f"1\ta\t{text}\n" for text in [*good, *others]]
    path = write("a.tsv", "label\tname\tsize\n" + "".join(lines))
    found = read(source(columns=columns, format="tsv"), path)
    assert [size for batch in found for size in batch.table["size"].to_pylist()] == list(good.values())
    assert [reason for _, reason in faults(found)] == [f"size is not a number: {text!r}" for text in others]


@given(st.floats(-1e9, 1e9), st.sampled_from([",.", ".,", " ,", " ."]))
def test_a_number_is_the_same_in_every_format(number: float, marks: str) -> None:
    thousands, decimal = marks
    text = f"{number:,.4f}".translate({ord(","): thousands, ord("."): decimal})
    column, missing = Numeric(decimal=decimal, thousands=thousands), pa.array([""], pa.string())
    read, wrong = numbers("n", plain_numbers(pa.array([text]), column, missing), missing)
    assert (read.to_pylist(), wrong) == ([round(number, 4)], [])


@pytest.mark.parametrize(
    ("lines", "advice"),
    [
        ("1,é,1\n".encode("latin-1"), "Check `encoding` (for example latin-1) or the files"),
        (b"1,u,1,9\n", "Check `delimiter`, `quoting` or the files"),
        (b'1,"u,1\n', "Check `quoting` (false if quotes are parts of values) or the files"),
        (b"1,u,$1\n", "Check `decimal`, `thousands` and `symbol` of numeric columns or the files"),
        (b"?,u,1\n", "Fix `columns` or the files, or raise max_malformed"),
    ],
)
def test_many_malformed_rows_name_the_keys_to_check(
    write: Write, tmp_path: Any, lines: bytes, advice: str
) -> None:
    path = write("a.csv", b"click,user,age\n" + clicks(50).encode() + lines * 9)
    config = data_config(path, {"click": "label", "user": "categorical", "age": "numeric"})
    with pytest.raises(DataError) as raised:
        ingest(config, str(tmp_path / "store"))
    assert advice in str(raised.value)
