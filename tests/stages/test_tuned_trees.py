"""GBDT whose settings draw rows or fields is trained with every seed, wherever these settings come from."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ctrloom import stages
from ctrloom.config import CompareConfig, ModelsConfig
from ctrloom.data.dataset import Dataset
from ctrloom.evaluation.results import Results
from ctrloom.stages.comparison import tabulate
from ctrloom.training.runs import open_by_name, open_runs
from ctrloom.tuning.record import Budget, Trial, TunedModel, Tuning

SEEDS = [3, 5]
RAW = {
    "default": {"embedding_size": 2, "hidden": (4,), "epochs": 1, "batch_size": 256},
    "gbdt": {"trees": 20, "min_rows_in_leaf": 5},
}
MODELS = ModelsConfig(RAW)
DRAWS = {"row_share": 0.5}
COMPARED: dict[str, Any] = {
    "name": "trees",
    "data": {"files": "clicks.csv", "columns": {"click": "label", "age": "categorical"}},
    "models": RAW,
    "seeds": SEEDS,
    "entries": [{"name": "lr", "model": "lr"}, {"name": "trees", "model": "gbdt"}],
    "evaluation": {"base": "lr", "bootstrap": 20},
}


@pytest.fixture
def tuned(tmp_path: Path) -> Callable[..., Path]:
    """Writes the tuning of models, in which the given settings were better than the configured ones."""

    def write(**best: dict[str, Any]) -> Path:
        budget = Budget(trials=2, sampler="random", pruner="none", metric="logloss", seed=0)
        models = [
            TunedModel(name=name, model="gbdt" if name == "trees" else name, trials=trials(settings))
            for name, settings in best.items()
        ]
        folder = tmp_path / "tuned"
        Tuning(budget=budget, models=tuple(models)).save(folder)
        return folder

    return write


def trials(best: dict[str, Any]) -> tuple[Trial, ...]:
    first = Trial(number=0, state="complete", settings={}, scores=(0.6,), seconds=1.0)
    return first, Trial(number=1, state="complete", settings=best, scores=(0.5,), seconds=1.0)


@pytest.mark.parametrize(
    ("settings", "once"), [({"leaves": 7}, True), (DRAWS, False), ({"field_share": 0.5}, False)]
)
@pytest.mark.parametrize("by_tuning", [True, False])
def test_one_of_two_steps_trains_the_trees(
    settings: dict[str, Any],
    once: bool,
    by_tuning: bool,
    mixed: Dataset,
    tuned: Callable[..., Path],
    tmp_path: Path,
) -> None:
    models = MODELS if by_tuning else MODELS.override("gbdt", settings)
    best = tuned(gbdt=settings, lr={}) if by_tuning else None
    for part, seeds, deterministic in (("once", [0], True), ("3", [3], False), ("5", [5], False)):
        stages.baselines(
            mixed.path,
            ["lr", "gbdt"],
            models,
            seeds,
            tmp_path / part,
            tuned=best,
            deterministic=deterministic,
        )
    trained = {part: {run.record.name for run in open_runs(tmp_path / part)} for part in ("once", "3", "5")}
    seeded = {"lr"} if once else {"lr", "gbdt"}
    assert trained == {"once": {"gbdt"} if once else set(), "3": seeded, "5": seeded}
    runs = open_by_name([tmp_path / part for part in trained])["gbdt"]
    assert [run.record.deterministic for run in runs] == ([True] if once else [False, False])
    files = [next(run.folder.rglob("*.safetensors")).read_bytes() for run in runs]
    assert len(set(files)) == len(files)


@pytest.mark.parametrize(
    ("tuning", "settings", "seeds"),
    [
        (None, {}, [3]),
        (None, DRAWS, SEEDS),
        ({}, {}, SEEDS),
        ({"spaces": {"gbdt": {"row_share": [], "field_share": []}}}, {}, [3]),
        ({"spaces": {"gbdt": {"row_share": [1.0], "field_share": []}}}, {}, [3]),
        ({"spaces": {"gbdt": {"row_share": [1.0], "field_share": []}}}, DRAWS, SEEDS),
    ],
)
def test_an_entry_has_all_seeds_if_its_settings_may_draw(
    tuning: dict[str, Any] | None, settings: dict[str, Any], seeds: list[int]
) -> None:
    entries = [COMPARED["entries"][0], {**COMPARED["entries"][1], "settings": settings}]
    config = CompareConfig.parse({**COMPARED, "entries": entries, "tuning": tuning}, "compare.yaml")
    assert [seed for entry, seed in config.jobs if entry.name == "trees"] == seeds
    assert [seed for entry, seed in config.jobs if entry.name == "lr"] == SEEDS


@pytest.mark.parametrize(("settings", "once"), [({"trees": 10}, True), (DRAWS, False)])
def test_a_compared_entry_uses_its_tuning(
    settings: dict[str, Any], once: bool, mixed: Dataset, tuned: Callable[..., Path], tmp_path: Path
) -> None:
    config = CompareConfig.parse({**COMPARED, "tuning": {"trials": 2}}, "compare.yaml")
    best, folders = tuned(lr={}, trees=settings), []
    for entry, seed in config.jobs:
        folders.append(tmp_path / entry.name / str(seed))
        assert stages.run_job(mixed.path, entry, seed, config.models, folders[-1], best)
        assert not stages.run_job(mixed.path, entry, seed, config.models, folders[-1], best)
    tabulate(mixed.path, config, folders, tmp_path / "out", bundles=tmp_path / "bundles", tuned=best)
    trees = Results.load(tmp_path / "out" / "metrics.json").model("trees")
    assert settings.items() <= trees.hyperparameters.items()
    assert trees.deterministic is once
    assert [each.seed for each in trees.seeds] == (SEEDS[:1] if once else SEEDS)
    assert (trees.summary["test"]["auc"].sd is None) is once
    page = (tmp_path / "out" / "comparison.html").read_text()
    if "trees" in settings:  # ten are too few to see an end
        assert trees.limited_by == "tuning.spaces.gbdt.trees"
        assert "this comparison is not valid" in page
        assert "tuning.spaces.gbdt.trees" in page
    assert ("GBDT: trained once." in page) is once
    assert "same budget: 2 trials" in page
