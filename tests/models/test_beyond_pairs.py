"""Logits of models that build their own interactions, compared with their equations as loops."""

import numpy as np
import pytest
import torch
from oracle import ROWS, SCHEMA, SELECTIONS, Equation, Tuples, assert_follows, chosen, hyper_of

from ctrloom.config import ModelName
from ctrloom.config.base import ConfigError
from ctrloom.models import build
from ctrloom.schema import SchemaMismatchError

B, F, D = 9, 4, 3


def crossed(e: Equation) -> np.ndarray:
    x = first = e.flat()
    for layer in range(2):
        w, b = e[f"cross.weights.{layer}.weight"][0], e[f"cross.biases.{layer}"]
        x = np.array([first[r] * (x[r] @ w) + b + x[r] for r in range(B)])
    return e.affine("out", x)[:, 0]


def crossnet(e: Equation, tuples: Tuples) -> np.ndarray:
    return crossed(e) + e["bias"]


def dcn(e: Equation, tuples: Tuples) -> np.ndarray:
    return crossed(e) + e.perceptron(e.flat())


def dcnv2(e: Equation, tuples: Tuples) -> np.ndarray:
    x = first = e.flat()
    for layer in range(2):
        x = first * e.affine(f"cross.layers.{layer}", x) + x
    return e.affine("out", x)[:, 0] + e.perceptron(first)


def low_rank(e: Equation, tuples: Tuples) -> np.ndarray:
    x = first = e.flat()
    for layer in range(2):
        u, v = e[f"cross.layers.{layer}.1.weight"], e[f"cross.layers.{layer}.0.weight"]
        assert u.shape == (12, 2)
        x = first * (x @ (u @ v).T + e[f"cross.layers.{layer}.1.bias"]) + x
    return e.affine("out", x)[:, 0] + e.perceptron(first)


def cin(e: Equation, tuples: Tuples) -> np.ndarray:
    x = first = e.embedded()
    pooled = []
    for layer, maps in enumerate((3, 2, 4)):
        w = e[f"cin.layers.{layer}.weight"].reshape(maps, x.shape[1], F)
        before, x = x, np.zeros((B, maps, D))
        for h in range(maps):
            for i in range(before.shape[1]):
                for j in range(F):
                    x[:, h] += w[h, i, j] * before[:, i] * first[:, j]
        pooled.append(x.sum(2))
    return e.affine("out", np.concatenate(pooled, 1))[:, 0]


def xdeepfm(e: Equation, tuples: Tuples) -> np.ndarray:
    return e.linear() + e.perceptron(e.flat()) + cin(e, tuples)


def afn(e: Equation, tuples: Tuples) -> np.ndarray:
    def normed(name: str, x: np.ndarray) -> np.ndarray:  # one mean per channel, over rows and embedding
        return e.normed(f"logarithmic.{name}", x.reshape(B * D, -1), 1e-5).reshape(x.shape)

    logs = normed("log_norm", np.log(np.maximum(np.abs(e.embedded()), 1e-4)).transpose(0, 2, 1))
    powers, bias = e["logarithmic.exponents.weight"], e["logarithmic.exponents.bias"]
    products = np.zeros((B, D, 6))
    for h in range(6):
        products[:, :, h] = np.exp(bias[h]) * np.prod(
            [np.exp(logs[:, :, f]) ** powers[h, f] for f in range(F)], 0
        )
    return e.perceptron(normed("exp_norm", products).reshape(B, -1))


def afn_plus(e: Equation, tuples: Tuples) -> np.ndarray:
    return afn(e, tuples) + e.perceptron(e.flat("second_embedding.weight"), "second_mlp")


def fused(e: Equation, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    heads = e["fusion.weight_KHH"]
    n, m = heads.shape[1:]
    logits = e.affine("fusion.first", first)[:, 0] + e.affine("fusion.second", second)[:, 0]
    for b in range(B):
        for k, w in enumerate(heads):
            logits[b] += first[b, k * n : (k + 1) * n] @ w @ second[b, k * m : (k + 1) * m]
    return logits


def finalmlp(e: Equation, tuples: Tuples) -> np.ndarray:
    return fused(e, e.hidden("first.1", e.flat()), e.hidden("second.1", e.flat()))


def gated(e: Equation, tuples: Tuples) -> np.ndarray:
    """The context of the first gate is the fields d and b, that of the second a learned vector."""
    v, streams = e.embedded(), []
    contexts = {"first": np.concatenate([v[:, 3], v[:, 1]], 1), "second": e["second.0.learned_D"]}
    for name, context in contexts.items():
        gate = e.affine(f"{name}.0.layers.2", e.hidden(f"{name}.0.layers", context, (0,)))
        streams.append(e.hidden(f"{name}.1", 2 / (1 + np.exp(-gate)) * e.flat()))
    return fused(e, *streams)


EQUATIONS = {
    "crossnet": crossnet,
    "dcn": dcn,
    "dcnv2": dcnv2,
    "cin": cin,
    "xdeepfm": xdeepfm,
    "afn": afn,
    "finalmlp": finalmlp,
}


@pytest.mark.parametrize("selection", ["complete", "nothing"])
@pytest.mark.parametrize("name", EQUATIONS)
@pytest.mark.parametrize("train", [True, False])
def test_logits_follow_the_equation(name: ModelName, selection: str, train: bool) -> None:
    assert_follows(name, EQUATIONS[name], SELECTIONS[selection], train)


def test_logits_follow_the_equation_of_a_variant() -> None:
    assert_follows("dcnv2", low_rank, (), low_rank=2)
    assert_follows("afn", afn_plus, (), plus=True)
    assert_follows("finalmlp", gated, (), gate_hidden=3, first_context=("d", "b"))


def test_afn_handles_zero_and_negative_embeddings() -> None:
    model = build("afn", chosen(), SCHEMA, hyper_of("afn"))
    with torch.no_grad():
        model.get_parameter("embedding.weight").neg_()[:3] = 0
    logits = model(ROWS.ids_NC, ROWS.factors_NC)
    logits.sum().backward()
    assert logits.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_finalmlp_refuses_incompatible_settings() -> None:
    with pytest.raises(ConfigError, match="3 heads cannot share the 4 outputs of hidden"):
        hyper_of("finalmlp", heads=3)
    with pytest.raises(ConfigError, match="2 heads cannot share the 5 outputs of second_hidden"):
        hyper_of("finalmlp", second_hidden=(5,))
    with pytest.raises(ConfigError, match="gate_hidden: required with"):
        hyper_of("finalmlp", first_context=("a",))
    with pytest.raises(SchemaMismatchError, match="no field named 'x'"):
        build("finalmlp", chosen(), SCHEMA, hyper_of("finalmlp", gate_hidden=3, second_context=("x",)))
