"""The headline counts AUC and logloss, names a better model, and refuses trainings that ended too early."""

from pathlib import Path
from typing import Any

import pytest
from invented_results import made_up
from test_report import page

from ctrloom.evaluation.results import ModelResult, Results, Versus
from ctrloom.report.markdown import markdown
from ctrloom.report.table_verdict import table_verdict, winner
from ctrloom.report.verdict import summarize
from ctrloom.report.warnings import warnings_on
from ctrloom.search_trace import SearchTrace

RESULTS, TRACE = made_up()


def differing(versus: Versus, auc: int, logloss: int) -> Versus:
    """The comparison with significant differences of these signs; 0 is not significant."""

    def moved(test: Any, sign: int) -> Any:
        size, p = (0.01 * sign, 0.001) if sign else (0.001, 0.5)
        bounds = {"adjusted_low": size - 0.005, "adjusted_high": size + 0.005}
        return test.model_copy(update={"delta": size, "p": p, "p_adjusted": p, **bounds})

    return versus.model_copy(
        update={"auc": moved(versus.auc, auc), "logloss": moved(versus.logloss, logloss)}
    )


def with_signs(against_base: tuple[int, int], best_against: tuple[int, int] = (0, 0)) -> Results:
    """Results in which AutoFM differs so from FM, and the best model so from AutoFM."""
    return RESULTS.model_copy(
        update={
            "comparisons": tuple(
                differing(v, *against_base) if v.model == "autofm" else v for v in RESULTS.comparisons
            ),
            "against_best": tuple(
                differing(v, *best_against) if v.base == "autofm" else v for v in RESULTS.against_best
            ),
        }
    )


def changed(results: Results, name: str, **update: Any) -> Results:
    models = tuple(m.model_copy(update=update) if m.name == name else m for m in results.models)
    return results.model_copy(update={"models": models})


@pytest.mark.parametrize(
    ("auc", "logloss", "outcome", "headline"),
    [
        (1, -1, "better", "AutoFM beats FM"),
        (1, 0, "better", "AutoFM ranks better than FM; no difference shown in logloss"),
        (1, 1, "mixed", "AutoFM ranks better than FM, with worse logloss"),
        (0, -1, "better", "AutoFM has better logloss than FM; no difference shown in AUC"),
        (0, 0, "level", "No difference shown between AutoFM and FM"),
        (0, 1, "worse", "AutoFM has worse logloss than FM; no difference shown in AUC"),
        (-1, -1, "mixed", "AutoFM ranks worse than FM, with better logloss"),
        (-1, 0, "worse", "AutoFM ranks worse than FM; no difference shown in logloss"),
        (-1, 1, "worse", "AutoFM is worse than FM"),
    ],
)
def test_headline_counts_auc_and_logloss(auc: int, logloss: int, outcome: str, headline: str) -> None:
    verdict = summarize(with_signs((auc, logloss)), TRACE)
    assert (verdict.outcome, verdict.headline) == (outcome, headline)


@pytest.mark.parametrize(
    ("against_base", "best", "headline"),
    [
        ((1, -1), (1, -1), "AutoFM beats FM; IPNN with AutoFM's interactions is better still"),
        ((1, -1), (1, 1), "AutoFM beats FM"),  # ranks better, but with worse logloss
        (
            (0, 0),
            (1, 0),
            "No difference shown between AutoFM and FM; IPNN with AutoFM's interactions beats both",
        ),
    ],
)
def test_headline_names_a_better_model(
    against_base: tuple[int, int], best: tuple[int, int], headline: str
) -> None:
    assert RESULTS.best.name == "ipnn-transfer"
    assert summarize(with_signs(against_base, best), TRACE).headline == headline


def test_best_model_on_validation_rows_is_tested_against_every_other() -> None:
    best = max(RESULTS.models, key=lambda model: model.summary["valid"]["auc"].mean)
    others = [model.name for model in RESULTS.models if model is not best]
    assert [(v.model, v.base) for v in RESULTS.against_best] == [(best.name, name) for name in others]
    versus = RESULTS.versus_best("autofm")
    assert versus is not None
    found = RESULTS.model("autofm")
    for metric in ("auc", "logloss"):
        means = [model.summary["test"][metric].mean for model in (best, found)]
        assert getattr(versus, metric).delta == pytest.approx(means[0] - means[1])
    sentence = next(s for s in summarize(RESULTS, TRACE).sentences if "best on validation rows" in s)
    assert f"reaches {best.summary['test']['auc'].mean:.4f}, significantly above AutoFM (p" in sentence


