"""Search spaces: the default ones, and what a configuration changes in them."""

from typing import Any

import pytest

import ctrloom
from ctrloom.config import MODELS, CompareConfig, Hyperparameters, RunConfig
from ctrloom.config.base import ConfigError
from ctrloom.config.tuning import (
    COMMON,
    TuningConfig,
    _spaces,
    default_space,
    require_settings,
)
from ctrloom.tuning.record import Budget
from ctrloom.tuning.sampling import ask

BUDGET = Budget.of(TuningConfig(trials=20, sampler="random"))


def test_every_model_has_a_space() -> None:
    assert set(_spaces()) == {COMMON, *MODELS.built_in}


@pytest.mark.parametrize("name", sorted(MODELS.built_in))
def test_a_default_space_draws_valid_settings(name: str) -> None:
    space, kind = TuningConfig().space(name), MODELS[name].settings
    require_settings(kind, space, name)
    trials = [_Done()]
    for number in range(1, 20):
        _, settings = ask(name, kind(), space, BUDGET, trials * number)  # type: ignore[arg-type]
        assert set(settings) == set(space)
        drawn = kind.parse(settings, name)
        for key, dimension in space.items():
            if dimension.choices is not None:
                assert settings[key] in dimension.choices
            else:
                assert dimension.low <= getattr(drawn, key) <= dimension.high  # type: ignore[operator]


class _Done:
    """A trial that says nothing about later ones."""

    state, score, settings, scores = "failed", None, dict[str, Any](), ()


def test_embeddings_and_perceptrons_are_tuned_where_a_model_has_them() -> None:
    assert {"embedding_size", "embedding_l2", "learning_rate", "batch_size"} == set(default_space("fm"))
    assert {"hidden", "dropout", "batch_norm"} <= set(default_space("deepfm"))
    assert {"leaves", "tree_learning_rate", "category_smoothing"} <= set(default_space("gbdt"))
    assert "embedding_size" not in default_space("lr")
    assert {"cross_l2", "cross_embedding_size"} <= set(TuningConfig().space("optinter"))
    assert "batch_norm" not in TuningConfig().space("optinter"), "it excludes layer_norm"


def test_a_model_of_a_plugin_has_the_common_space(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MODELS, "entries", dict(MODELS.entries))
    ctrloom.register_model("mine", "Mine", lambda *_: None, Hyperparameters)
    assert TuningConfig().space("mine") == default_space(COMMON)
    assert set(TuningConfig.parse({"spaces": {"mine": {"epochs": [5]}}}, "tuning").space("mine")) == {
        *default_space(COMMON),
        "epochs",
    }


def test_a_configuration_replaces_settings_of_a_space() -> None:
    raw = {"fm": {"embedding_size": [64, 128], "batch_size": [], "epochs": {"low": 5, "high": 9}}}
    space = TuningConfig.parse({"spaces": raw}, "tuning").space("fm")
    assert space["embedding_size"].choices == (64, 128)
    assert "batch_size" not in space
    assert space["learning_rate"] == default_space("fm")["learning_rate"]
    _, settings = ask("fm", Hyperparameters(), space, BUDGET, [_Done()])  # type: ignore[list-item]
    assert isinstance(settings["epochs"], int)
    assert isinstance(settings["learning_rate"], float)


@pytest.mark.parametrize(
    ("spaces", "message"),
    [
        ({"fmm": {}}, "tuning.spaces.fmm: must be .* not 'fmm'; did you mean"),
        ({"fm": {"learning_rat": [0.1]}}, "tuning.spaces.fm.learning_rat: unknown key .* 'learning_rate'"),
        ({"fm": {"hiden": []}}, "tuning.spaces.fm.hiden: unknown key 'hiden'; did you mean 'hidden'"),
        ({"fm": {"leaves": [3]}}, "tuning.spaces.fm.leaves: unknown key 'leaves'"),
        ({"fm": {"embedding_size": [8, 0]}}, "tuning.spaces.fm.embedding_size: .*greater than or equal to 1"),
        (
            {"fm": {"embedding_size": {"low": 4.5, "high": 9}}},
            "fm.embedding_size: must be a whole number",
        ),
        ({"fm": {"dropout": {"low": 0, "high": 1}}}, "tuning.spaces.fm.dropout: .*less than 1"),
        ({"fm": {"dropout": {"low": 0.5, "high": 0.1}}}, "dropout: low: 0.5 is not below high"),
        ({"fm": {"dropout": {"low": 0, "high": 0.1, "log": True}}}, "dropout: low: log needs a positive"),
        ({"fm": {"dropout": {"low": 0}}}, "dropout: give a list of values, or low and high"),
        ({"fm": {"dropout": {"lo": 0, "high": 0.1}}}, "unknown key 'lo'; did you mean 'low'"),
    ],
)
def test_a_wrong_space_names_its_key(spaces: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RunConfig.parse({**SECTIONS, "tuning": {"spaces": spaces}}, "run.yaml")


SECTIONS: dict[str, Any] = {
    "name": "small",
    "data": {"files": "clicks.csv", "columns": {"click": "label", "a": "categorical", "b": "categorical"}},
    "seeds": [4, 5],
}


def test_every_model_of_a_run_is_tuned_once() -> None:
    run = RunConfig.parse({**SECTIONS, "baselines": ["lr", "fm"], "transfer": ["ipnn"], "tuning": {}}, "run")
    targets = [(t.name, t.model, t.found, job.seed) for job in run.tuning_jobs() for t in job.targets]
    assert targets == [
        ("lr", "lr", False, 4),
        ("fm", "fm", False, 4),
        ("autofm", "autofm", True, 4),
        ("ipnn-transfer", "ipnn", True, 4),
    ]
    assert [job.search for job in run.tuning_jobs()] == [None] * 4


def test_every_entry_of_a_comparison_is_tuned_once() -> None:
    entries = [
        {"name": "wide", "model": "fm", "orders": [2, 3], "settings": {"embedding_size": 32}},
        {
            "name": "found",
            "search": {},
            "controls": ["random"],
            "transfer": [{"model": "ipnn", "of": "selection"}, "ipnn", {"model": "fm", "of": "random"}],
        },
    ]
    raw = {**SECTIONS, "entries": entries, "evaluation": {"base": "wide"}, "tuning": {"trials": 3}}
    wide, found = CompareConfig.parse(raw, "compare").tuning_jobs()
    assert wide.targets[0].orders == (2, 3)
    assert wide.models.of("fm").embedding_size == 32
    assert [(target.name, target.found) for target in found.targets] == [
        ("found", True),
        ("found-random-fm", True),
        ("found-ipnn", True),
    ]
    assert found.search is not None
    assert (found.search.seed, found.search.random_draws, found.seed) == (4, 0, 4)


@pytest.mark.parametrize(
    ("model", "found", "message"),
    [
        ("lr", True, "tune: lr cannot be trained over what this search found"),
        ("aim", False, "tune: aim cannot be trained without the result of a search"),
        ("fmm", False, "model: must be .* not 'fmm'"),
    ],
)
def test_a_model_that_cannot_be_tuned_is_named(model: str, found: bool, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RunConfig.parse(SECTIONS, "run").tuning_jobs_of(model, found)


def test_a_single_model_need_not_be_in_the_run() -> None:
    run = RunConfig.parse(SECTIONS, "run")
    names = [
        run.tuning_jobs_of(model, found)[0].targets[0].name
        for model, found in (("gbdt", False), ("pin", True), ("autofm", True))
    ]
    assert names == ["gbdt", "pin-transfer", "autofm"]
