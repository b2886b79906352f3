"""OptInter's part of the report: the choice for each pair."""

from pathlib import Path

import numpy as np
from invented_results import FRAPPE, made_up, made_up_trace

from ctrloom.evaluation.choices import by_information, choices_of
from ctrloom.report.choice_figures import choice_map
from ctrloom.report.render import render
from ctrloom.search_trace import Candidate, SearchTrace

FUNCTIONS = ("memorize", "hadamard", "none")


def optinter(fields: tuple[str, ...] = FRAPPE) -> SearchTrace:
    """The made-up search with three candidates per pair and random probabilities."""
    rng, trace = np.random.default_rng(1), made_up_trace(fields)
    candidates = []
    for pair in trace.of_order(2):
        shares, nats = rng.dirichlet([0.5] * 3).tolist(), float(rng.random()) / 100
        for function, p in zip(FUNCTIONS, shares, strict=True):
            kept = function != "none" and p == max(shares)
            common = {"statistics_auc": 0.6, "mutual_information": nats}
            candidates.append(Candidate(fields=pair.fields, function=function, score=p, kept=kept, **common))
    gates = tuple(c.score for c in candidates)
    update = {
        "method": "optinter",
        "base": "optinter",
        "candidates": tuple(candidates),
        "path_scores": tuple(gates for _ in trace.path_steps),
    }
    return SearchTrace.model_validate(trace.model_copy(update=update).model_dump())


def test_choices_are_likeliest_per_pair_and_sorted_by_mutual_information() -> None:
    trace = optinter()
    chosen = by_information(choices_of([trace]))
    assert len(chosen) == 45
    for choice in chosen:
        three = {c.function: c for c in trace.candidates if c.fields == choice.fields}
        assert choice.probability == max(c.score for c in three.values()) == three[choice.function].score
        assert choice.mutual_information == three[choice.function].mutual_information
    nats = [choice.mutual_information or 0 for choice in chosen]
    assert nats == sorted(nats, reverse=True)
    assert choices_of([made_up_trace()]) == []


def test_the_map_names_each_pair_and_its_choice() -> None:
    trace = optinter()
    drawn = str(choice_map(choices_of([trace]), 1))
    for choice in choices_of([trace]):
        nats = f"{choice.mutual_information:.5f}"
        tip = f"{choice.name}, probability {choice.probability:.3f}, mutual information {nats}"
        assert f"<title>{' × '.join(choice.fields)}: {tip}</title>" in drawn


def test_report_shows_choices_instead_of_gates(tmp_path: Path) -> None:
    results, _ = made_up()
    trace = optinter()
    render(results, trace, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count("How each pair is modelled") == 1
    assert 'id="choices"' in page
    assert "Gates of all pairs" not in page
    counts = {name: sum(c.name == name for c in choices_of([trace])) for name in ("memorize", "leave out")}
    assert f"{counts['memorize']} memorized" in page
    assert f"{counts['leave out']} left out" in page
    # The first row of the table is the pair with the highest mutual information.
    table = page[page.index('id="choices"') :]
    first, second = by_information(choices_of([trace]))[:2]
    assert table.index(f"{first.mutual_information:.5f}") < table.index(f"{second.mutual_information:.5f}")
