import json
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small import categorical_schema

from ctrloom import storage
from ctrloom.architecture import Architecture, Interaction, Provenance
from ctrloom.config.base import ConfigError
from ctrloom.schema import SchemaMismatchError

NAME = st.text(min_size=1, max_size=8)


@st.composite
def architectures(draw: st.DrawFn) -> Architecture:
    fields = tuple(draw(st.lists(NAME, min_size=2, max_size=6, unique=True)))
    every = [t for order in range(2, len(fields) + 1) for t in combinations(fields, order)]
    chosen = draw(st.lists(st.sampled_from(every), unique=True))
    score = st.none() | st.floats(allow_nan=False, allow_infinity=False)
    interactions = tuple(Interaction(fields=t, score=draw(score)) for t in chosen)
    provenance = Provenance(
        data_fingerprint="d",
        schema_fingerprint="s",
        code_version="0",
        seed=1,
        config={"c": [1, None]},
        search_seconds=0.5,
    )
    given_provenance = draw(st.sampled_from([None, provenance]))
    return Architecture(
        method=draw(NAME), fields=fields, interactions=interactions, provenance=given_provenance
    )


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(architecture=architectures())
def test_file_round_trip(architecture: Architecture, tmp_path: Path) -> None:
    architecture.save(tmp_path / "architecture.json")
    assert Architecture.load(tmp_path / "architecture.json") == architecture


@settings(deadline=None)
@given(architecture=architectures())
def test_orders_partition_the_interactions(architecture: Architecture) -> None:
    split = [t for order in architecture.orders for t in architecture.of_order(order)]
    assert sorted(split) == sorted(i.fields for i in architecture.interactions)
    assert list(architecture.orders) == sorted({len(t) for t in split})


def test_of_order_returns_schema_order() -> None:
    shuffled = (("c", "d"), ("a", "d"), ("b", "c"), ("a", "b", "c"), ("a", "b"))
    architecture = Architecture(
        method="m", fields=("a", "b", "c", "d"), interactions=tuple(Interaction(fields=t) for t in shuffled)
    )
    assert architecture.of_order(2) == (("a", "b"), ("a", "d"), ("b", "c"), ("c", "d"))
    assert architecture.indices(categorical_schema(4), 2) == ((0, 1), (0, 3), (1, 2), (2, 3))
    assert architecture.indices(categorical_schema(4), 3) == ((0, 1, 2),)


def test_schema_order_is_not_the_alphabet() -> None:
    architecture = Architecture.complete(("z", "a", "m"))
    assert architecture.of_order(2) == (("z", "a"), ("z", "m"), ("a", "m"))


@pytest.mark.parametrize(
    ("interactions", "message"),
    [
        ([["a", "x"]], "unknown field 'x'"),
        ([["b", "a"]], "must list at least two fields, in field order"),
        ([["a", "a"]], "must list at least two fields, in field order"),
        ([["a"]], "must list at least two"),
        ([[]], "must list at least two"),
        ([["a", "b"], ["a", "b"]], "duplicate"),
    ],
)
def test_invalid_interactions_are_refused(
    interactions: list[list[str]], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "architecture.json"
    value = {"method": "m", "fields": ["a", "b", "c"], "interactions": [{"fields": t} for t in interactions]}
    path.write_text(json.dumps(value))
    with pytest.raises(ConfigError, match=message) as error:
        Architecture.load(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("{", storage.StorageError, "is not JSON"),
        ('{"method": "m", "fields": [], "interaction": []}', ConfigError, "did you mean 'interactions'"),
        ('{"version": 2, "method": "m", "fields": [], "interactions": []}', ConfigError, "version"),
    ],
)
def test_damaged_file_raises(text: str, error: type[Exception], message: str, tmp_path: Path) -> None:
    (tmp_path / "architecture.json").write_text(text)
    with pytest.raises(error, match=message):
        Architecture.load(tmp_path / "architecture.json")


@pytest.mark.parametrize("orders", [(2,), (3,), (2, 3)])
def test_complete_has_every_interaction(orders: tuple[int, ...]) -> None:
    names = ("a", "b", "c", "d", "e")
    expected = {t for order in orders for t in combinations(names, order)}
    assert {i.fields for i in Architecture.complete(names, orders).interactions} == expected


def test_unknown_field_is_a_schema_mismatch() -> None:
    with pytest.raises(SchemaMismatchError, match="no field named 'x'"):
        Architecture.complete(("a", "x")).indices(categorical_schema(3), 2)
