"""Every number of a configuration has bounds, so that none can exhaust memory or time."""

import time
from collections.abc import Iterator
from typing import Any, get_args, get_origin

import pytest
from pydantic import BaseModel, RootModel
from pydantic.fields import FieldInfo

from ctrloom.architecture import Architecture
from ctrloom.config import METHODS, MODELS, ClusterConfig, CompareConfig, RunConfig, SourceConfig
from ctrloom.config.base import ConfigError, StrictModel
from ctrloom.config.combinations import combinations_of
from ctrloom.config.hardware import Hardware
from ctrloom.config.retraining import RetrainingConfig
from ctrloom.config.tuning import PlannedTrial, TuningJob
from ctrloom.data.synthetic import SynthConfig

ROOTS: list[type[BaseModel]] = [
    RunConfig,
    CompareConfig,
    RetrainingConfig,
    ClusterConfig,
    Hardware,
    SynthConfig,
    TuningJob,
    PlannedTrial,
    *(METHODS[name].config for name in METHODS),
    *(MODELS[name].settings for name in MODELS),
]


def leaves(annotation: Any, metadata: tuple[Any, ...]) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """Types without arguments in an annotation, and classes of models, each with what constrains it."""
    if hasattr(annotation, "__metadata__"):
        own = tuple(
            each
            for item in annotation.__metadata__
            for each in (item.metadata if isinstance(item, FieldInfo) else [item])
        )
        yield from leaves(annotation.__origin__, own)
    elif get_args(annotation):
        containers = (tuple, list, dict, set)
        inner = () if get_origin(annotation) in containers else metadata  # a union keeps them
        for each in get_args(annotation):
            yield from leaves(each, inner)
    else:
        yield annotation, metadata


def models(root: type[BaseModel], seen: dict[type[BaseModel], None]) -> dict[type[BaseModel], None]:
    """A model and those that it contains."""
    if root not in seen:
        seen[root] = None
        for field in root.model_fields.values():
            for kind, _ in leaves(field.annotation, ()):
                if isinstance(kind, type) and issubclass(kind, BaseModel):
                    models(kind, seen)
    return seen


def numbers(kinds: Iterator[type[BaseModel]]) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Every number in these models, with what constrains it."""
    for kind in kinds:
        for name, field in kind.model_fields.items():
            for leaf, constraints in leaves(field.annotation, tuple(field.metadata)):
                if leaf in (int, float):
                    yield f"{kind.__name__}.{name}", constraints


def has_bounds(constraints: tuple[Any, ...]) -> bool:
    below = any(getattr(each, name, None) is not None for each in constraints for name in ("ge", "gt"))
    above = any(getattr(each, name, None) is not None for each in constraints for name in ("le", "lt"))
    return below and above


EVERY: dict[type[BaseModel], None] = {}
for one in ROOTS:
    models(one, EVERY)


def test_every_number_has_bounds() -> None:
    found = list(numbers(iter(EVERY)))
    assert len(found) > 300, "all models were walked"
    assert sorted({name for name, constraints in found if not has_bounds(constraints)}) == []


def test_number_without_bounds_is_found() -> None:
    class Inner(StrictModel):
        free: tuple[int, ...] | None = None

    class Outer(StrictModel):
        inner: dict[str, Inner]

    found = numbers(iter(models(Outer, {})))
    assert [(name, has_bounds(constraints)) for name, constraints in found] == [("Inner.free", False)]


def test_every_model_rejects_other_types_than_declared() -> None:
    assert {kind for kind in EVERY if not issubclass(kind, StrictModel | RootModel)} == set()


COLUMNS = {"click": "label", "user": "categorical"}


@pytest.mark.parametrize(
    ("sections", "key"),
    [
        ({"models": {"default": {"embedding_size": 1e9}}}, "models.default.embedding_size: "),
        ({"models": {"fnn": {"hidden": [1e9]}}}, "models.fnn.hidden.0: "),
        ({"models": {"fnn": {"hidden": [8] * 100_000}}}, "models.fnn.hidden: "),
        ({"models": {"fm": {"epochs": 1e18}}}, "models.fm.epochs: "),
        ({"search": {"method": "autopi", "nodes": 1e8}}, "search.nodes: "),
        ({"search": {"random_draws": 1e9}}, "search.random_draws: "),
        ({"searches": {"autopi": {"nodes": 1e8}}}, "searches.autopi.nodes: "),
        ({"search": {"learning_rate": 1e300}}, "search.learning_rate: "),
        ({"evaluation": {"bootstrap": 1e12}}, "evaluation.bootstrap: "),
        ({"seeds": [-1]}, "seeds.0: "),
        ({"seeds": list(range(5000))}, "seeds: "),
        ({"tuning": {"trials": 1e9}}, "tuning.trials: "),
        ({"tuning": {"spaces": {"fm": {"embedding_size": [8, 1e9]}}}}, "tuning.spaces.fm.embedding_size: "),
        ({"vocabulary": {"bucketing": {"method": "equal_width", "buckets": 1e9}}}, "vocabulary.bucketing.b"),
        ({"data": {"columns": {**COLUMNS, "f0..f30000000": "numeric"}}}, "data: columns: 'f0..f30000000' is"),
        ({"data": {"columns": {**COLUMNS, "f0..f" + "9" * 300: "numeric"}}}, "data: columns: 'f0..f999"),
        (
            {"data": {"columns": {**COLUMNS, "f1..f9000": "numeric", "g1..g9000": "numeric"}}},
            "data: columns: 'g1..g9000' is a range of 9,000 columns, but there can be at most 10,000 in all",
        ),
    ],
)
def test_excessive_number_is_rejected_at_once_by_its_key(sections: dict[str, Any], key: str) -> None:
    data = {"files": "clicks.csv", "columns": COLUMNS, **sections.pop("data", {})}
    begun = time.perf_counter()
    with pytest.raises(ConfigError) as error:
        RunConfig.parse({"name": "test", "data": data, **sections}, "run.yaml")
    assert time.perf_counter() - begun < 1
    assert str(error.value).startswith(f"run.yaml: {key}")
    assert len(str(error.value)) < 1000


def test_combinations_that_cannot_be_listed_are_rejected_at_once() -> None:
    names = [f"f{i}" for i in range(500)]
    assert len(Architecture.complete(names[:5], (2, 3)).interactions) == 10 + 10
    begun = time.perf_counter()
    for orders in ((4,), (2, 3)):
        with pytest.raises(ConfigError, match=r"500 fields have [0-9,]+ combinations of [34], but at most"):
            Architecture.complete(names, orders)
    with pytest.raises(ConfigError, match="10,000 fields have 49,995,000 combinations of 2"):
        combinations_of(range(10_000), 2)
    assert time.perf_counter() - begun < 5


def test_list_of_too_many_columns_is_rejected() -> None:
    columns = [{"name": "y", "kind": "label"}, *({"name": f"f{i}", "kind": "numeric"} for i in range(10_001))]
    with pytest.raises(ConfigError, match=r"columns: .*10000"):
        SourceConfig.parse({"columns": columns}, "data")
