"""Check a comparison on fixed data, seeds and configuration against stored figures."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from ctrloom import storage
from ctrloom.config.base import StrictModel
from ctrloom.config.errors import UserError
from ctrloom.config.types import NotNegative
from ctrloom.evaluation.failed_entries import one_line, require_complete
from ctrloom.evaluation.markdown import escaped, table
from ctrloom.evaluation.results import Results

Metric = Literal["auc", "logloss"]


class Tolerance(StrictModel):
    """How much worse a mean over seeds may be; on one machine, the same seeds differ only by rounding."""

    auc: NotNegative = 0.002
    logloss: NotNegative = 0.002


class Figures(StrictModel):
    """Test metrics of one model, means over seeds."""

    auc: float
    logloss: float


class Baseline(StrictModel):
    """A baseline file: the accepted figures, and the data and seeds behind them."""

    version: Literal[1] = 1
    name: str
    data_fingerprint: str
    rows: int
    seeds: tuple[int, ...]
    models: dict[str, Figures]
    tolerance: Tolerance = Tolerance()
    code_version: str


class RegressionCheck(StrictModel):
    """One figure before and now; `worse` is positive if it got worse."""

    model: str
    title: str
    metric: Metric
    before: float
    now: float
    worse: float
    tolerance: float
    passed: bool


class RegressionVerdict(StrictModel):
    """`verdict.json`: whether all figures are within tolerance."""

    version: Literal[1] = 1
    passed: bool
    reason: str
    problems: tuple[str, ...]  # why figures cannot be compared
    checks: tuple[RegressionCheck, ...]
    baseline: Baseline
    code_version: str


class UnfinishedError(UserError):
    """Figures of models that were still improving when their training ended."""


def baseline_of(results: Results, tolerance: Tolerance) -> Baseline:
    """The figures of a comparison as a baseline."""
    return Baseline(
        name=results.data.name,
        data_fingerprint=results.data.data_fingerprint,
        rows=results.data.rows["test"],
        seeds=results.seeds,
        models={model.name: _figures(results, model.name) for model in results.models},
        tolerance=tolerance,
        code_version=results.code_version,
    )


def judge(results: Results, baseline: Baseline) -> RegressionVerdict:
    """Compare every model of the baseline with its current figures; fails if they are not comparable."""
    now = baseline_of(results, baseline.tolerance)
    problems = (*_failed(results), *_problems(now, baseline), *_unfinished(results, baseline))
    titles = {model.name: model.title for model in results.models}
    checks = tuple(
        check
        for name, before in baseline.models.items()
        if name in now.models
        for check in _checks(name, titles[name], before, now.models[name], baseline.tolerance)
    )
    failed = [check for check in checks if not check.passed]
    worse = [
        f"{check.metric} of {check.model} is worse by {check.worse:.4f}, more than {check.tolerance:g}"
        for check in failed
    ]
    found = "; ".join([*problems, *worse])
    return RegressionVerdict(
        passed=not found,
        reason=f"{found}." if found else f"All {len(checks)} figures are within their tolerances.",
        problems=problems,
        checks=checks,
        baseline=baseline,
        code_version=results.code_version,
    )


def accepted(results: Results, tolerance: Tolerance) -> Baseline:
    """The figures of a comparison as a new baseline.

    Raises:
        EntriesFailedError: entries of the comparison failed.
        UnfinishedError: a model was still improving when its training ended.
    """
    require_complete(results)
    baseline = baseline_of(results, tolerance)
    if found := tuple(_unfinished(results, baseline)):
        raise UnfinishedError(f"not accepted: {found[0]}")
    return baseline


def load_baseline(path: Path) -> Baseline:
    """Read a baseline file.

    Raises:
        StorageError: no such file, or no JSON.
        ConfigError: it holds no baseline.
    """
    return storage.read_record(path, Baseline)


def load_regression(path: Path) -> RegressionVerdict:
    """Read a verdict.

    Raises:
        StorageError: no such file, or no JSON.
        ConfigError: it holds no verdict.
    """
    return storage.read_record(path, RegressionVerdict)


def regression_markdown(verdict: RegressionVerdict) -> str:
    """The verdict for reviewers, with every figure."""
    head = f"## Regression of {escaped(verdict.baseline.name)}: {'passed' if verdict.passed else 'failed'}"
    lines = [
        (
            "passed" if c.passed else "**failed**",
            escaped(c.title),
            c.metric,
            f"{c.before:.5f}",
            f"{c.now:.5f}",
            f"{c.now - c.before:+.5f}",
            f"{c.tolerance:g}",
        )
        for c in verdict.checks
    ]
    versions = f"Baseline of `{verdict.baseline.code_version}`, now `{verdict.code_version}`."
    columns = ("", "model", "test metric", "baseline", "now", "change", "tolerance")
    return "\n".join([head, "", escaped(verdict.reason), "", *table(columns, lines), "", versions, ""])


def _figures(results: Results, name: str) -> Figures:
    summary = results.model(name).summary["test"]
    return Figures(auc=summary["auc"].mean, logloss=summary["logloss"].mean)


def _failed(results: Results) -> Iterator[str]:
    """Every entry that failed, also one that the baseline does not have."""
    for name, reason in results.failed.items():
        yield f"{name} failed: {one_line(reason)}"


def _problems(now: Baseline, before: Baseline) -> Iterator[str]:
    if now.data_fingerprint != before.data_fingerprint:
        yield "the data are not those of the baseline (their fingerprint differs)"
    if now.rows != before.rows:
        yield f"{now.rows} test rows instead of {before.rows}"
    if now.seeds != before.seeds:
        yield f"the seeds are {list(now.seeds)} instead of {list(before.seeds)}"
    if missing := [name for name in before.models if name not in now.models]:
        yield f"{', '.join(missing)} is no longer trained"


def _unfinished(results: Results, baseline: Baseline) -> Iterator[str]:
    short = {m.name: m.limited_by for m in results.unfinished if m.name in baseline.models}
    if short:
        raised = ", ".join(dict.fromkeys(filter(None, short.values())))
        were = "was" if len(short) == 1 else "were"
        yield f"{', '.join(short)} {were} still improving when training ended; raise {raised}"


def _checks(
    name: str, title: str, before: Figures, now: Figures, tolerance: Tolerance
) -> Iterator[RegressionCheck]:
    rises: dict[Metric, float] = {"auc": before.auc - now.auc, "logloss": now.logloss - before.logloss}
    for metric, worse in rises.items():
        bound = getattr(tolerance, metric)
        yield RegressionCheck(
            model=name,
            title=title,
            metric=metric,
            before=getattr(before, metric),
            now=getattr(now, metric),
            worse=worse,
            tolerance=bound,
            passed=worse <= bound,
        )
