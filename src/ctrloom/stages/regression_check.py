"""Check the figures of a comparison against a stored baseline."""

from pathlib import Path

from ctrloom import storage
from ctrloom.config.errors import UserError
from ctrloom.evaluation.regression import (
    Baseline,
    RegressionVerdict,
    judge,
    load_regression,
    regression_markdown,
)
from ctrloom.evaluation.results import Results
from ctrloom.stages.promotion_gate import FILES, SUMMARY, VERDICT


class RegressionError(UserError):
    """Figures got worse; the message lists them."""


def regression(metrics: Path, baseline: Baseline, output: Path) -> RegressionVerdict:
    """Write `verdict.json` and `verdict.md` into the folder `output`; `metrics` is from a comparison.

    Raises:
        StorageError: the metrics are not there.
    """
    verdict = judge(Results.load(metrics), baseline)
    with storage.atomic_directory(output, *FILES) as temporary:
        storage.write_record(temporary / VERDICT, verdict)
        storage.write_text(temporary / SUMMARY, regression_markdown(verdict))
    return verdict


def require(verdict: Path) -> None:
    """Raise if the figures got worse.

    Raises:
        RegressionError: the verdict is negative.
    """
    decided = load_regression(verdict)
    if not decided.passed:
        raise RegressionError(decided.reason)
