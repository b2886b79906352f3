"""Scheduled retraining and regression evaluation on this machine, through their pipelines."""

from pathlib import Path

from ctrloom import stages, storage
from ctrloom.config import CompareConfig
from ctrloom.config.base import ConfigError
from ctrloom.config.retraining import RetrainingConfig
from ctrloom.data.ingest.date_window import last_day, windowed
from ctrloom.evaluation.promotion_gate import PromotionVerdict, load_verdict
from ctrloom.evaluation.regression import Baseline, RegressionVerdict, load_regression
from ctrloom.progress import warn
from ctrloom.runners.local import STEPS, RunError, comparison_arguments, finished_steps, run_pipeline
from ctrloom.runners.resume import BEGUN
from ctrloom.runners.step_cache import forget
from ctrloom.tracking import tracked

EXPECTED = ("ingest-window", "champion", "grow", "drift", "refresh", "gate", "report")


def retraining_arguments(config: RetrainingConfig, store: Path | str) -> dict[str, object]:
    """Parameters of the pipeline `scheduled_retrain`, except the last day of its window."""
    return {**config.model_dump(mode="json", exclude_none=True), "store": str(store)}


def retrain_local(config: RetrainingConfig, until: str, output: Path) -> PromotionVerdict:
    """Run a scheduled retraining; the verdict, the reports and the challenger go to the folder `output`.

    Raises:
        RunError: a step failed, or KFP is not installed.
        ConfigError: there is no registry, no file has a date in its name, or `until` is not a date.
    """
    results = {
        "verdict.json": ("gate", "verdict/verdict.json"),
        "verdict.md": ("gate", "verdict/verdict.md"),
        "drift.json": ("drift", "drift/drift.json"),
        "bundle": ("refresh", "bundle"),
        "report.html": ("report", "report/report.html"),
        "report.md": ("report", "report/report.md"),
    }
    if config.registry is None:
        raise ConfigError(f"{config.name}: registry: set the folder or URL that holds the champion")
    output, day = output.resolve(), last_day(until, config.data.timezone)
    files = windowed(config.data, day, config.days).files
    with storage.locked(output), tracked(config.tracking, config.name, output):
        storage.write_json(output / "config.json", config.model_dump(mode="json"))
        if (output / BEGUN).exists():
            _forget_former_champion(config.registry, output / STEPS)
        parameters = {**retraining_arguments(config, output.parent / "data"), "until": day.isoformat()}
        run_pipeline("scheduled_retrain", parameters, output, EXPECTED, results, files)
        verdict = load_verdict(output / "verdict.json")
        if verdict.promote and "promote" not in finished_steps(output / STEPS):
            raise RunError(f"step promote did not run; see the end of {output / 'log.txt'}")
        return verdict


def _forget_former_champion(registry: str, steps: Path) -> None:
    """Fetch the champion again in a resumed run, unless it is still the same."""
    ended = finished_steps(steps)
    if "champion" not in ended or "promote" in ended:
        return
    challenger = ended.get("refresh", steps) / "bundle"
    if not stages.is_current_champion(registry, ended["champion"] / "champion", challenger):
        warn(f"{registry}: has another champion since this run was stopped; what depends on it runs again")
        forget(ended["champion"], steps)


def regression_local(config: CompareConfig, baseline: Baseline, output: Path) -> RegressionVerdict:
    """Run a comparison and check it against a baseline; the verdict and the table go to the folder `output`.

    Raises:
        RunError: a step failed, or KFP is not installed.
    """
    results = {
        "verdict.json": ("regression", "verdict/verdict.json"),
        "verdict.md": ("regression", "verdict/verdict.md"),
        "comparison": ("compare-table", "table"),
    }
    stages.require_feasible(config)
    expected = ("ingest", "vocabulary", "compare-job", "compare-table", "regression", "require")
    output = output.resolve()
    # Not strict: the verdict is read here, and a failed step would leave no results.
    extra = {"baseline": baseline.model_dump(mode="json"), "strict": False}
    parameters = {**comparison_arguments(config, output / "data"), **extra}
    with storage.locked(output):
        run_pipeline("regression_eval", parameters, output, expected, results, config.data.files)
        return load_regression(output / "verdict.json")
