import bz2
import gzip
import json
import lzma
import os
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data_helpers import Write
from pyarrow import fs

from ctrloom.config import SourceConfig
from ctrloom.data.errors import DataError
from ctrloom.data.ingest.cast import read_rows
from ctrloom.data.sources import blocks, files
from ctrloom.data.sources.dialect import Dialect
from ctrloom.data.sources.files import resolve

COLUMNS = {"label": "label", "name": "categorical", "size": "numeric"}
GOOD = "label,name,size\n1,ann,1\n0,bob,2\n1,cy,3\n"


def source(**keys: Any) -> SourceConfig:
    return SourceConfig.parse({"columns": COLUMNS, **keys}, "test")


def rows(config: SourceConfig, *paths: str, with_label: bool = True) -> dict[str, list[Any]]:
    tables = [pa.Table.from_batches([b.table]) for b in read_rows(config, paths, with_label)]
    return pa.concat_tables(tables).to_pydict()


def bad_lines(config: SourceConfig, *paths: str) -> list[tuple[int, str]]:
    return [(row.line, row.reason) for b in read_rows(config, paths) for row in b.malformed]


EXPECTED = {"name": ["ann", "bob", "cy"], "size": [1.0, 2.0, 3.0], "label": [1, 0, 1]}


@pytest.mark.parametrize(
    "content",
    [
        GOOD,
        "\ufeff" + GOOD,
        GOOD.replace("\n", "\r\n"),
        GOOD.rstrip("\n"),
        GOOD.replace("ann", '"ann"'),
        "\n\n" + GOOD.replace("0,bob", "\n\r\n0,bob") + "\n",
        "size,label,name\n1,1,ann\n2,0,bob\n3,1,cy\n",
    ],
)
@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "csv.zst"])
def test_csv_variants(write: Write, content: str, suffix: str) -> None:
    assert rows(source(), write(f"a.{suffix}", content)) == EXPECTED


def test_quoted_fields_hold_delimiters_and_quotes(write: Write) -> None:
    path = write("a.csv", 'label,name,size\n1,"a,b",1\n0,"say ""hi""",2\n1,x"y,3\n')
    assert rows(source(), path)["name"] == ["a,b", 'say "hi"', 'x"y']


def test_other_delimiters_and_no_header(write: Write) -> None:
    assert rows(source(format="tsv"), write("a.tsv", GOOD.replace(",", "\t"))) == EXPECTED
    semicolons = write("b.csv", GOOD.split("\n", 1)[1].replace(",", ";"))
    assert rows(source(header=False, delimiter=";"), semicolons) == EXPECTED


def test_libsvm_takes_the_index_as_token_and_the_value_as_number(write: Write) -> None:
    path = write("a.libsvm", "+1 ann:1 7:1 \n-1 bob:1 7:2\r\n\n1 cy:1 7:3")
    assert rows(source(format="libsvm"), path) == EXPECTED
    bad = write("bad.libsvm", "1 ann:1 7:1\n0 bob 7:2\n0 x:1 7:2 8:1\n")
    assert bad_lines(source(format="libsvm"), bad) == [
        (2, "name is not index:value: 'bob'"),
        (3, "has 4 columns instead of 3"),
    ]


def test_libffm_takes_index_and_value_of_each_field(write: Write) -> None:
    path = write("a.ffm", "1 0:ann:1 1:7:1\n-1 0:bob:1 1:7:2 \n1 0:cy:1 1:7:3\n")
    assert rows(source(format="libffm"), path) == EXPECTED
    more = "1 0:ann:1 1:7:1\n" * 3 + "0 bob:1 7:2\n1 1:7:3 0:cy:1\n0 0:a:1 1:8:4\n0 0:a:1:9 1:7:4\n"
    order = "every line must contain all columns, in the same order"
    assert bad_lines(source(format="libffm"), write("b.ffm", more)) == [
        (4, "name is not field:index:value: 'bob:1'"),
        (5, f"name has another field than 0; {order}: 1"),
        (6, f"size has another index than 7; {order.replace('all', 'all numeric')}: 8"),
        (7, "name is not field:index:value: '0:a:1:9'"),
    ]


