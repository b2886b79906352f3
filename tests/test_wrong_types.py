"""A value of another type at any key of a file that is read is an error of one line that names the file."""

import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from damage import outcome
from evaluation.invented_results import made_up_models, made_up_trace
from evaluation.test_results import DATA, LABELS
from small import LITTLE, edit_json, made_older

from ctrloom import storage
from ctrloom.architecture import Architecture, CellGraph, Edge, KeptPositions, Provenance
from ctrloom.config import EvaluationConfig, ModelsConfig
from ctrloom.data.dataset import Dataset
from ctrloom.data.manifest import EncodedManifest, IngestedManifest
from ctrloom.data.vocabulary.drift_baseline import DriftBaseline
from ctrloom.data.vocabulary.encode import load_schema
from ctrloom.evaluation.compare import Labels, compare_models
from ctrloom.evaluation.results import Results
from ctrloom.models.bundle import load_card
from ctrloom.runners import resume
from ctrloom.search_trace import SearchTrace
from ctrloom.serving.registry import Registry
from ctrloom.stages.promotion import promote
from ctrloom.training.plans import Plan, train_runs
from ctrloom.training.runs import open_runs
from ctrloom.tuning.record import Budget, Trial, TunedModel, Tuning

WRONG: list[Any] = [None, True, -1, 10**30, 1.5, "x", "", [], {}, [[]], [None], {"a": {}}]
PROVENANCE = {
    "data_fingerprint": "d",
    "schema_fingerprint": "s",
    "code_version": "0",
    "seed": 1,
    "config": {"a": 1},
    "search_seconds": 1,
}
MOST = 150  # of each file
Read = Callable[[Path], object]


def registry_of(path: Path) -> Registry:
    return Registry(next(each for each in path.parents if each.name == "registry"))


READERS: dict[str, Read] = {
    "ingested/manifest.json": IngestedManifest.load,
    "encoded/manifest.json": EncodedManifest.load,
    "encoded/schema.json": lambda path: load_schema(path.parent),
    "encoded/reference.json": lambda path: DriftBaseline.load(path.parent),
    "runs/runs.json": lambda path: open_runs(path.parent),
    "runs/lr/run.json": lambda path: [run.record.best_score for run in open_runs(path.parents[1])],
    "bundle/model.json": lambda path: load_card(path.parent),
    "found/architecture.json": Architecture.load,
    "found/search.json": SearchTrace.load,
    "metrics.json": lambda path: Results.load(path).best,
    "tuning.json": lambda path: Tuning.load(path.parent),
    "registry/champion.json": lambda path: registry_of(path).record(),
    "registry/version.json": lambda path: registry_of(path).versions(),
}


@pytest.fixture(scope="module")
def files(mixed: Dataset, mixed_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One file of each kind, without checksums, as older versions wrote them."""
    folder = tmp_path_factory.mktemp("files")
    (ingested,) = (mixed_folder / "store").glob("ingested-*")
    shutil.copytree(ingested, folder / "ingested")
    shutil.copytree(str(mixed.base), folder / "encoded")
    plan = Plan("lr", "LR", "baseline", "lr", (Architecture.complete(mixed.schema.names),))
    train_runs(
        mixed, [plan], ModelsConfig({"default": {**LITTLE.model_dump(), "epochs": 1}}), [0], folder / "runs"
    )
    open_runs(folder / "runs")[0].export(mixed, folder / "bundle")
    promote(str(folder / "registry"), folder / "bundle")
    trace = made_up_trace(third=True)
    names = trace.candidates[0].fields
    edges = [(Edge(source=a, target=b, operator="fm", strength=0.5),) for a, b in ((0, 1), (0, 2))]
    Architecture.complete(names).model_copy(
        update={
            "embedding_size": 4,
            "positions": (KeptPositions(field=names[0], order=2, function="inner", positions=(0, 2)),),
            "cells": CellGraph(nodes=1, interaction=edges[0], ensemble=edges[1]),
            "provenance": Provenance(
                data_fingerprint="d",
                schema_fingerprint="s",
                code_version="0",
                seed=1,
                config={"a": 1},
                search_seconds=1,
            ),
        }
    ).save(folder / "found" / "architecture.json")
    trace.save(folder / "found" / "search.json")
    scores = made_up_models(trace, tuple(2.0 * label - 1 for label in LABELS), 2)
    labels = [Labels(label, None) for label in LABELS]
    compare_models(scores, *labels, DATA, EvaluationConfig(base="fm", bootstrap=50), "0", {"a": 1}).save(
        folder / "metrics.json"
    )
    trials = (Trial(number=0, state="complete", settings={"epochs": 3}, scores=(0.5, 0.6), seconds=1.0),)
    budget = Budget(trials=1, sampler="random", pruner="none", metric="auc", seed=0)
    Tuning(budget=budget, models=(TunedModel(name="lr", model="lr", trials=trials),)).save(folder)
    for kind in ("ingested", "encoded"):
        base = str(folder / kind)
        edit_json(folder / kind / "manifest.json", lambda value, base=base: value.update(base=base))
    return made_older(folder)


def paths_in(value: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The place of every value in a JSON value; of lists, those in the first and the last entry."""
    if before:
        yield before
    if isinstance(value, dict):
        for key in value:
            yield from paths_in(value[key], (*before, key))
    elif isinstance(value, list):
        for place in sorted({0, len(value) - 1} if value else ()):
            yield from paths_in(value[place], (*before, place))


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """A copy with another value in a place."""
    if not path:
        return new
    copy = value.copy()
    copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy


@pytest.mark.parametrize("name", list(READERS))
def test_a_value_of_another_type_names_the_file(files: Path, name: str) -> None:
    at = (
        next((files / "registry").glob("versions/*/version.json")) if "version.json" in name else files / name
    )
    read, value = READERS[name], storage.read_json(at)
    assert read(at) is not None
    rejected, every = 0, [(path, wrong) for path in [(), *paths_in(value)] for wrong in WRONG]
    try:
        for path, wrong in random.Random(0).sample(every, min(len(every), MOST)):
            at.write_text(json.dumps(replaced(value, path, wrong)))
            rejected += outcome(lambda: read(at) or True, at.parent) is None
    finally:
        storage.write_json(at, value)
    assert rejected > len(WRONG)


@pytest.mark.parametrize("wrong", WRONG)
def test_a_note_of_a_stopped_run_of_another_type_starts_over(tmp_path: Path, wrong: Any) -> None:
    storage.write_json(tmp_path / resume.BEGUN, wrong)
    assert not resume.begin(tmp_path, {})
