import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small import categorical_schema, schema_of

from ctrloom.config import SourceConfig
from ctrloom.schema import Field, Schema, SchemaMismatchError

BASE = schema_of(("categorical", 5), ("multivalued", 6, 3), ("numeric", 2), ("categorical", 4))


def changed(index: int, **update: Any) -> Schema:
    fields = list(BASE.fields)
    fields[index] = fields[index].model_copy(update=update)
    return BASE.model_copy(update={"fields": tuple(fields)})


def test_offsets_and_columns() -> None:
    assert BASE.names == ("a", "b", "c", "d")
    assert BASE.offsets == (0, 5, 11, 13)
    assert BASE.table_size == 17
    assert BASE.field_of_column == (0, 1, 1, 1, 2, 3)
    assert BASE.indices(("d", "a")) == (3, 0)
    assert BASE.has_factors
    assert not categorical_schema(3).has_factors


@settings(deadline=None)
@given(sizes=st.lists(st.integers(2, 9), min_size=1, max_size=8))
def test_every_id_belongs_to_one_field(sizes: list[int]) -> None:
    schema = schema_of(*[("categorical", size) for size in sizes])
    owner = np.concatenate([np.full(size, f) for f, size in enumerate(sizes)])
    assert schema.table_size == len(owner)
    for f, offset in enumerate(schema.offsets):
        assert (owner[offset : offset + sizes[f]] == f).all()


@pytest.mark.parametrize(
    ("update", "named"),
    [
        ({"size": 7}, "size"),
        ({"vocabulary_digest": "beef"}, "vocabulary_digest"),
        ({"boundaries": (0.0, 1.0)}, "boundaries"),
        ({"kind": "numeric"}, "kind"),
        ({"column": "z"}, "column"),
        ({"width": 2}, "width"),
        ({"derived": "hour"}, "derived"),
    ],
)
def test_the_fingerprint_depends_on_every_key(update: dict[str, Any], named: str) -> None:
    other = changed(3, **update)
    assert other.fingerprint != BASE.fingerprint
    with pytest.raises(
        SchemaMismatchError, match=f"the bundle was made from other data: field 'd' differs in {named}"
    ):
        BASE.require_same(other, "the bundle")


def test_other_fields_or_another_order_are_named() -> None:
    reordered = BASE.model_copy(update={"fields": BASE.fields[::-1]})
    assert reordered.fingerprint != BASE.fingerprint
    with pytest.raises(SchemaMismatchError, match="has the fields d, c, b, a; expected a, b, c, d"):
        BASE.require_same(reordered, "it")


def test_the_same_fields_have_the_same_fingerprint() -> None:
    again = Schema.parse(json.loads(json.dumps(BASE.model_dump(mode="json"))), "test")
    assert again == BASE
    assert again.fingerprint == BASE.fingerprint
    BASE.require_same(again, "it")
    source = SourceConfig.parse(
        {"columns": {"click": "label", "x": "numeric"}, "missing_values": ["?"]}, "test"
    )
    BASE.require_same(BASE.model_copy(update={"source": source}), "it")  # the source does not matter


def test_an_unknown_field_is_named() -> None:
    with pytest.raises(SchemaMismatchError, match="no field named 'x'; the fields are a, b, c, d"):
        BASE.indices(("a", "x"))


def test_a_long_difference_is_shortened() -> None:
    other = changed(0, vocabulary_digest="0123456789" * 9)
    with pytest.raises(SchemaMismatchError) as error:
        BASE.require_same(other, "it")
    assert "0123456789" * 9 not in str(error.value)
    assert isinstance(BASE.fields[0], Field)