def test_libffm_is_not_read_as_libsvm(write: Write) -> None:
    path = write("a.txt", "1 0:3:1 1:11:1\n0 0:4:1 1:11:2\n")
    with pytest.raises(DataError, match=r"a.txt: is libffm \(field:index:value\).*set `format: libffm`"):
        rows(source(format="libsvm"), path)
    with pytest.raises(DataError, match=r"is libffm.*write index:value, as in the training data"):
        rows(source(format="libsvm"), path, with_label=False)
    with pytest.raises(DataError, match=r"is libsvm \(index:value\), not libffm; set `format: libsvm`"):
        rows(source(format="libffm"), write("b.txt", "1 3:1 11:1\n0 4:1 11:2\n"))
    stray = write("c.txt", "1 3:1 11:1\n" * 3 + "0 0:4:1 11:2\n")
    assert bad_lines(source(format="libsvm"), stray) == [(4, "name is not index:value: '0:4:1'")]


def test_parquet_takes_columns_by_name_and_converts_types(tmp_path: Path) -> None:
    table = pa.table(
        {"size": [1, 2, 3], "label": [True, False, True], "name": [7, None, 9], "more": [0, 0, 0]}
    )
    pq.write_table(table, tmp_path / "a.parquet")
    found = rows(source(format="parquet", other_columns="ignore"), str(tmp_path / "a.parquet"))
    assert found == {"name": ["7", None, "9"], "size": [1.0, 2.0, 3.0], "label": [1, 0, 1]}


def test_malformed_parquet_rows_are_named_by_row(tmp_path: Path) -> None:
    table = pa.table({"label": [1, 5, None], "name": ["a", "b", "c"], "size": [1.0, 2.0, 3.0]})
    pq.write_table(table, tmp_path / "a.parquet")
    (batch,) = read_rows(source(format="parquet"), [str(tmp_path / "a.parquet")])
    assert [row.line for row in batch.malformed] == [2, 3]
    assert json.loads(batch.malformed[0].text) == {"label": 5, "name": "b", "size": 2.0}


def test_a_parquet_type_without_matching_kind_is_refused(tmp_path: Path) -> None:
    table = pa.table({"label": [1], "name": ["a"], "size": [{"x": 1}]})
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"size holds struct.*cannot be numeric"):
        list(read_rows(source(format="parquet"), [str(tmp_path / "a.parquet")]))


def test_a_parquet_file_whose_dictionary_lacks_values_is_damaged(tmp_path: Path) -> None:
    names = pa.array([f"u{i * 7 % 3}" for i in range(1000)]).dictionary_encode()
    table = pa.table({"label": [i % 2 for i in range(1000)], "name": names, "size": [1.0] * 1000})
    path = tmp_path / "a.parquet"
    pq.write_table(table, path, compression="none")
    chunk = pq.read_metadata(path).row_group(0).column(1)
    content = bytearray(path.read_bytes())
    end = chunk.dictionary_page_offset + chunk.total_compressed_size
    content[end - 100 : end] = b"\xff" * 100  # two bits per row: index 3 of three values
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.parquet: is corrupt: Index 3 out of bounds.*write it again"):
        list(read_rows(source(format="parquet"), [str(path)]))


def test_many_files_globs_and_urls(write: Write, tmp_path: Path, served: str) -> None:
    for i, line in enumerate(GOOD.splitlines()[1:]):
        write(f"many/part-{i}.csv", "label,name,size\n" + line)
    assert rows(source(), *resolve([str(tmp_path / "many/*.csv")])) == EXPECTED
    write("web.csv.gz", GOOD)
    assert rows(source(), *resolve([f"{served}/web.csv.gz"])) == EXPECTED
    assert rows(source(), *resolve([f"file://{tmp_path}/web.csv.gz"])) == EXPECTED
    pq.write_table(pa.table(EXPECTED), tmp_path / "web.parquet")
    assert rows(source(format="parquet"), f"{served}/web.parquet") == EXPECTED


