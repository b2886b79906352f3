"""What is analysed of searches, against numpy, SciPy and scikit-learn; and that the pages show it."""

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from invented_results import FRAPPE, made_up, made_up_trace
from scipy import stats
from test_attention_figures import attention
from test_choice_figures import optinter
from test_report import Page
from test_report_aim import searched
from test_report_autopi import made_up_search

from ctrloom.evaluation.choices import choices_in, choices_of
from ctrloom.evaluation.results import Results
from ctrloom.evaluation.search_analysis import analyse
from ctrloom.evaluation.stability import stability
from ctrloom.report import comparison
from ctrloom.report.render import render
from ctrloom.search_trace import SearchTrace

SIZES = {name: 3 + 37 * i * i for i, name in enumerate(FRAPPE)}


def changed(trace: SearchTrace, seed: int) -> SearchTrace:
    """Another search of the same candidates: some decisions, and all scores, are others."""
    rng = np.random.default_rng(seed)
    pairs = [c.fields for c in trace.of_order(2)]
    place = {pair: i for i, pair in enumerate(dict.fromkeys(pairs))}
    drawn = rng.integers(3, size=len(place)) if trace.method == "optinter" else None
    candidates = []
    for c in trace.candidates:
        kept = bool(rng.random() < 0.3)
        if drawn is not None:
            kept = c.function == ("memorize", "hadamard", "none")[drawn[place[c.fields]]] != "none"
        candidates.append(c.model_copy(update={"score": c.score + rng.normal(0, 0.1), "kept": kept}))
    return trace.model_copy(update={"candidates": tuple(candidates)})


def written(tmp_path: Path, traces: Sequence[SearchTrace]) -> tuple[str, Page]:
    """The page of a comparison with an entry, "autofm", whose searches are these."""
    results, _ = made_up()
    agreement = stability("autofm", range(len(traces)), traces)
    update = {
        "searches": (analyse("autofm", traces, results.data.sizes),),
        "stability": (agreement,) if agreement else (),
    }
    results = results.model_copy(update=update)
    results.save(tmp_path / "metrics.json")
    assert Results.load(tmp_path / "metrics.json") == results
    files = tmp_path / "table.csv", tmp_path / "page.html"
    comparison.render(results, {"autofm": traces}, {}, "A comparison", "", *files)
    source = files[1].read_text(encoding="utf-8")
    parsed = Page()
    parsed.feed(source)
    return source, parsed


def test_functions_are_counted_per_order_over_all_searches() -> None:
    traces = [searched(), changed(searched(), 1)]
    found = {(each.order, each.function): each for each in analyse("aim", traces, SIZES).functions}
    assert list(found) == [(2, "inner"), (2, "outer"), (3, "inner"), (3, "outer")]
    for (order, function), each in found.items():
        own = [c for t in traces for c in t.candidates if (c.order, c.function) == (order, function)]
        assert each.candidates == len(own) / 2
        assert each.kept == np.mean([c.kept for c in own]) * len(own) / 2
        for kept, mean in ((True, each.kept_statistics_auc), (False, each.dropped_statistics_auc)):
            aucs = [c.statistics_auc for c in own if c.kept == kept]
            assert mean == (pytest.approx(np.mean(np.array(aucs, float))) if aucs else None)


def test_positions_are_summed_over_tables_and_correlate_with_ids() -> None:
    trace = searched()
    found = analyse("aim", [trace, trace], SIZES)
    kept = {name: float(size) for size, name in enumerate(FRAPPE)}
    kept["user"] += 10  # its table of order 3
    assert {each.field: each.positions for each in found.fields} == kept
    expected = stats.spearmanr([SIZES[name] for name in FRAPPE], list(kept.values())).statistic
    assert found.ids_and_positions == pytest.approx(expected)


def test_mutual_information_is_averaged_over_the_pairs_of_a_choice() -> None:
    traces = [optinter(), changed(optinter(), 2)]
    found = {each.choice: each for each in analyse("optinter", traces, SIZES).choices}
    assert list(found) == ["memorize", "factorize", "leave out"]
    nats = {c.fields: c.mutual_information for c in traces[0].candidates}
    for name, function in (("memorize", "memorize"), ("factorize", "hadamard"), ("leave out", "none")):
        own = [nats[pair] for t in traces for pair, chosen in choices_in(t).items() if chosen == function]
        assert found[name].pairs == len(own) / 2
        assert found[name].mutual_information == pytest.approx(np.mean(np.array(own, float)))


def test_agreement_of_choices_is_that_of_the_labels() -> None:
    traces = [optinter(), changed(optinter(), 3), changed(optinter(), 4)]
    labels = [np.array(list(choices_in(trace).values())) for trace in traces]
    found = stability("optinter", [5, 6, 7], traces)
    assert found is not None
    assert [pair.seeds for pair in found.pairs] == [(5, 6), (5, 7), (6, 7)]
    shares = [float(np.mean(a == b)) for a, b in combinations(labels, 2)]
    assert [pair.same_choice for pair in found.pairs] == pytest.approx(shares)
    assert found.same_choice == pytest.approx(np.mean(shares))
    assert 0 < shares[0] < 1


def test_choice_of_several_searches_is_the_most_frequent() -> None:
    traces = [optinter(), changed(optinter(), 3), changed(optinter(), 4)]
    for choice in choices_of(traces):
        votes = [choices_in(trace)[choice.fields] for trace in traces]
        assert choice.searches == max(map(votes.count, votes)) == votes.count(choice.function)
        scores = [
            c.score
            for trace in traces
            for c in trace.candidates
            if (c.fields, c.function) == (choice.fields, choice.function)
        ]
        assert choice.probability == pytest.approx(np.mean(scores))


