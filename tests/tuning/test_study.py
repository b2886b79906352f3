"""A study on a loss with a known minimum, instead of trainings."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ctrloom import storage
from ctrloom.config import Hyperparameters
from ctrloom.config.base import ConfigError
from ctrloom.config.errors import UserError
from ctrloom.config.tuning import TuningConfig
from ctrloom.training.history import AfterEpoch, Epoch, History
from ctrloom.training.loop import DivergedError
from ctrloom.tuning.record import Budget, Trial, TunedModel, Tuning, merged
from ctrloom.tuning.sampling import draw
from ctrloom.tuning.study import Subject, tune

BEST = {"learning_rate": 0.004, "embedding_size": 16}
SPACE = {
    "learning_rate": {"low": 1e-4, "high": 0.1, "log": True},
    "embedding_size": [4, 8, 16, 32],
    "hidden": [[8], [8, 8]],
}


def loss_of(settings: Hyperparameters) -> float:
    """0.3 at the planted best point, more everywhere else."""
    off = math.log10(settings.learning_rate / BEST["learning_rate"])
    return 0.3 + 0.1 * off**2 + 0.02 * abs(math.log2(settings.embedding_size / BEST["embedding_size"]))


class Trainer:
    """Stands for training: the loss of the settings, approached over the epochs."""

    def __init__(self, loss: Callable[[Hyperparameters], float] = loss_of, stop_at: int | None = None):
        self.loss, self.stop_at, self.titles, self.epochs = loss, stop_at, list[str](), list[int]()

    def __call__(self, settings: Hyperparameters, after_epoch: AfterEpoch, title: str) -> History:
        self.titles.append(title)
        if len(self.titles) == self.stop_at:
            raise KeyboardInterrupt
        self.epochs.append(0)
        for epoch in range(1, 6):
            loss = self.loss(settings) + 0.5**epoch
            best = Epoch(epoch=epoch, train_logloss=loss, valid_auc=1 - loss, valid_logloss=loss)
            self.epochs[-1] = epoch
            after_epoch(epoch, best)
        return History(epochs=(best,), best=1, seconds=1.0, rows_per_second=1.0)


def study(trainer: Trainer, folder: Path, **config: Any) -> TunedModel:
    chosen = TuningConfig.parse({"spaces": {"fm": SPACE}, "pruner": "none", **config}, "tuning")
    subject = Subject(
        name="fm",
        model="fm",
        configured=Hyperparameters(learning_rate=0.1, embedding_size=4),
        space={key: chosen.spaces["fm"][key] for key in SPACE},
        train=trainer,
        trained_on=("data",),
    )
    return tune(subject, Budget.of(chosen), folder)


def without_clock(tuned: TunedModel) -> list[dict[str, Any]]:
    return [trial.model_dump(exclude={"seconds"}) for trial in tuned.trials]


@pytest.mark.parametrize(("sampler", "metric"), [("tpe", "logloss"), ("tpe", "auc"), ("random", "logloss")])
def test_the_planted_best_point_is_found(sampler: str, metric: Any, tmp_path: Path) -> None:
    tuned = study(Trainer(), tmp_path, sampler=sampler, metric=metric, trials=40)
    best = tuned.best(metric)
    assert best.settings["embedding_size"] == BEST["embedding_size"]
    assert abs(math.log10(best.settings["learning_rate"] / BEST["learning_rate"])) < 0.3
    assert len(tuned.trials) == 40


def test_tpe_learns_from_earlier_trials(tmp_path: Path) -> None:
    means = {}
    for sampler in ("tpe", "random"):
        tuned = study(Trainer(), tmp_path, sampler=sampler, trials=50)
        means[sampler] = sum(trial.scores[-1] for trial in tuned.trials[25:]) / 25
    floor = 0.3 + 0.5**5
    assert means["tpe"] - floor < 0.75 * (means["random"] - floor)


def test_the_first_trial_has_the_configured_settings(tmp_path: Path) -> None:
    def worse(settings: Hyperparameters) -> float:
        return 0.2 if (settings.learning_rate, settings.embedding_size) == (0.1, 4) else 0.9

    tuned = study(Trainer(worse), tmp_path, trials=6)
    assert tuned.best("logloss") == tuned.trials[0]
    assert tuned.trials[0].settings == {}
    assert all(set(trial.settings) == set(SPACE) for trial in tuned.trials[1:])


@pytest.mark.parametrize("sampler", ["tpe", "random"])
@pytest.mark.parametrize("pruner", ["median", "none"])
def test_a_stopped_study_ends_as_one_that_was_not_stopped(sampler: str, pruner: str, tmp_path: Path) -> None:
    options = {"sampler": sampler, "pruner": pruner, "trials": 20}
    whole = study(Trainer(), tmp_path / "whole", **options)
    for stop_at in (1, 8, 6):
        with pytest.raises(KeyboardInterrupt):
            study(Trainer(stop_at=stop_at), tmp_path / "stopped", **options)
    rest = Trainer()
    assert without_clock(study(rest, tmp_path / "stopped", **options)) == without_clock(whole)
    assert len(rest.titles) == 20 - 7 - 5
    assert rest.titles[0] == "fm, trial 13 of 20"


def test_a_finished_study_is_not_run_again(tmp_path: Path) -> None:
    first, again = Trainer(), Trainer()
    assert study(first, tmp_path, trials=7) == study(again, tmp_path, trials=7)
    assert (len(first.titles), len(again.titles)) == (7, 0)
    for changed in ({"seed": 1}, {"metric": "auc"}, {"trials": 8}, {"sampler": "random"}):
        other = Trainer()
        study(other, tmp_path, **{"trials": 7, **changed})
        assert len(other.titles) == (8 if "trials" in changed else 7), changed


def test_seeds_draw_different_trials(tmp_path: Path) -> None:
    drawn = [
        [trial.settings for trial in study(Trainer(), tmp_path / str(n), seed=seed, trials=15).trials]
        for n, seed in enumerate((3, 3, 4))
    ]
    assert drawn[0] == drawn[1]
    assert all(a != b for a, b in zip(drawn[0][1:], drawn[2][1:], strict=True))


def test_random_draws_cover_the_space(tmp_path: Path) -> None:
    tuned = study(Trainer(), tmp_path, sampler="random", trials=121)
    sizes = [trial.settings["embedding_size"] for trial in tuned.trials[1:]]
    assert all(18 < sizes.count(size) < 42 for size in SPACE["embedding_size"])  # type: ignore[attr-defined]
    rates = sorted(math.log10(trial.settings["learning_rate"]) for trial in tuned.trials[1:])
    for share in (0.25, 0.5, 0.75):  # uniform in the logarithm from -4 to -1
        assert abs(rates[int(120 * share)] - (-4 + 3 * share)) < 0.4


def test_bad_trials_are_pruned_and_recorded(tmp_path: Path) -> None:
    trainer = Trainer()
    tuned = study(trainer, tmp_path, pruner="median", trials=30)
    pruned = [trial for trial in tuned.trials if trial.state == "pruned"]
    assert len(pruned) == tuned.count("pruned") >= 5
    assert not any(trial.state == "pruned" for trial in tuned.trials[:5])
    for trial in tuned.trials:
        assert trainer.epochs[trial.number] == len(trial.scores) == (5 if trial.state == "complete" else 2)
    for trial in pruned:  # by the definition of the median rule
        assert trial.score is None
        assert "worse than the median" in trial.reason
        before = sorted(
            each.scores[len(trial.scores) - 1]
            for each in tuned.trials[: trial.number]
            if each.state == "complete"
        )
        middle = (before[len(before) // 2] + before[(len(before) - 1) // 2]) / 2
        assert trial.scores[-1] > middle
    assert tuned.best("logloss").state == "complete"


def test_a_diverged_trial_is_a_failed_one(tmp_path: Path) -> None:
    def loss(settings: Hyperparameters) -> float:
        if settings.learning_rate > 0.01:
            raise DivergedError("training diverged in epoch 1: logits are not finite")
        return loss_of(settings)

    tuned = study(Trainer(loss), tmp_path, trials=20)
    failed = [trial for trial in tuned.trials if trial.state == "failed"]
    assert 0 < tuned.count("failed") < 20
    assert failed[0].number == 0, "the configured rate is 0.1"
    assert all("diverged" in trial.reason and not trial.scores for trial in failed)
    assert tuned.best("logloss").settings["learning_rate"] <= 0.01


def test_if_all_trials_fail_the_reason_is_named(tmp_path: Path) -> None:
    def loss(settings: Hyperparameters) -> float:
        raise DivergedError("training diverged in epoch 1")

    tuned = study(Trainer(loss), tmp_path, trials=3)
    with pytest.raises(UserError, match=r"fm: none of 3 trials is complete: training diverged .* models.fm"):
        tuned.best("logloss")


def norms_of(folder: Path, space: dict[str, Any], **config: Any) -> list[tuple[bool, bool]]:
    """Batch norm and layer norm of the trials of a model with layer norm, all of which are complete."""
    chosen = TuningConfig.parse({"trials": 12, **config, "spaces": {"fnn": space}}, "tuning")
    configured, trained = Hyperparameters(layer_norm=True), list[Hyperparameters]()

    def loss(settings: Hyperparameters) -> float:
        trained.append(settings)
        return 0.3 + 0.1 * settings.batch_norm

    subject = Subject("fnn", "fnn", configured, chosen.space("fnn"), Trainer(loss), ())
    tuned = tune(subject, Budget.of(chosen), folder)
    assert {trial.state for trial in tuned.trials} <= {"complete", "pruned"}
    assert len(tuned.trials) == 12
    drawn = draw("fnn", configured, subject.space, Budget.of(chosen.in_parallel))
    return [
        *((settings.batch_norm, settings.layer_norm) for settings in trained),
        *((each.get("batch_norm", False), each.get("layer_norm", True)) for each in drawn),
    ]


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_no_trial_has_settings_that_exclude_each_other(sampler: str, tmp_path: Path) -> None:
    assert set(norms_of(tmp_path / "fixed", {}, sampler=sampler)) == {(False, True)}
    both = norms_of(tmp_path / "both", {"layer_norm": [False, True]}, sampler=sampler)
    assert set(both) == {(False, False), (False, True), (True, False)}


def test_a_space_without_valid_settings_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"tuning.spaces.fnn: has no valid .*batch_norm and layer_norm"):
        norms_of(tmp_path, {"batch_norm": [True]})


def test_no_space_is_one_trial(tmp_path: Path) -> None:
    trainer = Trainer()
    subject = Subject("fm", "fm", Hyperparameters(), {}, trainer, ())
    tuned = tune(subject, Budget.of(TuningConfig()), tmp_path)
    assert [trial.settings for trial in tuned.trials] == [{}]


def test_the_budget_in_seconds_ends_a_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("ctrloom.training.checkpoints.stage.time.perf_counter", lambda: now[0])

    def loss(settings: Hyperparameters) -> float:
        now[0] += 1  # an epoch takes a second
        return loss_of(settings)

    tuned = study(Trainer(loss), tmp_path / "12", trials=30, seconds=12)
    assert [(trial.state, trial.seconds) for trial in tuned.trials] == [
        ("complete", 5),
        ("complete", 5),
        ("pruned", 2),
    ]
    assert tuned.trials[-1].reason == "out of time after epoch 2"
    tuned = study(Trainer(loss), tmp_path / "1", trials=30, seconds=1)
    assert [(trial.state, trial.seconds) for trial in tuned.trials] == [("complete", 5)], "the first is whole"


def trial(number: int, score: float = 0.5, seconds: float = 1.0) -> Trial:
    return Trial(number=number, state="complete", settings={}, scores=(score,), seconds=seconds)


def part(name: str, *trials: Trial, **budget: Any) -> Tuning:
    spent = Budget.of(TuningConfig.parse({"trials": 5, "seconds": 10, **budget}, "tuning"))
    return Tuning(budget=spent, models=(TunedModel(name=name, model="fm", trials=trials),))


def test_parts_are_merged_by_model_and_trial() -> None:
    whole = merged([part("a", trial(2), trial(0)), part("b", trial(0)), Tuning(), part("a", trial(1, 0.3))])
    assert {model.name: [each.number for each in model.trials] for model in whole.models} == {
        "a": [0, 1, 2],
        "b": [0],
    }
    with pytest.raises(UserError, match="a: trial 1 is given twice"):
        merged([part("a", trial(1)), part("a", trial(0), trial(1))])
    with pytest.raises(UserError, match="different budgets"):
        merged([part("a", trial(0)), part("b", trial(0), trials=6)])
    assert merged([Tuning(), Tuning()]) == Tuning()


def test_trials_after_the_budget_do_not_count() -> None:
    late = [trial(number, seconds=4) for number in range(5)]
    (model,) = merged(part("a", each) for each in late).models
    assert [each.number for each in model.trials] == [0, 1, 2], "the third begins after 8 of 10 seconds"


def test_best_settings_of_a_record(tmp_path: Path) -> None:
    better = Trial(number=1, state="complete", settings={"embedding_size": 8}, scores=(0.4,), seconds=1)
    pruned = Trial(number=2, state="pruned", settings={"embedding_size": 4}, scores=(0.1,), seconds=1)
    part("a", trial(0), better, pruned).save(tmp_path)
    loaded = Tuning.load(tmp_path)
    assert loaded.settings("a") == {"embedding_size": 8}
    summary = loaded.summary()
    assert summary is not None
    (row,) = summary.models
    assert (row.trials, row.complete, row.pruned, row.failed, row.first, row.best) == (3, 2, 1, 0, 0.5, 0.4)
    with pytest.raises(ConfigError, match="b was not tuned, only a"):
        loaded.settings("b")
    assert Tuning.load(None).settings("b") == {}
    storage.write_json(tmp_path / "tuning.json", {"version": 2})
    with pytest.raises(ConfigError, match="version"):
        Tuning.load(tmp_path)
