"""Verdicts as Markdown, for people who review a change or a run."""

from collections.abc import Iterable, Sequence

from ctrloom.evaluation.drift import Drift
from ctrloom.evaluation.promotion_gate import Contestant, PromotionVerdict


def promotion_markdown(verdict: PromotionVerdict) -> str:
    """The gate's verdict with every check and its figures."""
    champion, challenger = verdict.champion, verdict.challenger
    head = [
        f"## Gate: {'promote' if verdict.promote else 'stop'}",
        "",
        verdict.reason,
        "",
        f"{verdict.rows:,} rows with {verdict.clicks:,} clicks, the same for both models.",
        "",
    ]
    checks = [
        (("passed" if c.passed else "**failed**"), c.name, c.what, c.shown, c.bounds) for c in verdict.checks
    ]
    models: list[tuple[str, Contestant]] = [("challenger", challenger)]
    models += [(f"champion {champion.version or ''}".strip(), champion)] if champion else []
    figures = ("auc", "logloss", "normalised_entropy", "calibration_ratio", "calibration_error")
    quality = [
        (name, escaped(each.title), *(f"{getattr(each.metrics, figure):.5f}" for figure in figures))
        for name, each in models
    ]
    return "\n".join(
        [
            *head,
            *table(("", "check", "figure", "value", "must be"), checks),
            "",
            *table(("", "model", "AUC", "logloss", "NE", "calibration ratio", "ECE"), quality),
            "",
        ]
    )


def drift_markdown(drift: Drift, shown: int = 10) -> str:
    """The fields that changed most, and the exceeded thresholds."""
    fields = sorted(drift.fields, key=lambda field: -field.stability)[:shown]
    lines = [
        (escaped(f.name), f"{f.stability:.3f}", f"{100 * f.unseen_now:.1f} %", f"{f.new_ids:,}")
        for f in fields
    ]
    alarms = [f"- {escaped(alarm)}" for alarm in drift.alarms] or ["No threshold is exceeded."]
    rates = f"{100 * drift.label_rate_before:.2f} % before, {100 * drift.label_rate_now:.2f} % now"
    head = ["## Drift", "", f"Click rate of training rows: {rates}.", "", *alarms, ""]
    return "\n".join([*head, *table(("field", "stability index", "unseen", "new ids"), lines), ""])


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table."""
    return [_line(head), _line(["---"] * len(head)), *map(_line, lines)]


def escaped(text: str) -> str:
    """Text from data, escaped for a Markdown table."""
    plain = " ".join(text.split())
    return "".join(f"\\{c}" if c in "\\`*_[]<>|" else c for c in plain)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