@pytest.mark.parametrize("family", ["comparisons", "counterparts", "against_best"])
def test_intervals_exclude_zero_exactly_if_p_is_significant(family: str) -> None:
    for gain in (0.05, 0.0):
        for versus in getattr(made_up(gain=gain, rows=1000)[0], family):
            for test in (versus.auc, versus.logloss):
                low, high = test.interval
                assert (low > 0 or high < 0) == test.significant
                assert low <= test.low <= test.delta <= test.high <= high


def test_a_best_model_without_seeds_is_not_said_to_have_one() -> None:
    trees = changed(RESULTS, RESULTS.best.name, deterministic=True, seeds=RESULTS.best.seeds[:1])
    assert len(trees.seeds) > 1
    assert "logloss, the same with every seed." in table_verdict(trees).sentences[0]
    assert f"over {len(RESULTS.seeds)} seeds." in table_verdict(RESULTS).sentences[0]
    assert f"means over {len(RESULTS.seeds)} seeds" in markdown(trees, TRACE)


def test_clicks_are_counted_and_not_derived_from_a_weighted_rate() -> None:
    data = RESULTS.data.model_copy(update={"clicks": {"test": 12}})
    (warning,) = warnings_on(RESULTS.model_copy(update={"data": data}))
    assert warning.startswith("Only 12 of the ")


def unfinished() -> Results:
    short = changed(RESULTS, "fm", limited_by="models.fm.epochs")
    return changed(short, "autofm", limited_by="models.autofm.epochs")


def test_no_verdict_on_trainings_that_ended_too_early(tmp_path: Path) -> None:
    results = unfinished()
    verdict = summarize(results, TRACE)
    said = (
        "2 of 6 models were still improving when their training ended: FM and AutoFM; this comparison is not "
        "valid. Raise models.fm.epochs and models.autofm.epochs."
    )
    assert verdict.outcome == "invalid"
    assert verdict.warnings[0] == said
    assert verdict.sentences == ("The search kept 9 of 45 pairs.",)
    assert winner(results) is None
    _, parsed = page(results, TRACE, tmp_path)
    for text in (markdown(results, TRACE), parsed.words, "\n".join(table_verdict(results).lines)):
        assert "No verdict" in text
        assert said in text
        assert not [word for word in ("beats", "is worse", "significantly above") if word in text]


def nothing_kept(trace: SearchTrace) -> SearchTrace:
    candidates = tuple(c.model_copy(update={"score": 0.0, "kept": False}) for c in trace.candidates)
    return trace.model_copy(update={"candidates": candidates})


def compared_with_lr(better: tuple[str, ...] = ()) -> Results:
    """Results in which LR is the base, and only these models differ from it."""
    comparisons = tuple(
        differing(v.model_copy(update={"base": "lr"}), *((1, -1) if v.model in better else (0, 0)))
        for v in RESULTS.comparisons
        if v.model != "lr"
    )
    return RESULTS.model_copy(update={"base": "lr", "comparisons": comparisons})


@pytest.mark.parametrize(
    ("searched", "plain"),
    [("autofm", "LR"), ("autodeepfm", "Wide & Deep"), ("aim", "LR"), ("optinter", "FNN")],
)
def test_nothing_found_means_that_the_plain_model_is_enough(
    searched: str, plain: str, tmp_path: Path
) -> None:
    trace = nothing_kept(TRACE).model_copy(update={"base": searched})
    verdict = summarize(compared_with_lr(), trace)
    assert (verdict.outcome, verdict.headline) == ("level", f"No interaction found; {plain} is enough")
    _, parsed = page(compared_with_lr(), trace, tmp_path)
    assert verdict.headline in parsed.words


def test_nothing_found_is_not_enough_if_another_model_is_better() -> None:
    verdict = summarize(compared_with_lr(better=("ipnn",)), nothing_kept(TRACE))
    assert (verdict.outcome, verdict.headline) == ("worse", "No interaction found, but IPNN beats LR")


