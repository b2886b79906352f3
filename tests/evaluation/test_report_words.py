import re
from pathlib import Path

import pytest
from invented_results import made_up, made_up_trace

from ctrloom.config import METHODS, Method, MethodConfig
from ctrloom.evaluation.results import Results
from ctrloom.report import drawing, format, summary
from ctrloom.report.markdown import markdown
from ctrloom.report.render import render
from ctrloom.report.table_verdict import winner
from ctrloom.report.verdict import summarize
from ctrloom.search_trace import SearchTrace


@pytest.fixture(scope="module")
def frappe() -> tuple[Results, SearchTrace]:
    return made_up(gain=0.05)


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (format.fixed(-0.00123), "−0.0012"),
        (format.signed(0.00312), "+0.0031"),
        (format.count(1234567.0), "1\u202f234\u202f567"),
        (format.percent(0.3333), "33.3\u202f%"),
        (format.level(0.975), "97.5\u202f%"),
        (format.p_value(0.0004), "p\u00a0<\u00a00.001"),
        (format.p_value(0.0414), "p\u00a0=\u00a00.041"),
        (format.p_value(0.46), "p\u00a0=\u00a00.46"),
        (format.rate(412_345), "412\u202fk/s"),
        (format.rate(3_012_345), "3.01\u202fM/s"),
        (format.rate(12.3), "12.3/s"),
        (format.duration(83.2), "83.2\u202fs"),
        (format.duration(725), "12\u202fmin 5\u202fs"),
        (format.duration(7500), "2\u202fh 5\u202fmin"),
        (drawing.clipped("a\nb\x00c"), "a b c"),
        (drawing.clipped("x" * 30, 10), "x" * 9 + "…"),
    ],
)
def test_number_formats(shown: str, expected: str) -> None:
    assert shown == expected


def test_verdict_matches_the_results(frappe: tuple[Results, SearchTrace]) -> None:
    results, trace = frappe
    verdict = summarize(results, trace)
    versus = results.versus_base("autofm")
    assert (verdict.outcome, verdict.headline) == (
        "better",
        "AutoFM beats FM; IPNN with AutoFM's interactions is better still",
    )
    assert f"{versus.auc.delta:.4f} above FM" in " ".join(verdict.sentences)
    assert winner(results) == "ipnn-transfer"


def changed(results: Results, **auc: float) -> Results:
    """The same results, with other numbers in the comparison of AutoFM with the base."""
    versus = results.versus_base("autofm")
    other = versus.model_copy(update={"auc": versus.auc.model_copy(update=auc)})
    comparisons = tuple(other if v is versus else v for v in results.comparisons)
    return results.model_copy(update={"comparisons": comparisons})


def test_insignificant_difference_is_not_better(frappe: tuple[Results, SearchTrace]) -> None:
    verdict = summarize(changed(frappe[0], p_adjusted=0.051), frappe[1])
    assert verdict.headline.startswith("AutoFM has better logloss than FM; no difference shown in AUC")
    assert "is not significant" in verdict.sentences[1]


def test_better_auc_with_worse_logloss_is_reported(frappe: tuple[Results, SearchTrace]) -> None:
    results, trace = frappe
    versus = results.versus_base("autofm")
    worse = versus.logloss.model_copy(update={"delta": 0.01, "p_adjusted": 0.001})
    comparisons = tuple(
        v.model_copy(update={"logloss": worse}) if v is versus else v for v in results.comparisons
    )
    verdict = summarize(results.model_copy(update={"comparisons": comparisons}), trace)
    assert verdict.outcome == "mixed"
    assert verdict.headline.startswith("AutoFM ranks better than FM, with worse logloss; ")


def test_verdict_without_a_retrained_model_is_untested(frappe: tuple[Results, SearchTrace]) -> None:
    results = frappe[0]
    others = tuple(m for m in results.models if m.kind != "retrained")
    verdict = summarize(results.model_copy(update={"models": others}), None)
    assert (verdict.outcome, verdict.sentences) == ("untested", ())


def test_verdict_reports_a_control_that_is_as_good(frappe: tuple[Results, SearchTrace]) -> None:
    results = frappe[0]
    as_control = {"kind": "control", "title": "All pairs"}
    models = tuple(
        m.model_copy(update=as_control) if m.name == "ipnn-transfer" else m for m in results.models
    )
    sentences = summarize(results.model_copy(update={"models": models}), None).sentences
    assert sentences[-1].startswith("The control (All pairs) reaches")
    assert sentences[-1].endswith("no less than AutoFM.")


def test_correlations_skip_constant_orders() -> None:
    trace = made_up_trace(third=True)
    assert [(r.order, r.candidates) for r in summary.relations(trace)] == [(2, 45), (3, 120)]
    flat = tuple(c.model_copy(update={"score": 0.0, "kept": False}) for c in trace.candidates)
    assert summary.relations(trace.model_copy(update={"candidates": flat})) == []


def test_markdown_summary_matches_the_page(frappe: tuple[Results, SearchTrace]) -> None:
    results, trace = frappe
    text = markdown(results, trace)
    assert text.startswith(f"# {summarize(results, trace).headline}\n")
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len(table) == 2 + len(results.models)
    assert {line.count("|") for line in table} == {9}
    for model, line in zip(results.models, table[2:], strict=True):
        assert line.startswith(f"| {model.title} | {model.summary['test']['auc'].mean:.4f} |")
    found = results.shown.confusion
    assert found is not None
    assert (
        found.true_positive + found.false_positive + found.true_negative + found.false_negative
        == (results.data.rows["test"])
    )
    assert f"of {format.count(found.true_positive + found.false_negative)}.\n" in text


def test_statistics_are_ranked_with_their_sign_and_gates_without() -> None:
    trace = made_up_trace()
    scores = (0.2, -0.5, 0.1, *[0.0] * (len(trace.candidates) - 3))
    candidates = tuple(
        c.model_copy(update={"score": s, "kept": s != 0})
        for c, s in zip(trace.candidates, scores, strict=True)
    )
    gates = trace.model_copy(update={"candidates": candidates})
    statistics = gates.model_copy(update={"method": "mutual_information"})
    assert [c.score for c in summary.ranking(gates, 2)] == [-0.5, 0.2, 0.1]
    assert [c.score for c in summary.ranking(statistics, 2)] == [0.2, 0.1, -0.5]


def test_the_page_names_what_a_method_measures(frappe: tuple[Results, SearchTrace], tmp_path: Path) -> None:
    results, trace = frappe
    trace = trace.model_copy(update={"method": "importance"})
    METHODS.register(
        "importance",
        Method("Importance", MethodConfig, "ctrloom.methods.autofis:search", measure="importance"),
    )
    try:
        render(results, trace, tmp_path / "report.html")
    finally:
        del METHODS.entries["importance"]
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Importance of all pairs" in text
    assert "Is the importance plausible?" in text
    assert (
        re.search(r"\bgates?\b", re.sub(r"<style.*?</style>|all gates", "", text, flags=re.S), re.I) is None
    )
