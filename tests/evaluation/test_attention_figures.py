"""The section on attention: only for models that have it, self-contained, and small for many fields."""

from pathlib import Path

import numpy as np
from invented_results import FRAPPE, made_up

from ctrloom.evaluation.results import Attention, AttentionMap, AttentionRow, Results
from ctrloom.report.attention_figures import darkest
from ctrloom.report.render import render


def maps(fields: int, layers: int, seed: int) -> tuple[AttentionMap, ...]:
    weight = np.random.default_rng(seed).dirichlet(np.ones(fields), (layers, fields)).round(4)
    return tuple(tuple(tuple(line) for line in layer) for layer in weight.tolist())


def attention(fields: tuple[str, ...], layers: int, values: tuple[str, ...] = ()) -> Attention:
    example = AttentionRow(values=values or fields, probability=0.913, layers=maps(len(fields), layers, 1))
    return Attention(fields=fields, rows=5678, layers=maps(len(fields), layers, 2), example=example)


def page(to: Path, about: Attention | None) -> str:
    results, trace = made_up()
    models = [m.model_copy(update={"attention": about if m.name == "lr" else None}) for m in results.models]
    results = results.model_copy(update={"models": tuple(models)})
    results.save(to / "metrics.json")
    assert Results.load(to / "metrics.json") == results
    render(results, trace, to / "report.html")
    return (to / "report.html").read_text()


def section(text: str) -> str:
    start = text.index('<section id="attention">')
    return text[start : text.index("</section>", start)]


def test_every_layer_has_numbers_and_the_example_has_values(tmp_path: Path) -> None:
    about = attention(FRAPPE, 4, (*(f"v{i}" for i in range(9)), "<b>&"))
    drawn = section(page(tmp_path, about))
    assert drawn.count("<svg") == 2
    for layer in range(1, 5):
        assert drawn.count(f">Layer {layer}<") == 2
    for number in (about.layers[3][0][0], about.example.layers[0][9][9]):
        assert f">{number:.2f}<" in drawn
    assert ">user: v0<" in drawn
    assert "city: &lt;b&gt;&amp;<" in drawn
    assert "5\u202f678 validation rows" in drawn
    assert "0.913" in drawn
    assert f"from 0 to {darkest(about):.2f}" in drawn


def test_without_attention_there_is_no_section(tmp_path: Path) -> None:
    assert 'id="attention"' not in page(tmp_path, None)


def test_many_fields_stay_small(tmp_path: Path) -> None:
    wide = tuple(f"field_{i}" for i in range(39))
    assert len(section(page(tmp_path, attention(wide, 3)))) < 700_000


def test_uniform_attention_has_a_middle_shade() -> None:
    equal: tuple[AttentionMap, ...] = (((0.5, 0.5), (0.5, 0.5)),)
    flat = AttentionRow(values=("x", "y"), probability=0.5, layers=equal)
    assert darkest(Attention(fields=("a", "b"), rows=1, layers=equal, example=flat)) == 1.0