def test_globs_on_a_file_system_with_addresses(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("bucket/day=1/a.csv", GOOD)
    write("bucket/day=2/b.csv", GOOD)
    write("bucket/day=2/b.txt", "no")

    def local(uri: str) -> tuple[fs.FileSystem, str]:
        return fs.LocalFileSystem(), str(tmp_path / uri.removeprefix("hdfs://"))

    opening = SimpleNamespace(FileSystem=SimpleNamespace(from_uri=local), FileSelector=fs.FileSelector)
    monkeypatch.setattr(files, "fs", opening)
    found = resolve(["hdfs://bucket/day=*/*.csv"])
    assert [path.rsplit("/", 2)[1:] for path in found] == [["day=1", "a.csv"], ["day=2", "b.csv"]]
    assert rows(source(), "hdfs://bucket/day=1/a.csv") == EXPECTED


BAD = {
    "columns": ("0,bob", "has 2 columns instead of 3"),
    "label": ("maybe,bob,2", "label is not a label (0 or 1; see `positive`): 'maybe'"),
    "number": ("0,bob,two", "size is not a number: 'two'"),
    "infinite": ("0,bob,inf", "size is not a number: 'inf'"),
    "utf-8": (b"0,b\xffb,2", "name is not UTF-8"),
    "columns that are not utf-8": (b"0,b\xff", "has 2 columns instead of 3"),
    "quote that is not utf-8": (b'0,"b\xff,2', "has a quoted field that does not end on its line"),
    "quote": ('0,"bob,2', "has a quoted field that does not end on its line"),
    "return": ("0,b\rb,2", "has a carriage return within the line"),
}


@pytest.mark.parametrize("what", BAD)
@pytest.mark.parametrize("place", [0, 2, 4])
@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "csv.zst"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_malformed_row_is_named_by_its_line(
    write: Write, what: str, place: int, header: bool, suffix: str, end: bytes
) -> None:
    line, reason = BAD[what]
    bad = line if isinstance(line, bytes) else line.encode()
    lines = [b"1,ann,1", b"", b"0,cy,3", b"1,dee,4"]
    lines.insert(place, bad)
    lines = [b"label,name,size"] * header + lines
    path = write(f"a.{suffix}", end.join(lines) + end)
    batches = list(read_rows(source(header=header), [path]))
    (malformed,) = (row for batch in batches for row in batch.malformed)
    assert (malformed.file, malformed.line, malformed.reason) == (path, lines.index(bad) + 1, reason)
    assert malformed.text == bad.decode(errors="backslashreplace")
    assert [name for b in batches for name in b.table["name"].to_pylist()] == ["ann", "cy", "dee"]
    assert sorted([malformed.position, *(at for b in batches for at in b.positions)]) == [0, 1, 2, 3]


@pytest.mark.parametrize("quote", [b"", b'"'])
def test_a_long_row_of_other_bytes_is_malformed_like_any_other(write: Write, quote: bytes) -> None:
    cell = quote + b"\xff" * 200_000 + quote
    path = write("a.csv", GOOD.encode() + b"0," + cell + b"\n1," + cell + b",4\n")
    expected = [(5, "has 2 columns instead of 3"), (6, "name is not UTF-8")]
    assert bad_lines(source(), path) == expected


def test_lines_and_positions_hold_over_many_blocks(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks.read_blocks, "__defaults__", (64,))
    monkeypatch.setattr(blocks, "COUNTED_BYTES", 10)
    lines = [f"{i % 2},n{i},{i}" for i in range(200)]
    for i in (0, 57, 58, 120, 199):
        lines[i] = f"{i % 2},n{i},x{i}"
    lines.insert(100, "")
    path = write("a.csv.gz", "label,name,size\n" + "\n".join(lines))
    batches = list(read_rows(source(), [path, path]))
    assert len(batches) > 20
    bad = [row for b in batches for row in b.malformed]
    assert [row.line for row in bad] == [2, 59, 60, 123, 202] * 2
    assert all(lines[row.line - 2] == row.text for row in bad)
    assert [row.position for row in bad] == [p + f for f in (0, 200) for p in (0, 57, 58, 120, 199)]
    good = [p for b in batches for p in b.positions]
    assert good == [p + f for f in (0, 200) for p in range(200) if p not in (0, 57, 58, 120, 199)]


def test_long_text_of_a_malformed_row_is_cut(write: Write) -> None:
    (batch,) = read_rows(source(), [write("a.csv", "label,name,size\n1,ann," + "9x" * 5000)])
    assert len(batch.malformed[0].text) == 500
    assert len(batch.malformed[0].reason) < 200


@pytest.mark.parametrize(
    ("content", "config", "message"),
    [
        ("", {}, "the file is empty"),
        ("label,nam,size\n1,a,1\n", {}, "a.csv: has no column 'name'; similar names are 'nam'"),
        ("1,a,1\n", {}, "header: false"),
        ("label,name,name,size\n1,a,b,1\n", {}, "2 columns named 'name'"),
        ("label,name,size,b,c\n", {}, "does not list the column 'b' and 1 more"),
        (b"\xff\xfel\x00", {}, "is UTF-16"),
        (
            b"l\xe9bel,name,size\n",
            {},
            "header cannot be read as UTF-8 .*; set `encoding`, for example latin-1",
        ),
        (b"PAR1\x00", {}, "set `format: parquet`"),
        ("not parquet", {"format": "parquet"}, "is not Parquet"),
    ],
)
def test_invalid_files(write: Write, content: str | bytes, config: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        list(read_rows(source(**config), [write("a.csv", content)]))


def test_other_columns_may_be_ignored(write: Write) -> None:
    wide = write("a.csv", GOOD.replace("\n", ",x\n"))
    assert rows(source(other_columns="ignore"), wide) == EXPECTED
    bare = write("b.csv", GOOD.split("\n", 1)[1].replace("\n", ",x\n"))
    assert rows(source(other_columns="ignore", header=False), bare) == EXPECTED


def test_other_columns_of_rows_to_score_are_ignored_with_a_note(write: Write, tmp_path: Path) -> None:
    expected = {name: EXPECTED[name] for name in ("name", "size")}
    note = "ignoring the column 'day' and 1 more, which the training data did not have"
    wide = write("a.csv", "day,name,size,shop\n1,ann,1,x\n1,bob,2,x\n1,cy,3,x\n")
    pq.write_table(pa.table({"day": [1, 1, 1], **expected, "shop": ["x"] * 3}), tmp_path / "a.parquet")
    for config, path in ((source(), wide), (source(format="parquet"), str(tmp_path / "a.parquet"))):
        assert rows(config, path, with_label=False) == expected
        batches = read_rows(config, [path, path], with_label=False)
        assert [given for batch in batches for given in batch.notes] == [note]
    ignored = read_rows(source(other_columns="ignore"), [wide], with_label=False)
    assert [given for batch in ignored for given in batch.notes] == []


@pytest.mark.parametrize("header", [",label,name,size", "label,name,size,"])
def test_a_column_without_a_name_is_described(write: Write, header: str) -> None:
    with pytest.raises(DataError, match="does not list the column without a name; add it"):
        rows(source(), write("a.csv", f"{header}\n0,1,ann,1\n"))


COMPRESSED = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "zst": lambda data: pa.compress(data, codec="zstd", asbytes=True),
    "lz4": lambda data: pa.compress(data, codec="lz4", asbytes=True),
}


@pytest.mark.parametrize("suffix", COMPRESSED)
def test_compression_is_recognized_by_content(write: Write, suffix: str) -> None:
    head, rest = GOOD[:20].encode(), GOOD[20:].encode()
    joined = COMPRESSED[suffix](head) + COMPRESSED[suffix](rest)
    assert rows(source(), write("a.csv", joined)) == EXPECTED


def test_text_that_begins_like_bzip2(write: Write) -> None:
    columns = {"BZh9": "label", "name": "categorical"}
    config = SourceConfig.parse({"columns": columns}, "test")
    assert rows(config, write("a.csv", "BZh9,name\n1,ann\n")) == {"name": ["ann"], "label": [1]}


@pytest.mark.parametrize(
    ("suffix", "damage"),
    [
        *((suffix, damage) for suffix in COMPRESSED for damage in ("cut", "more")),
        ("gz", "flip"),
        ("bz2", "flip"),
    ],
)
def test_a_damaged_archive_is_an_error_that_names_it(write: Write, suffix: str, damage: str) -> None:
    whole = COMPRESSED[suffix](GOOD.encode() * 1000)
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    path = write("a.csv", {"cut": whole[:-5], "more": whole + b"more", "flip": flipped}[damage])
    with pytest.raises(DataError, match=r"a\.csv: cannot be read as .*: create or copy it again"):
        list(read_rows(source(), [path]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lzma.compress(GOOD.encode()), "is compressed with xz; compress it with gzip"),
        (b"PK\x03\x04\x14\0", "is a zip archive or a workbook; unpack it"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "is a workbook; save its sheet as CSV"),
        (b"a/b.csv".ljust(257, b"\0") + b"ustar\x0000", "is a tar archive; unpack it"),
        (gzip.compress(gzip.compress(GOOD.encode())), "is compressed twice"),
        (b"\x1f\x9d\x90", "is compressed with compress"),
        (b"PAR1\x15\x04", "is a Parquet file; set `format: parquet`"),
        (b"ARROW1\0\0", "is an Arrow file"),
        (b"Obj\x01\x04", "is an Avro file"),
        (b"\x89HDF\r\n", "is an HDF5 file"),
        (b"SQLite format 3\0", "is a SQLite database"),
        (b"<!DOCTYPE html>\n<html>", "is a page of HTML"),
        (b'{"label": 1, "name": "ann"}\n', "is JSON; write its rows as Parquet or CSV"),
        (b'[\n {"label": 1}]\n', "has no column 'label'"),
        (GOOD.encode("utf-16"), "is UTF-16; set `encoding: utf-16`"),
        (GOOD.encode("utf-16-le"), "contain NUL bytes; it is damaged, not text, or UTF-16"),
        (b"\0" * 10_000, "contain NUL bytes"),
        (GOOD.replace("\n", "\r").encode(), "has carriage returns instead of line feeds; convert it"),
    ],
)
def test_a_file_that_is_not_text_says_what_it_is(write: Write, content: bytes, message: str) -> None:
    path = write("a.csv", content)
    with pytest.raises(DataError) as raised:
        list(read_rows(source(), [path]))
    assert str(raised.value).startswith(f"{path}: ")
    assert message in str(raised.value)


