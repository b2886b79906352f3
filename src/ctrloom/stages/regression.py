"""Hold the figures of a comparison against a stored baseline."""

from pathlib import Path

from ctrloom import storage
from ctrloom.evaluation.regression import (
    Baseline,
    RegressionVerdict,
    judge,
    load_regression,
    regression_markdown,
)
from ctrloom.evaluation.results import Results
from ctrloom.stages.gate import SUMMARY, VERDICT


class RegressionError(ValueError):
    """Figures got worse; the message says which."""


def regression(metrics: Path, baseline: Baseline, output: Path) -> RegressionVerdict:
    """Write `verdict.json` and `verdict.md` into the folder `output`; `metrics` is that of a comparison.

    Raises:
        StorageError: the metrics are not there.
    """
    verdict = judge(Results.load(metrics), baseline)
    with storage.atomic_directory(output) as aside:
        storage.write_json(aside / VERDICT, verdict.model_dump(mode="json"))
        storage.write_text(aside / SUMMARY, regression_markdown(verdict))
    return verdict


def require(verdict: Path) -> None:
    """Do nothing if the figures held.

    Raises:
        RegressionError: they did not.
    """
    decided = load_regression(verdict)
    if not decided.passed:
        raise RegressionError(decided.reason)