def test_a_table_has_a_winner_only_if_it_is_better_than_every_other() -> None:
    def tied(names: tuple[str, ...]) -> Results:
        signs = tuple(differing(v, *((0, 0) if v.base in names else (1, -1))) for v in RESULTS.against_best)
        return RESULTS.model_copy(update={"against_best": signs})

    best, names = RESULTS.best, tuple(model.name for model in RESULTS.models)
    assert winner(tied(())) == best.name
    assert table_verdict(tied(())).headline == f"{best.title} is the best of 6 models"
    assert winner(tied(("autofm",))) is None
    some = table_verdict(tied(("autofm",)))
    assert some.headline == "No single winner"
    assert "It is significantly better than 4 of the 5 others, but not than AutoFM." in some.sentences
    assert table_verdict(tied(names)).headline.startswith("No winner")


def measured(model: ModelResult, **metrics: float) -> ModelResult:
    test = {
        name: spread.model_copy(update={"mean": metrics[name]}) if name in metrics else spread
        for name, spread in model.summary["test"].items()
    }
    return model.model_copy(update={"summary": {**model.summary, "test": test}})


def with_data(**data: Any) -> Results:
    return RESULTS.model_copy(update={"data": RESULTS.data.model_copy(update=data)})


def with_metrics(name: str, **metrics: float) -> Results:
    models = tuple(measured(m, **metrics) if m.name == name else m for m in RESULTS.models)
    return RESULTS.model_copy(update={"models": models})


RATES = {"train": 0.30, "valid": 0.30, "test": 0.30}


@pytest.mark.parametrize(
    ("results", "warning"),
    [
        (with_data(label_rate={**RATES, "test": 0.01}), "Only 40 of the 4\u202f000 test rows are clicks"),
        (with_data(label_rate={**RATES, "test": 0.99}), "Only 40 of the 4\u202f000 test rows are not clicks"),
        (with_data(label_rate={**RATES, "test": 0.40}), "40\u202f% in test"),
        (with_metrics("lr", normalised_entropy=1.2), "Logistic regression does worse on the test rows"),
        (with_metrics("fm", calibration_ratio=1.32), "FM 1.32 times"),
        (with_metrics("fm", calibration_ratio=0.7), "FM 0.70 times"),
    ],
)
def test_figures_that_mislead_are_warned_of(results: Results, warning: str) -> None:
    assert not [sentence for sentence in warnings_on(RESULTS) if warning in sentence]
    assert [sentence for sentence in warnings_on(results) if warning in sentence]


@pytest.mark.parametrize(
    "results",
    [
        with_data(label_rate={**RATES, "test": 0.315}),  # within chance
        with_data(
            label_rate={**RATES, "test": 0.31}, rows={"train": 10**8, "valid": 10**8, "test": 10**8}
        ),  # beyond chance, but small
        with_data(label_rate={**RATES, "test": 0.40}).model_copy(
            update={"config": {"data": {"negatives": {"keep": 0.5}}}}
        ),
        with_metrics("fm", calibration_ratio=1.08),
        with_metrics("fm", normalised_entropy=0.99),
    ],
)
def test_no_false_alarm(results: Results) -> None:
    assert warnings_on(with_data(label_rate=RATES)) == ()
    shown = [s for s in warnings_on(results) if "Click rates" in s or "normalised" in s or "Predicted" in s]
    assert shown == []


def test_an_interval_too_wide_to_show_a_difference_is_warned_of() -> None:
    def widened(half: float, p: float) -> Results:
        bounds = {"adjusted_low": 0.001 - half, "adjusted_high": 0.001 + half, "p_adjusted": p}
        comparisons = tuple(
            v.model_copy(update={"auc": v.auc.model_copy(update=bounds)}) if v.model == "autofm" else v
            for v in RESULTS.comparisons
        )
        return RESULTS.model_copy(update={"comparisons": comparisons})

    (warning,) = (sentence for sentence in warnings_on(widened(0.022, 0.5)) if "cannot show" in sentence)
    assert "below about 0.022" in warning
    for harmless in (widened(0.022, 0.001), widened(0.004, 0.5)):
        assert not [sentence for sentence in warnings_on(harmless) if "cannot show" in sentence]