def test_operators_of_graphs_are_compared_over_seeds() -> None:
    first, second = made_up_search(), made_up_search(random=True)
    found = stability("autopi", [0, 1], [first, first])
    assert found is not None
    assert (found.measure, found.pearson, found.jaccard) == ("operator strength", pytest.approx(1), 1)
    without = stability("autopi", [0, 1], [second, second])
    assert without is not None
    assert (without.pearson, without.jaccard) == (None, 1)  # random graphs have no strengths


def test_stages_are_means_over_searches() -> None:
    trace = made_up_trace()
    other = trace.with_stage("a", 2.0).with_stage("b", 3.0)
    assert {s.name: s.seconds for s in analyse("m", [other, other.with_stage("c", 1)], SIZES).stages} == {
        "a": 2.0,
        "b": 3.0,
        "c": 0.5,
    }
    (alone,) = analyse("m", [trace], SIZES).stages  # recorded without stages
    assert (alone.name, alone.seconds) == ("search", trace.seconds)


def test_page_of_a_comparison_shows_agreement(tmp_path: Path) -> None:
    source, parsed = written(tmp_path, [made_up_trace(), changed(made_up_trace(), 5)])
    assert 'aria-label="Pearson correlations of the scores of every pair of seeds, by search"' in source
    assert 'aria-label="Scores of the candidates in the first seed against other seeds"' in source
    assert "Do the searches of different seeds agree?" in parsed.words
    assert "One seed" not in parsed.words


def test_page_of_one_seed_says_so(tmp_path: Path) -> None:
    results, trace = made_up(seeds=1)
    results = results.model_copy(update={"searches": (analyse("autofm", [trace], results.data.sizes),)})
    files = tmp_path / "table.csv", tmp_path / "page.html"
    comparison.render(results, {"autofm": [trace]}, {}, "A comparison", "", *files)
    assert "One seed: no agreement of searches." in files[1].read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("trace", "figures"),
    [
        (
            searched(),
            (
                "Number of interactions kept by order and function, and the statistics AUC of each",
                "Positions kept of 10, by field, order and function",
                "Embedding positions kept against the number of ids, by field",
            ),
        ),
        (
            optinter(),
            (
                "Map of the choice for every pair of fields",
                "Heat map of the mutual information of every pair of fields with the label",
                "Mutual information of the pairs with each choice, and its mean",
            ),
        ),
        (
            made_up_search(),
            (
                "The interaction cell: operators between its nodes",
                "The ensemble cell: operators between its nodes",
                "Heat maps of the strength of every operator on every edge",
            ),
        ),
    ],
    ids=["aim", "optinter", "autopi"],
)
def test_both_pages_have_the_figures_of_the_method(
    trace: SearchTrace, figures: tuple[str, ...], tmp_path: Path
) -> None:
    source, _ = written(tmp_path, [trace, changed(trace, 6)])
    results, _ = made_up()
    results = results.model_copy(update={"searches": (analyse("autofm", [trace], results.data.sizes),)})
    render(results, trace, tmp_path / "report.html")
    report = (tmp_path / "report.html").read_text(encoding="utf-8")
    for figure in figures:
        for page in (source, report):
            assert page.count(f'aria-label="{figure}"') == 1, figure
            assert "mathdefault" not in page
    assert written(tmp_path, [trace, changed(trace, 6)])[0] == source  # always the same


@pytest.mark.parametrize("like", [searched, optinter, made_up_trace], ids=["aim", "optinter", "autofis"])
def test_pages_of_searches_that_keep_nothing(like: type, tmp_path: Path) -> None:
    trace: SearchTrace = like()
    none = tuple(c.model_copy(update={"score": 0.0, "kept": False}) for c in trace.candidates)
    empty = trace.model_copy(update={"candidates": none, "embedding_gates": ()})
    source, parsed = written(tmp_path, [empty, empty])
    assert "all scores of a search are equal" in source
    assert "nan" not in parsed.words.split()


def test_candidates_without_statistics_are_counted(tmp_path: Path) -> None:
    trace = searched()
    bare = tuple(c.model_copy(update={"statistics_auc": None}) for c in trace.candidates)
    source, parsed = written(tmp_path, [trace.model_copy(update={"candidates": bare})] * 2)
    assert "Interactions kept" in parsed.words
    assert "Statistics AUC: kept filled" not in source


def test_a_comparison_shows_mean_attention(tmp_path: Path) -> None:
    results, _ = made_up()
    models = [
        m.model_copy(update={"attention": attention(FRAPPE, 2) if m.name == "lr" else None})
        for m in results.models
    ]
    results = results.model_copy(update={"models": tuple(models)})
    files = tmp_path / "table.csv", tmp_path / "page.html"
    comparison.render(results, {}, {}, "A comparison", "", *files)
    page = files[1].read_text(encoding="utf-8")
    assert page.count('aria-label="Heat maps of attention between fields, one per layer"') == 1
    assert "5\u202f678 validation rows" in page


def test_many_fields_stay_small(tmp_path: Path) -> None:
    wide = tuple(f"C{i}" for i in range(39))
    trace = optinter(wide)
    results, _ = made_up(fields=wide, kept=180)
    traces = [trace, changed(trace, 1), changed(trace, 2)]
    agreement = stability("autofm", [0, 1, 2], traces)
    assert agreement is not None
    update = {
        "searches": (analyse("autofm", traces, results.data.sizes),),
        "stability": (agreement,),
    }
    files = tmp_path / "table.csv", tmp_path / "page.html"
    shown = results.model_copy(update=update)
    comparison.render(shown, {"autofm": traces}, {}, "A comparison", "", *files)
    assert files[1].stat().st_size < 900_000