def test_what_is_not_a_regular_file_is_rejected(write: Write, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "link.csv").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket.csv"))
    for name, what in {
        "pipe.csv": "is a FIFO, not a regular file; write its content to a file",
        "folder.csv": "is a directory; use its files",
        "link.csv": "is a device",
        "socket.csv": "is a socket",
    }.items():
        for pattern in (tmp_path / name, tmp_path / name.replace(".csv", ".c*")):
            with pytest.raises(DataError, match=f"{name}: {what}"):
                resolve([str(pattern)])


def test_missing_files(tmp_path: Path, served: str) -> None:
    with pytest.raises(DataError, match="no file matches"):
        resolve([str(tmp_path / "*.csv")])
    with pytest.raises(DataError, match="is a directory"):
        resolve([str(tmp_path)])
    with pytest.raises(DataError, match=r"nothing.csv: cannot be read"):
        list(read_rows(source(), [f"{served}/nothing.csv"]))
    with pytest.raises(DataError, match=r"cannot be read"):
        list(read_rows(source(), ["http://127.0.0.1:1/a.csv"]))


def test_blocks_of_short_lines_end_where_a_row_group_does(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "BLOCK_ROWS", 10)
    text = "ab\n" * 100
    found = list(blocks.read_blocks(write("a.csv", text), Dialect(","), "utf-8", 90))
    assert [block.line_count for block in found] == [30, *[10] * 7]  # the line length is known by then
    assert b"".join(block.data for block in found) == text.encode()
    assert [block.first_line_number for block in found] == [1, *range(31, 101, 10)]


