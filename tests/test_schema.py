import hashlib
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small import categorical_schema, schema_of

from ctrloom.config import Numeric, SourceConfig
from ctrloom.config.base import ConfigError
from ctrloom.schema import Cross, Field, Schema, SchemaMismatchError

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
    with pytest.raises(
        SchemaMismatchError, match=r"read differently: missing_values is \('\?',\) instead of"
    ):
        BASE.require_same(BASE.model_copy(update={"source": source}), "it")


@pytest.mark.parametrize(
    "update",
    [
        {"negatives_kept": 0.5},
        {"source": BASE.source.model_copy(update={"missing_values": ("", "?")})},
        {"source": BASE.source.model_copy(update={"header": False})},
        {"source": BASE.source.model_copy(update={"columns": dict(reversed(BASE.source.columns.items()))})},
        {"source": BASE.source.model_copy(update={"columns": {**BASE.source.columns, "a": Numeric()}})},
        {"crosses": (Cross(fields=("a", "d"), size=3, digest=""),)},
    ],
)
def test_the_fingerprint_covers_the_whole_file(update: dict[str, Any]) -> None:
    assert BASE.model_copy(update=update).fingerprint != BASE.fingerprint


def test_the_fingerprint_of_an_older_file_stays() -> None:
    older = BASE.model_copy(update={"version": 1})
    fields = [field.model_dump(mode="json") for field in BASE.fields]
    for field in fields:
        del field["pooling"], field["rare"]  # newer than these files
        if field["bucketing"]:
            field["bucketing"].pop("missing", None)
    parts = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    assert older.fingerprint == hashlib.sha256(parts.encode()).hexdigest()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("negatives_kept",), 0),
        (("negatives_kept",), 1.5),
        (("negatives_kept",), -0.1),
        (("fields", 0, "size"), 0),
        (("fields", 0, "size"), 2**31),
        (("fields", 1, "width"), 0),
        (("fields", 2, "boundaries"), [1e999]),
        (("fields", 0, "name"), "b"),
        (("fields", 3, "size"), 2**31 - 10),
        (("crosses",), [{"fields": ["a", "z"], "size": 2, "digest": ""}]),
        (("crosses",), [{"fields": ["a", "d"], "size": 0, "digest": ""}]),
        (("version",), 3),
    ],
)
def test_values_are_bounded(path: tuple[Any, ...], value: Any) -> None:
    raw = BASE.model_dump(mode="json")
    *inside, key = path
    at: Any = raw
    for part in inside:
        at = at[part]
    at[key] = value
    with pytest.raises(ConfigError, match=str(path[0])):
        Schema.parse(raw, "schema.json")


def test_an_unknown_field_is_named() -> None:
    with pytest.raises(SchemaMismatchError, match="no field named 'x'; the fields are a, b, c, d"):
        BASE.indices(("a", "x"))


def test_a_long_difference_is_shortened() -> None:
    other = changed(0, vocabulary_digest="0123456789" * 9)
    with pytest.raises(SchemaMismatchError) as error:
        BASE.require_same(other, "it")
    assert "0123456789" * 9 not in str(error.value)
    assert isinstance(BASE.fields[0], Field)
