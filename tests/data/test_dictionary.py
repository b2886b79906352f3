"""Dictionary-encoded columns have the values of plain ones."""

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from ctrloom.data.arrow import dictionary, factorize
from ctrloom.data.sources.blocks import pieces
from ctrloom.data.sources.dialect import Dialect

VALUES = st.one_of(
    st.lists(st.one_of(st.none(), st.text("ab", max_size=2)), max_size=9, unique=True).map(
        lambda values: pa.array(values, pa.string())
    ),
    st.lists(st.one_of(st.none(), st.floats(-9, 9)), max_size=9).map(
        lambda values: pa.array(values, pa.float64())
    ),
    st.lists(st.integers(0, 1), max_size=9).map(lambda values: pa.array(values, pa.int8())),
)


@given(VALUES, st.data())
def test_values_are_spread_over_rows_and_come_back(values: pa.Array, data: st.DataObject) -> None:
    places = data.draw(st.lists(st.integers(0, max(len(values) - 1, 0)), max_size=20 if len(values) else 0))
    column = dictionary.take_encoded(values, pa.array(places, pa.int32()))
    expected = [values[place].as_py() for place in places]
    assert column.to_pylist() == expected
    for made in (dictionary.plain(column), dictionary.lean(column), dictionary.dictionary_encode(column)):
        assert made.to_pylist() == expected
        assert made.null_count == expected.count(None)
        made.validate(full=True)
        assert not dictionary.is_dictionary(made.type) or None not in made.dictionary.to_pylist()
    if pa.types.is_string(values.type):
        lean = dictionary.lean(column)
        assert dictionary.is_dictionary(lean.type) == (len(column.dictionary) <= len(places))
    chosen = data.draw(st.lists(st.integers(0, max(len(places) - 1, 0)), max_size=9 if places else 0))
    rows = pa.RecordBatch.from_arrays([column], ["field"])
    some = dictionary.rows_at(rows, np.array(chosen)).column("field")
    assert some.to_pylist() == [expected[place] for place in chosen]
    assert dictionary.is_dictionary(some.type) == dictionary.is_dictionary(column.type)


TEXTS = st.lists(st.sampled_from(["", "0a1b2c3d", "ffffffff", "größer!"]), max_size=12)
OTHERS = st.lists(st.sampled_from(["", "0a1b2c3d", "12345678", "x", "0123456789abcdef", None]), max_size=12)


@given(st.lists(st.one_of(TEXTS, OTHERS), max_size=4), st.booleans(), st.integers(0, 3))
def test_dictionaries_of_texts_are_unique(chunks: list[list[str | None]], binary: bool, skipped: int) -> None:
    arrays = [pa.array(chunk, pa.string()).slice(skipped) for chunk in chunks]
    arrays = [array.cast(pa.binary()) for array in arrays] if binary else arrays
    column = pa.chunked_array(arrays, pa.binary() if binary else pa.string())
    made, as_words = dictionary.encode_chunks(column), factorize.encoded(column)
    values = column.to_pylist()
    assert made.to_pylist() == values
    assert made.dictionary.type == column.type
    assert sorted(made.dictionary.to_pylist()) == sorted({value for value in values if value is not None})
    sizes = {None if value is None else len(value if binary else value.encode()) for value in values}
    assert (as_words is not None) == (8 in sizes and sizes <= {None, 0, 8})


@given(
    st.lists(st.binary(max_size=9).map(lambda line: line.replace(b"\n", b"")), max_size=20),
    st.integers(1, 30),
)
def test_pieces_are_whole_lines_of_all_the_data(lines: list[bytes], size: int) -> None:
    for data in (b"\n".join(lines), b"".join(line + b"\n" for line in lines)):
        found = [bytes(piece) for piece in pieces(data, Dialect(",", quoting=False), size)]
        assert b"".join(found) == data
        assert all(piece.endswith(b"\n") for piece in found[:-1])
        longest = max(map(len, lines), default=0) + 1
        assert all(0 < len(piece) <= max(size, longest) for piece in found)