def test_a_line_without_end_is_refused(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "MAX_LINE_BYTES", 1 << 20)
    monkeypatch.setattr(blocks.read_blocks, "__defaults__", (1 << 19,))
    with pytest.raises(DataError, match="line 1 is longer than 1 MiB"):
        list(read_rows(source(), [write("a.csv", "x" * (3 << 20))]))


def test_rows_to_score_need_no_label(write: Write) -> None:
    expected = {name: EXPECTED[name] for name in ("name", "size")}
    without = write("a.csv", "name,size\nann,1\nbob,2\ncy,3\n")
    assert rows(source(), without, with_label=False) == expected
    assert rows(source(), write("b.csv", GOOD.replace("1,ann", "?,ann")), with_label=False) == expected
    bare = source(header=False)
    assert rows(bare, write("c.csv", "ann,1\nbob,2\ncy,3\n"), with_label=False) == expected
    assert (
        rows(source(format="libsvm"), write("d.svm", "ann:1 7:1\nbob:1 7:2\ncy:1 7:3\n"), with_label=False)
        == expected
    )


WEIGHTED = {"y": "label", "u": "categorical", "v": "categorical", "w": "weight"}
SESSIONS = {"u": "categorical", "s": "context", "v": "categorical", "y": "label"}


@pytest.mark.parametrize(
    ("columns", "line", "expected"),
    [
        (WEIGHTED, "1,a,b,2", {"u": ["a"], "v": ["b"]}),
        (WEIGHTED, "?,a,b,", {"u": ["a"], "v": ["b"]}),
        (WEIGHTED, "a,b", {"u": ["a"], "v": ["b"]}),
        (SESSIONS, "a,x,b,1", {"u": ["a"], "v": ["b"]}),
        (SESSIONS, "a,b", {"u": ["a"], "v": ["b"]}),
    ],
)
def test_columns_to_score_without_header_are_those_of_the_only_fitting_order(
    write: Write, columns: dict[str, str], line: str, expected: dict[str, list[str]]
) -> None:
    config = SourceConfig.parse({"columns": columns, "header": False}, "test")
    assert rows(config, write("a.csv", f"{line}\n"), with_label=False) == expected


