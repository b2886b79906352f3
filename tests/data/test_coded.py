"""Columns by dictionaries have the values of columns without."""

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from ctrloom.data import coded
from ctrloom.data.sources.blocks import pieces

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
    column = coded.spread(values, pa.array(places, pa.int32()))
    expected = [values[place].as_py() for place in places]
    assert column.to_pylist() == expected
    assert column.null_count == expected.count(None)
    for made in (coded.plain(column), coded.lean(column), coded.coded(column)):
        assert made.to_pylist() == expected
    if pa.types.is_string(values.type):
        dictionary = coded.lean(column).dictionary.to_pylist()
        assert len(set(dictionary)) == len(dictionary) <= max(len(places), 0)
        assert None not in dictionary


@given(
    st.lists(st.binary(max_size=9).map(lambda line: line.replace(b"\n", b"")), max_size=20),
    st.integers(1, 30),
)
def test_pieces_are_whole_lines_of_all_the_data(lines: list[bytes], size: int) -> None:
    for data in (b"\n".join(lines), b"".join(line + b"\n" for line in lines)):
        found = [bytes(piece) for piece in pieces(data, size)]
        assert b"".join(found) == data
        assert all(piece.endswith(b"\n") for piece in found[:-1])
        longest = max(map(len, lines), default=0) + 1
        assert all(0 < len(piece) <= max(size, longest) for piece in found)
