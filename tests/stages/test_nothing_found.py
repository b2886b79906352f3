"""A search that keeps nothing: every stage after it still works, and the report draws the conclusion."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ctrloom import stages, storage
from ctrloom.architecture import Architecture
from ctrloom.config import (
    METHODS,
    AIMConfig,
    EvaluationConfig,
    MethodConfig,
    ModelsConfig,
    OptInterConfig,
    SelectionConfig,
)
from ctrloom.config import MODELS as ENTRIES
from ctrloom.config.search import search_config
from ctrloom.config.tuning import TuningConfig, TuningJob
from ctrloom.data.dataset import Dataset
from ctrloom.methods.controls import selection_controls
from ctrloom.methods.interface import SearchResult
from ctrloom.models import build
from ctrloom.models.bundle import load_bundle
from ctrloom.search_trace import Candidate, SearchTrace
from ctrloom.stages.bundles import Best
from ctrloom.stages.search_stage import TRACE, search_data, write_result
from ctrloom.training.loop import score
from ctrloom.training.runs import open_runs

SETTINGS = {
    "embedding_size": 4,
    "hidden": (8,),
    "epochs": 40,
    "patience": 1,
    "batch_size": 200,
    "learning_rate": 0.03,
}
MODELS = ModelsConfig({"default": SETTINGS})
CONFIGS: dict[str, MethodConfig] = {
    "autofm": search_config({"method": "autofis", "random_draws": 2}),
    "autodeepfm": SelectionConfig(method="statistics_auc", base="autodeepfm", keep={2: 1}),
    "aim": AIMConfig(random_draws=2),
    "optinter": OptInterConfig(random_draws=2),
}


def nothing(dataset: Dataset, config: MethodConfig, functions: tuple[Any, ...] = ("inner",)) -> SearchResult:
    """The result of a search that scored all pairs and kept none."""
    every = Architecture.complete(dataset.schema.names, functions=functions)
    trace = SearchTrace(
        method=config.method,
        base=config.base,
        orders=(2,),
        candidates=tuple(
            Candidate(fields=i.fields, function=i.function, score=0.0, kept=False, statistics_auc=0.5)
            for i in every.interactions
        ),
        seconds=1.0,
        rows_per_second=1.0,
        hyperparameters={},
    )
    found = Architecture(method=config.method, fields=every.fields, interactions=())
    controls = selection_controls(found, trace, [(0, 0), (0, 1)])
    if config.base == "optinter":
        controls = {"random": [every, found], "all-hadamard": [every]}
    return SearchResult(found, trace, {n: c for n, c in controls.items() if n in config.controls})


@pytest.fixture(scope="module", params=list(CONFIGS))
def run(request: pytest.FixtureRequest, mixed: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders of a run, up to the bundles."""
    folder, config = tmp_path_factory.mktemp("nothing"), CONFIGS[request.param]
    manifest, found = mixed.base / "manifest.json", folder / "search"
    functions = ("hadamard",) if config.base == "optinter" else ("inner",)
    write_result(nothing(mixed, config, functions), mixed, config, MODELS.of(config.base), found)
    stages.retrain(manifest, found, MODELS, [0, 1], folder / "retrained")
    stages.transfer(manifest, found, ["ipnn", "deepfm"], MODELS, [0, 1], folder / "transferred")
    stages.baselines(manifest, ["lr", "fm"], MODELS, [0, 1], folder / "baselines")
    parts = ([folder / part] for part in ("retrained", "transferred", "baselines"))
    outputs = (folder / name for name in ("best", "others", "bundles"))
    stages.bundle(manifest, *parts, ["ipnn-transfer", "fm"], *outputs)
    return folder


def test_no_control_of_size_zero_is_written(run: Path) -> None:
    controls = [Architecture.load(path) for path in (run / "search" / "controls").rglob("*.json")]
    assert controls
    assert not [control for control in controls if control.is_empty]
    names = {run.record.name.partition("-")[2] for run in open_runs(run / "retrained")}
    assert names in ({"", "unpruned"}, {"", "random", "all-hadamard"})


def test_nothing_is_transferred(run: Path) -> None:
    assert open_runs(run / "transferred") == []
    assert list((run / "others").iterdir()) == []
    assert load_bundle(run / "best").architecture.is_empty
    assert storage.read_record(run / "bundles" / "best.json", Best).bundles == ("fm",)
    assert {path.name for path in (run / "bundles").iterdir()} == {"best", "best.json", "fm"}


