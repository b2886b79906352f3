"""Logits of the shallow and the deep models compared with their equations as loops."""

from typing import Any

import numpy as np
import pytest
import torch
from oracle import PAIRS, ROWS, SCHEMA, SELECTIONS, Equation, Tuples, assert_follows, chosen, hyper_of

from ctrloom.config import ModelName
from ctrloom.models import build


def values(e: Equation, tuples: Tuples) -> dict[tuple[int, ...], np.ndarray]:
    """Products of each tuple; triples use their own table."""
    tables = {2: "embedding.weight", 3: "interactions.tables.3.weight"}
    return {t: x for o in (2, 3) for t, x in products_of_order(e, tables[o], tuples, o).items()}


def products_of_order(
    e: Equation, table: str, tuples: Tuples, order: int
) -> dict[tuple[int, ...], np.ndarray]:
    kept = tuple(t for t in tuples if len(t) == order)
    return e.products(table, kept) if kept else {}


def lr(e: Equation, tuples: Tuples) -> np.ndarray:
    return e.linear()


def fm(e: Equation, tuples: Tuples) -> np.ndarray:
    return e.linear() + sum(values(e, tuples).values(), np.zeros(9))


def fwfm(e: Equation, tuples: Tuples) -> np.ndarray:
    logits = e.linear()
    for order in (2, 3):
        for p, x in enumerate(x for t, x in values(e, tuples).items() if len(t) == order):
            logits = logits + e[f"field_weights.{order}"][p] * x
    return logits


def autofm(e: Equation, tuples: Tuples) -> np.ndarray:
    logits = e.linear()
    for order in (2, 3):
        kept = [x for t, x in values(e, tuples).items() if len(t) == order]
        if kept:
            normed = e.normed(f"gates.{order}.norm", np.stack(kept, 1), 1e-3)
            logits = logits + sum(g * x for g, x in zip(e[f"gates.{order}.gate_P"], normed.T, strict=True))
    return logits


def without_norm(e: Equation, tuples: Tuples) -> np.ndarray:
    logits = e.linear()
    for order in (2, 3):
        kept = [x for t, x in values(e, tuples).items() if len(t) == order]
        logits = logits + sum((g * x for g, x in zip(e[f"gates.{order}.gate_P"], kept, strict=True)), 0.0)
    return logits


def fnn(e: Equation, tuples: Tuples) -> np.ndarray:
    return e.perceptron(e.flat())


def widedeep(e: Equation, tuples: Tuples) -> np.ndarray:
    return e.linear() + fnn(e, tuples)


def deepfm(e: Equation, tuples: Tuples) -> np.ndarray:
    return fm(e, tuples) + fnn(e, tuples)


def autodeepfm(e: Equation, tuples: Tuples) -> np.ndarray:
    return autofm(e, tuples) + fnn(e, tuples)


def ipnn(e: Equation, tuples: Tuples) -> np.ndarray:
    return e.perceptron(np.concatenate([e.flat(), *(x[:, None] for x in values(e, tuples).values())], 1))


def deepcrossing(e: Equation, tuples: Tuples) -> np.ndarray:
    x = e.flat()
    for unit, width in ((0, 5), (1, 4)):
        inner = e.hidden(f"units.{unit}", x, (0,))
        assert inner.shape[1] == width
        x = np.maximum(x + e.affine(f"units.{unit}.2", inner), 0)
    return e.affine("out", x)[:, 0]


EQUATIONS = {
    "lr": lr,
    "fm": fm,
    "fwfm": fwfm,
    "autofm": autofm,
    "fnn": fnn,
    "widedeep": widedeep,
    "deepfm": deepfm,
    "autodeepfm": autodeepfm,
    "ipnn": ipnn,
    "deepcrossing": deepcrossing,
}


@pytest.mark.parametrize("selection", SELECTIONS)
@pytest.mark.parametrize("name", EQUATIONS)
@pytest.mark.parametrize("train", [True, False])
def test_logits_follow_the_equation(name: ModelName, selection: str, train: bool) -> None:
    assert_follows(name, EQUATIONS[name], SELECTIONS[selection], train)


@pytest.mark.parametrize("train", [True, False])
def test_gates_without_batch_norm_multiply_the_products(train: bool) -> None:
    for name, more in (("autofm", None), ("autodeepfm", fnn)):

        def equation(e: Equation, tuples: Tuples, more: Any = more) -> np.ndarray:
            return without_norm(e, tuples) + (more(e, tuples) if more else 0)

        assert_follows(name, equation, SELECTIONS["third order"], train, interaction_norm=False)


def test_without_batch_norm_and_gates_it_is_fm() -> None:
    """The ablation without both in AutoFIS is a transfer to FM, and to DeepFM."""
    assert ROWS.factors_NC is not None
    for gated, plain in (("autofm", "fm"), ("autodeepfm", "deepfm")):
        model = build(gated, chosen(*PAIRS), SCHEMA, hyper_of(gated, interaction_norm=False)).eval()
        other = build(plain, chosen(*PAIRS), SCHEMA, hyper_of(plain)).eval()
        torch.nn.init.ones_(model.get_parameter("gates.2.gate_P"))
        own = {key: value for key, value in model.state_dict().items() if not key.startswith("gates")}
        other.load_state_dict(own)
        logits = (each(ROWS.ids_NC, ROWS.factors_NC) for each in (model, other))
        torch.testing.assert_close(*logits, rtol=0, atol=1e-6)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("name", ["fnn", "widedeep", "deepfm", "ipnn", "pin", "autodeepfm", "deepcrossing"])
def test_layer_norm_is_between_each_hidden_layer_and_its_relu(name: ModelName, after: bool) -> None:
    hyper = hyper_of(name, layer_norm=True, layer_norm_after_relu=after)
    model = build(name, chosen(*PAIRS), SCHEMA, hyper)
    part = model.get_submodule("units" if name == "deepcrossing" else "mlp")
    kinds = [type(each).__name__ for each in part.modules() if not list(each.children())]
    assert kinds.count("LayerNorm") == 2
    for place in (at for at, kind in enumerate(kinds) if kind == "LayerNorm"):
        own = kinds[place - 1 : place + 2]
        assert own == (["ReLU", "LayerNorm", "Linear"] if after else ["Linear", "LayerNorm", "ReLU"])


def test_dropout_and_batch_norm_are_passed_to_the_mlp() -> None:
    for name, part in (
        *((n, "mlp") for n in ("fnn", "deepfm", "ipnn", "autodeepfm")),
        ("deepcrossing", "units"),
    ):
        hyper = hyper_of(name, dropout=0.5, batch_norm=True)
        model = build(name, chosen(*PAIRS), SCHEMA, hyper)
        kinds = {type(module).__name__ for module in model.get_submodule(part).modules()}
        assert {"Dropout", "BiasedNorm"} <= kinds, name
