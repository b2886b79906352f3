"""Rows are the same after writing and reading parts, with or without dictionaries."""

import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctrloom.data.arrow.dictionary import dictionary_encode_rows, is_dictionary, plain_rows
from ctrloom.data.parquet import writer
from ctrloom.data.parquet.reader import PartReader
from ctrloom.data.parquet.writer import PartWriter

SCHEMA = pa.schema(
    {"token": pa.string(), "number": pa.float64(), "list": pa.list_(pa.string()), "label": pa.int8()}
)
TOKENS = st.one_of(st.none(), st.sampled_from(["", "a", "0a1b2c3d", "ffffffff"]), st.text(max_size=3))
ROWS = st.lists(
    st.tuples(
        TOKENS, st.one_of(st.none(), st.floats(-9, 9)), st.lists(TOKENS, max_size=2), st.integers(0, 1)
    ),
    max_size=12,
)


def batch(rows: list[tuple[object, ...]]) -> pa.RecordBatch:
    columns = zip(*rows, strict=True) if rows else [()] * len(SCHEMA)
    arrays = [pa.array(c, type) for c, type in zip(columns, SCHEMA.types, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


def write(folder: Path, batches: list[pa.RecordBatch]) -> list[Path]:
    with PartWriter(folder, "train", SCHEMA) as writer:
        for each in batches:
            writer.write(dictionary_encode_rows(each))
    return [folder / part.path for part in writer.parts]


@given(st.lists(ROWS, max_size=4), st.sampled_from([2, 8, 1000]), st.sampled_from([16, 1000]))
def test_rows_come_back_in_order(batches: list[list[tuple[object, ...]]], group: int, part: int) -> None:
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(writer, "GROUP_ROWS", group)
        patch.setattr(writer, "PART_ROWS", part)
        files = write(Path(folder), list(map(batch, batches)))
        expected = [dict(zip(SCHEMA.names, row, strict=True)) for rows in batches for row in rows]
        for dictionaries in ([], ["token"]):
            read = [b for file in files for b in PartReader(file).rows(dictionaries=dictionaries)]
            assert [row for each in read for row in plain_rows(each).to_pylist()] == expected
            assert all(plain_rows(each).schema.equals(SCHEMA) for each in read)


@pytest.mark.parametrize(("different", "by_dictionary"), [(5, True), (50, True), (51, False), (100, False)])
def test_mostly_unique_tokens_are_stored_without_a_dictionary(
    tmp_path: Path, different: int, by_dictionary: bool
) -> None:
    tokens = [f"{i % different:08x}" for i in range(100)]
    (file,) = write(tmp_path, [batch([(token, 1.0, [], 0) for token in tokens])])
    assert pq.read_metadata(file).row_group(0).column(0).has_dictionary_page == by_dictionary
    (read,) = PartReader(file).rows(dictionaries=["token"])
    assert is_dictionary(read.column("token").type) == by_dictionary
    assert read.column("token").to_pylist() == tokens