def test_what_is_not_trained_is_not_tuned(run: Path, mixed: Dataset, tmp_path: Path) -> None:
    base, manifest = SearchTrace.load(run / "search" / TRACE).base, mixed.base / "manifest.json"
    targets = [
        {"name": base, "model": base, "found": True},
        {"name": "ipnn-transfer", "model": "ipnn", "found": True, "transferred": True},
        {"name": "fm", "model": "fm"},
    ]
    job = TuningJob.model_validate({"targets": targets, "models": {"default": {**SETTINGS, "epochs": 1}}})
    settings = TuningConfig(trials=2)
    tuning = stages.tune(manifest, job, settings, tmp_path / "studies", tmp_path, run / "search")
    assert [len(model.trials) for model in tuning.models] == [2, 1, 2]
    given: dict[str, Any] = {"seeds": [0], "tuned": tmp_path}
    stages.retrain(manifest, run / "search", job.models, output=tmp_path / "retrained", controls=[], **given)
    stages.transfer(manifest, run / "search", ["ipnn"], job.models, output=tmp_path / "moved", **given)
    stages.baselines(manifest, ["fm"], job.models, output=tmp_path / "plain", **given)
    folders = [tmp_path / part for part in ("retrained", "moved", "plain")]
    judged = EvaluationConfig(bootstrap=20, base="ipnn-transfer")
    results = stages.evaluate(
        manifest, run / "search", folders, [0], judged, "tuned", {}, tmp_path / "evaluation", tmp_path
    )
    assert results.tuning is not None
    assert [model.name for model in results.tuning.models] == [base, "fm"]
    assert {model.limited_by for model in results.models} == {f"models.{base}.epochs", "models.fm.epochs"}


def evaluated(mixed: Dataset, run: Path, parts: tuple[str, ...], output: Path) -> Any:
    folders = [run / part for part in parts]
    config = {"transfer": ["ipnn", "deepfm"]}
    given = EvaluationConfig(bootstrap=100, base="ipnn-transfer")  # which was not trained
    return stages.evaluate(
        mixed.base / "manifest.json", run / "search", folders, [0, 1], given, "test", config, output
    )


def test_the_base_is_the_model_without_interactions(mixed: Dataset, run: Path, tmp_path: Path) -> None:
    base = SearchTrace.load(run / "search" / "search.json").base
    results = evaluated(mixed, run, ("retrained", "transferred", "baselines"), tmp_path / "out")
    assert results.base == ("lr" if base in ("autofm", "aim") else base)
    page, text = ((tmp_path / "out" / name).read_text() for name in ("report.html", "summary.md"))
    for said in ("No interaction found", "Nothing was transferred: there is no interaction to transfer."):
        assert said in page
        assert said in text
    assert ", not to evaluation.base (ipnn-transfer)." in text


def test_the_retrained_model_is_the_base_if_its_equal_is_missing(
    mixed: Dataset, run: Path, tmp_path: Path
) -> None:
    base = SearchTrace.load(run / "search" / "search.json").base
    results = evaluated(mixed, run, ("retrained",), tmp_path / "out")
    assert results.base == base
    assert (
        "which has no interactions, not to evaluation.base" in (tmp_path / "out" / "summary.md").read_text()
    )


@pytest.mark.parametrize("base", list(CONFIGS))
def test_an_empty_architecture_scores_like_the_model_it_equals(mixed: Dataset, base: str) -> None:
    equal = ENTRIES[base].without_interactions
    assert equal is not None
    empty = Architecture(method="test", fields=mixed.schema.names, interactions=())
    own = {**SETTINGS, "layer_norm": False} if base == "optinter" else SETTINGS
    mine, other = (
        build(name, empty, mixed.schema, ModelsConfig({name: settings}).of(name))
        for name, settings in ((base, own), (equal, SETTINGS))
    )
    for parameter in other.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    assert mine.load_state_dict(other.state_dict(), strict=False).unexpected_keys == []
    rows = mixed.rows("test")
    np.testing.assert_allclose(score(mine, rows), score(other, rows), atol=1e-6)


def test_aim_skips_its_second_stage(mixed: Dataset, tmp_path: Path) -> None:
    config, manifest = AIMConfig(batch_size=200, epochs=1, embedding_epochs=1), mixed.base / "manifest.json"
    write_result(nothing(mixed, config), mixed, config, MODELS.of("aim"), tmp_path / "first")
    second = stages.aim_search_embeddings(manifest, tmp_path / "first", config, MODELS, tmp_path / "second")
    assert second.is_empty
    assert second.embedding_size is None
    names = [path.name for path in (tmp_path / "second" / "controls").iterdir()]
    assert names == ["unpruned"]


def test_aim_second_stage_that_keeps_nothing_has_no_random_control(mixed: Dataset, tmp_path: Path) -> None:
    lengths = {"batch_size": 200, "epochs": 2, "embedding_epochs": 2}
    alone = {"confirm": False, "permuted": 0, "threshold": 0.5}
    config = AIMConfig(embedding_threshold=60.0, random_draws=1, **lengths, **alone)
    settings = MODELS.of("aim")
    found = METHODS["aim"].find(search_data(mixed, settings), config, settings)
    assert found.architecture.is_empty
    assert set(found.controls) == {"unpruned", "whole-embeddings"}
