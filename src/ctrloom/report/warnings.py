"""What makes the figures of an evaluation unreliable, one sentence each."""

import math
from collections.abc import Iterator, Sequence
from itertools import combinations

from ctrloom.evaluation.results import ModelResult, Results
from ctrloom.report.format import count, fixed, inline, listed

FEW_CLICKS = 100  # as `min_clicks` of the promotion gate
WIDE = 0.01  # half an interval of AUC that cannot show a difference of interest
MISCALIBRATED = 0.1  # relative, of the sum of predictions
RATES_DIFFER = 0.1  # relative
DEVIATIONS = 4  # standard errors that are beyond chance


def warnings_on(results: Results) -> tuple[str, ...]:
    """All warnings, the one that invalidates the comparison first."""
    checks = (_unfinished, _few_clicks, _wide_interval, _click_rates, _worse_than_click_rate, _miscalibrated)
    return tuple(warning for check in checks for warning in check(results))


def _unfinished(results: Results) -> Iterator[str]:
    if not (short := results.unfinished):
        return
    limits = list(dict.fromkeys(model.limited_by for model in short if model.limited_by))
    many = "models.default.epochs, or models.<name>.epochs of each"
    were, their = ("was", "its") if len(short) == 1 else ("were", "their")
    yield (
        f"{len(short)} of {len(results.models)} models {were} still improving when {their} training ended: "
        f"{_titles(short)}; this comparison is not valid. "
        f"Raise {listed(limits) if len(limits) <= 4 else many}."
    )


def _few_clicks(results: Results) -> Iterator[str]:
    clicks, rows = _clicks(results), results.data.rows["test"]
    for rarer, what in ((clicks, "are clicks"), (rows - clicks, "are not clicks")):
        if rarer < FEW_CLICKS:
            yield (
                f"Only {count(rarer)} of the {count(rows)} test rows {what}; with fewer than {FEW_CLICKS}, "
                "figures and p-values are unreliable."
            )


def _wide_interval(results: Results) -> Iterator[str]:
    """A comparison that shows no difference, but could not have shown one of interest."""
    found = {model.name for model in results.models if model.kind == "retrained"}
    tests = [v.auc for v in results.comparisons if v.model in found] or [v.auc for v in results.comparisons]
    widths = [(test.interval[1] - test.interval[0]) / 2 for test in tests]
    if (
        not results.unfinished
        and widths
        and min(widths) > WIDE
        and not any(test.significant for test in tests)
    ):
        smallest = fixed(min(*widths, 0.5), 3)
        yield (
            f"These test rows and seeds cannot show a difference in AUC below about {smallest}: "
            "where no difference is shown, there may be one."
        )


def _click_rates(results: Results) -> Iterator[str]:
    rows, rates = results.data.rows, results.data.label_rate
    if (results.config.get("data") or {}).get("negatives"):  # splits may be thinned differently
        return
    if any(_differ((rates[a], rows[a]), (rates[b], rows[b])) for a, b in combinations(rates, 2)):
        shown = ", ".join(f"{100 * rate:.3g}\u202f% in {split}" for split, rate in rates.items())
        yield (
            f"Click rates differ between the splits ({shown}): what was chosen on validation rows may not "
            "suit the test rows, and calibration will be off."
        )


def _differ(one: tuple[float, int], other: tuple[float, int]) -> bool:
    """Whether two rates differ materially and by more than chance."""
    (a, n), (b, m) = one, other
    if min(n, m) == 0 or abs(a - b) <= RATES_DIFFER * max(a, b):
        return False
    pooled = (a * n + b * m) / (n + m)
    return abs(a - b) > DEVIATIONS * math.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))


def _worse_than_click_rate(results: Results) -> Iterator[str]:
    worse = [model for model in results.models if model.summary["test"]["normalised_entropy"].mean > 1]
    if worse:
        does = "does" if len(worse) == 1 else "do"
        yield (
            f"{_titles(worse)} {does} worse on the test rows than always predicting their click rate "
            "(normalised entropy above 1)."
        )


def _miscalibrated(results: Results) -> Iterator[str]:
    margin = max(MISCALIBRATED, DEVIATIONS / math.sqrt(max(_clicks(results), 1)))
    ratios = {inline(m.title): m.summary["test"]["calibration_ratio"].mean for m in results.models}
    far = sorted((r for r in ratios.items() if abs(r[1] - 1) > margin), key=lambda r: -abs(math.log(r[1])))
    if far:
        shown = listed([f"{title} {fixed(ratio, 2)} times" for title, ratio in far])
        yield f"Predicted clicks are far from the observed number on the test rows: {shown}."


def _clicks(results: Results) -> int:
    data = results.data
    return data.clicks.get("test", round(data.rows["test"] * data.label_rate["test"]))


def _titles(models: Sequence[ModelResult]) -> str:
    return listed([inline(model.title) for model in models], most=12)
