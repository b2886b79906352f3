"""Take with nulls, compared with Arrow's own take."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctrloom.data.arrow import take

NUMBERS = st.one_of(
    st.lists(st.one_of(st.none(), st.integers(-9, 9)), max_size=9).map(lambda v: pa.array(v, pa.int32())),
    st.lists(st.one_of(st.none(), st.floats(allow_nan=False)), max_size=9).map(
        lambda v: pa.array(v, pa.float64())
    ),
)
VALUES = st.one_of(
    NUMBERS,
    st.lists(st.one_of(st.none(), st.text(max_size=2)), max_size=9).map(lambda v: pa.array(v, pa.string())),
    st.lists(st.one_of(st.none(), st.booleans()), max_size=9).map(lambda v: pa.array(v, pa.bool_())),
)


@given(VALUES, st.integers(0, 3), st.integers(0, 3), st.data())
def test_values_at_places_are_those_of_arrow(
    values: pa.Array, skipped: int, first: int, data: st.DataObject
) -> None:
    values = values.slice(skipped)
    place = st.integers(0, len(values) - 1) if len(values) else st.nothing()
    drawn = data.draw(st.lists(st.one_of(st.none(), place), max_size=20))
    wanted = pa.array(drawn, pa.int32()).slice(first)
    found = take.taken(values, wanted)
    found.validate(full=True)
    assert found.equals(values.take(wanted))
    assert found.null_count == values.take(wanted).null_count


@given(NUMBERS, st.integers(0, 3))
def test_valid_filled_and_masked(column: pa.Array, skipped: int) -> None:
    column = column.slice(skipped)
    valid = take.valid(column)
    assert valid.tolist() == column.is_valid().to_pylist()
    if pa.types.is_integer(column.type):
        filled = take.filled(column, 77)
        assert filled.tolist() == column.fill_null(77).to_pylist()
        assert take.masked(filled, valid).equals(column)


def test_filled_leaves_the_column_as_it_is() -> None:
    column = pa.array([5, None, 7], pa.int32())
    take.filled(column, -1)
    assert column.to_pylist() == [5, None, 7]


@pytest.mark.parametrize("chosen", [[True, True, False], [False, True, True], [True] * 3, [False] * 3])
def test_those_filters_by_a_mask(chosen: list[bool]) -> None:
    expected = [value for value, wanted in zip("abc", chosen, strict=True) if wanted]
    assert take.those(pa.array(["a", "b", "c"]), np.array(chosen)).to_pylist() == expected
    assert take.those(np.array(["a", "b", "c"]), np.array(chosen)).tolist() == expected
