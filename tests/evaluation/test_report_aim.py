"""The report of a search for functions and embedding sizes."""

from pathlib import Path

from invented_results import FRAPPE, made_up, made_up_trace
from test_report import page

from ctrloom.architecture import Function
from ctrloom.report import aim_figures, summary
from ctrloom.report.format import count
from ctrloom.search_trace import Candidate, EmbeddingGates, SearchTrace

FUNCTIONS: tuple[Function, ...] = ("inner", "outer")


def searched() -> SearchTrace:
    """Nine pairs kept as inner products, three of them also as outer products, and one triple."""
    trace = made_up_trace(third=True)
    kept = [c for c in trace.candidates if c.kept and c.order == 2][:3]
    outer = [c.model_copy(update={"function": "outer", "kept": c in kept}) for c in trace.candidates]
    gates = [
        EmbeddingGates(
            field=field, order=2, function="inner", gates=tuple([0.5] * size + [0.0] * (10 - size))
        )
        for size, field in enumerate(FRAPPE)
    ]
    gates.append(EmbeddingGates(field="user", order=3, function="outer", gates=(0.1,) * 10))
    return trace.model_copy(
        update={
            "method": "aim",
            "candidates": (*trace.candidates, *outer),
            "embedding_gates": tuple(gates),
            "path_steps": (),
            "path_scores": (),
            "path_threshold": (),
        }
    )


def test_interactions_count_once_over_all_functions() -> None:
    assert summary.kept(searched()) == [(2, 9, 45), (3, 4, 120)]
    truth = tuple(c.fields for c in searched().candidates if c.kept)[1:2]
    compared = summary.planted(searched().model_copy(update={"planted": truth}))
    assert compared is not None
    assert (len(compared.found), len(compared.wrong), len(set(compared.wrong))) == (1, 12, 12)


def test_the_page_has_a_map_per_function_and_the_embedding_sizes(tmp_path: Path) -> None:
    source, parsed = page(made_up()[0], searched(), tmp_path)
    assert "The search kept 9 of 45 pairs and 4 of 120 triples." in parsed.words
    for function in FUNCTIONS:
        assert f"Pairs by the function {function}." in parsed.words
    assert "Gates of all pairs." not in parsed.words
    assert "Embedding sizes." in parsed.words
    assert 'aria-label="Positions kept of 10, by field, order and function"' in source
    assert "http" not in source.replace("http-equiv", "").replace("http://www.w3.org", "")


def test_the_map_of_embeddings_names_sizes_in_field_order() -> None:
    figure = str(aim_figures.embedding_map(searched(), made_up()[0].data.sizes))
    numbers = [part.partition("</text>")[0].rpartition(">")[2] for part in figure.split("<text ")[1:]]
    assert [n for n in numbers if n.isdigit()] == ["0", "10", "1", "2", "3", "4", "5", "6", "7", "8", "9"]
    ids = {f.name: f.size for f in made_up()[0].data.fields}
    places = [numbers.index(f"{name} ({count(ids[name])})") for name in FRAPPE]
    assert places == sorted(places)


def test_searches_of_other_methods_have_no_functions() -> None:
    assert aim_figures.functions(made_up_trace()) == ()
    alone = searched().model_copy(
        update={"candidates": (Candidate(fields=("user", "item"), score=1, kept=True),)}
    )
    assert aim_figures.functions(alone) == ("inner",)
