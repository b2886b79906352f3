"""Logits of models with their own layers over pairs, compared with their equations as loops."""

from itertools import combinations

import numpy as np
import pytest
import torch
from oracle import (
    PAIRS,
    ROWS,
    SCHEMA,
    SELECTIONS,
    Equation,
    Tuples,
    assert_follows,
    chosen,
    hyper_of,
    pairs_of,
)

from ctrloom.config import ModelName
from ctrloom.models import build

B, D = 9, 3


def ffm(e: Equation, tuples: Tuples) -> np.ndarray:
    """The s-th pair of a field (in the order of pairs) has the s-th vector of its ids."""
    logits, used = e.linear(), dict.fromkeys(range(4), 0)
    for i, j in pairs_of(tuples):
        v = e.embedded("products.table.weight")
        left, right = (v[:, f, used[f] * D : (used[f] + 1) * D] for f in (i, j))
        logits = logits + np.array([sum(left[b, d] * right[b, d] for d in range(D)) for b in range(B)])
        used[i], used[j] = used[i] + 1, used[j] + 1
    return logits


def kernels(e: Equation, tuples: Tuples) -> list[np.ndarray]:
    v, w = e.embedded(), e["products.kernel_PDD"]
    return [
        np.array(
            [sum(v[b, i, c] * w[p, c, d] * v[b, j, d] for c in range(D) for d in range(D)) for b in range(B)]
        )
        for p, (i, j) in enumerate(pairs_of(tuples))
    ]


def fmfm(e: Equation, tuples: Tuples) -> np.ndarray:
    return e.linear() + sum(kernels(e, tuples), np.zeros(B))


def opnn(e: Equation, tuples: Tuples) -> np.ndarray:
    return e.perceptron(np.concatenate([e.flat(), *(x[:, None] for x in kernels(e, tuples))], 1))


def pin(e: Equation, tuples: Tuples) -> np.ndarray:
    v, parts = e.embedded(), [e.flat()]
    for p, (i, j) in enumerate(pairs_of(tuples)):
        x = np.concatenate([v[:, i], v[:, j], v[:, i] * v[:, j]], 1)
        for layer in (0, 1):
            x = x @ e[f"networks.weights.{layer}"][p]
            x = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)
            x = np.maximum(x + e[f"networks.biases.{layer}"][p], 0)
        parts.append(x)
    return e.perceptron(np.concatenate(parts, 1))


def afm(e: Equation, tuples: Tuples) -> np.ndarray:
    logits, v = e.linear(), e.embedded()
    for b in range(B) if pairs_of(tuples) else ():
        x = [v[b, i] * v[b, j] for i, j in pairs_of(tuples)]
        scores = np.array([e["pooling.out.weight"][0] @ e.hidden("pooling", p, ("attention",)) for p in x])
        a = np.exp(scores) / np.exp(scores).sum()
        logits[b] += sum(a[p] * (e["out.weight"][0] @ x[p]) for p in range(len(x)))
    return logits


def nfm(e: Equation, tuples: Tuples) -> np.ndarray:
    v = e.embedded()
    return e.linear() + e.perceptron(sum((v[:, i] * v[:, j] for i, j in pairs_of(tuples)), np.zeros((B, D))))


def hofm(e: Equation, tuples: Tuples) -> np.ndarray:
    if tuples == SELECTIONS["complete"]:  # no triples in the architecture
        tuples = (*tuples, *combinations(range(4), 3))
    logits = e.linear()
    for order in (2, 3):
        kept = tuple(t for t in tuples if len(t) == order)
        if kept:
            logits = logits + sum(e.products(f"tables.{order}.weight", kept).values())
    return logits


EQUATIONS = {"ffm": ffm, "fmfm": fmfm, "opnn": opnn, "pin": pin, "afm": afm, "nfm": nfm, "hofm": hofm}


@pytest.mark.parametrize("selection", SELECTIONS)
@pytest.mark.parametrize("name", EQUATIONS)
def test_logits_follow_the_equation(name: ModelName, selection: str) -> None:
    assert_follows(name, EQUATIONS[name], SELECTIONS[selection])


@pytest.mark.parametrize("order", [2, 3, 4, 5])
def test_hofm_has_all_orders_over_all_pairs(order: int) -> None:
    def equation(e: Equation, tuples: Tuples) -> np.ndarray:
        orders = range(2, min(order, 4) + 1)
        every = (e.products(f"tables.{o}.weight", tuple(combinations(range(4), o))) for o in orders)
        return e.linear() + sum(x for products in every for x in products.values())

    assert_follows("hofm", equation, SELECTIONS["complete"], order=order)


def test_hofm_combines_complete_and_partial_orders() -> None:
    pairs, triple = SELECTIONS["complete"], ((0, 1, 3),)
    assert_follows("hofm", hofm, pairs + triple)
    assert_follows("hofm", hofm, PAIRS + tuple(combinations(range(4), 3)), order=5)


def test_ffm_width_is_that_of_the_field_with_most_partners() -> None:
    widths = {
        selection: build("ffm", chosen(*SELECTIONS[selection]), SCHEMA, hyper_of("ffm"))
        .get_parameter("products.table.weight")
        .shape[1]
        for selection in SELECTIONS
    }
    assert widths == {"complete": 9, "some pairs": 6, "third order": 6, "triples alone": 0, "nothing": 0}


def test_nfm_applies_norm_and_dropout_to_pooled_pairs() -> None:
    hyper = hyper_of("nfm", dropout=0.5, batch_norm=True)
    model = build("nfm", chosen(*PAIRS), SCHEMA, hyper)
    kinds = [type(layer).__name__ for layer in model.get_submodule("regularised").children()]
    assert kinds == ["BiasedNorm", "Dropout"]


def test_afm_applies_dropout_to_pooled_pairs() -> None:
    torch.manual_seed(0)
    model = build("afm", chosen(*PAIRS), SCHEMA, hyper_of("afm", dropout=0.9))
    first, second = (model(ROWS.ids_NC, ROWS.factors_NC) for _ in range(2))
    assert not torch.equal(first, second)
    model.eval()
    first, second = (model(ROWS.ids_NC, ROWS.factors_NC) for _ in range(2))
    assert torch.equal(first, second)