@pytest.mark.parametrize(
    ("columns", "line", "message"),
    [
        (WEIGHTED, "1,a,b", "can be the columns without y or without w; write all of them, y, u, v, w,"),
        (SESSIONS, "a,x,b", "can be the columns without y or without s"),
        (WEIGHTED, "a", "has 1 columns and no header, but the training data has 4: y, u, v, w"),
        (WEIGHTED, "1,a,b,1,x", "has 5 columns and no header, but the training data has 4"),
        (WEIGHTED, "1;a;b;1", 'are separated by ";"; separate them by ","'),
        (WEIGHTED, "y,u,v,w\n1,a,b,1", "first line has the names of the columns; remove it"),
        (WEIGHTED, "u,v\na,b", "first line has the names of the columns; remove it"),
    ],
)
def test_an_ambiguous_order_of_columns_to_score_is_rejected(
    write: Write, columns: dict[str, str], line: str, message: str
) -> None:
    config = SourceConfig.parse({"columns": columns, "header": False}, "test")
    with pytest.raises(DataError, match=message):
        rows(config, write("a.csv", f"{line}\n"), with_label=False)


@pytest.mark.parametrize(
    ("content", "keys", "message"),
    [
        ("1,a,1,x\n" * 3, {}, "has 4 columns and no header, but `columns` lists 3; list every column"),
        ("1,a\n0,b\n1,c,1\n", {}, "has 2 columns and no header, but `columns` lists 3"),
        ("1,a\n" * 2, {"other_columns": "ignore"}, "has 2 columns and no header"),
        ("1;a;1\n", {}, 'separated by ";", not ","; set `delimiter: ";"`'),
        ("1\ta\t1\n", {}, r'set `delimiter: "\\t"`'),
        ("label,name,size\n1,a,1\n", {}, "first line has the names of the columns; set `header: true`"),
        ("1 3:1\n0 4:1\n", {"format": "libsvm"}, "has 2 columns and no header, but `columns` lists 3"),
    ],
)
def test_a_file_without_header_has_the_declared_number_of_columns(
    write: Write, content: str, keys: dict[str, str], message: str
) -> None:
    with pytest.raises(DataError, match=f"a.csv: .*{message}"):
        rows(source(header=False, **keys), write("a.csv", content))


def test_a_damaged_first_line_does_not_change_the_order_of_columns(write: Write) -> None:
    config = SourceConfig.parse({"columns": WEIGHTED, "header": False}, "test")
    path = write("a.csv", "1,a\n" + "1,a,b,2\n" * 3)
    (batch,) = read_rows(config, [path], with_label=False)
    assert [row.line for row in batch.malformed] == [1]
    assert batch.table.to_pydict() == {"u": ["a"] * 3, "v": ["b"] * 3}


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("label;name;size", 'separated by ";", not ","; set `delimiter: ";"`'),
        ("label\tname\tsize", r'set `delimiter: "\\t"`'),
        ("label|name|size", 'set `delimiter: "|"`'),
        ('"label";"name";"more"', 'set `delimiter: ";"`'),
    ],
)
def test_another_delimiter_is_suggested(write: Write, header: str, message: str) -> None:
    with pytest.raises(DataError, match=message.replace("|", r"\|")):
        rows(source(), write("a.csv", f"{header}\n1;a;1\n"))


def test_a_delimiter_that_fits_one_name_is_not_suggested(write: Write) -> None:
    with pytest.raises(DataError, match="has no column 'label'; similar names are 'label:y'"):
        rows(source(), write("a.csv", "label:y,nam,big\n1,a,1\n"))


def test_each_file_has_its_own_order_of_columns(write: Write) -> None:
    first = write("a.csv", "label,name,size\n1,ann,1\n0,bob,2\n")
    second = write("b.csv", "size,label,name\n3,1,cy\n")
    assert rows(source(), first, second) == EXPECTED


@pytest.mark.parametrize("content", ["\n", "\r\n\n", "\ufeff\n", "\n\r", "\r\r\n"])
def test_a_file_of_empty_lines_is_empty(write: Write, content: str) -> None:
    with pytest.raises(DataError, match=r"a\.csv: the file has only empty lines"):
        rows(source(), write("a.csv", content))


def test_a_file_with_a_header_alone_has_no_rows(write: Write) -> None:
    header = write("a.csv", "label,name,size")
    assert list(read_rows(source(), [header])) == []
    assert rows(source(), header, write("b.csv", GOOD)) == EXPECTED
