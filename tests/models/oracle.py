"""Shared by tests of models: a schema with all kinds of fields, selections, and terms of equations."""

from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import torch
from small import rows_of, schema_of

from ctrloom.architecture import Architecture, Interaction
from ctrloom.config import Hyperparameters, ModelName, ModelsConfig
from ctrloom.models import build
from ctrloom.schema import Schema

Tuples = tuple[tuple[int, ...], ...]
SCHEMA = schema_of(("categorical", 5), ("multivalued", 4, 2), ("numeric", 2), ("categorical", 3))
ROWS = rows_of(SCHEMA, 9)
PAIRS: Tuples = ((0, 1), (0, 3), (2, 3))
TRIPLES: Tuples = ((0, 1, 3), (1, 2, 3))
SELECTIONS: dict[str, Tuples] = {
    "complete": tuple(combinations(range(4), 2)),
    "some pairs": PAIRS,
    "third order": PAIRS + TRIPLES,
    "triples alone": TRIPLES,
    "nothing": (),
}
SMALL: dict[str, Any] = {"embedding_size": 3, "hidden": (5, 4), "dropout": 0, "embedding_std": 0.5}
OWN: dict[str, dict[str, Any]] = {
    "afm": {"attention_size": 2},
    "pin": {"subnet_hidden": (4, 2)},
    "crossnet": {"cross_layers": 2},
    "cin": {"cin_layers": (3, 2, 4)},
    "dcn": {"cross_layers": 2},
    "dcnv2": {"cross_layers": 2},
    "xdeepfm": {"cin_layers": (3, 2, 4)},
    "afn": {"logarithmic_neurons": 6},
    "finalmlp": {"second_hidden": (6, 2), "heads": 2},
    "finalnet": {"hidden": (6, 4)},
    "gdcn": {"cross_layers": 2},
    "dcnv3": {"embedding_size": 4, "exponential_layers": 2, "linear_layers": 3, "linear_dropout": 0.0},
    "fignn": {"steps": 2},
    "autogroup": {"groups": (2, 3, 4), "order_sizes": (3, 2)},
}


def hyper_of(name: str, **settings: Any) -> Hyperparameters:
    """Small settings of a model."""
    return ModelsConfig.parse({name: {**SMALL, **OWN.get(name, {}), **settings}}).of(name)


def chosen(*tuples: tuple[int, ...], schema: Schema = SCHEMA) -> Architecture:
    named = tuple(Interaction(fields=tuple(schema.names[f] for f in t)) for t in tuples)
    return Architecture(method="test", fields=schema.names, interactions=named)


def pairs_of(tuples: Tuples) -> Tuples:
    return tuple(t for t in tuples if len(t) == 2)


class Equation:
    """The parameters of a model, and the terms of equations."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.state = {name: tensor.clone().numpy() for name, tensor in model.state_dict().items()}
        self.training = model.training
        self.ids = ROWS.ids_NC.numpy()
        assert ROWS.factors_NC is not None
        self.factors = ROWS.factors_NC.double().numpy()

    def __getitem__(self, name: str) -> np.ndarray:
        return self.state[name]

    def embedded(self, table: str = "embedding.weight") -> np.ndarray:
        weight = self[table]
        out = np.zeros((len(self.ids), 4, weight.shape[1]))
        for b in range(len(self.ids)):
            for column, field in enumerate((0, 1, 1, 2, 3)):
                out[b, field] += self.factors[b, column] * weight[self.ids[b, column]]
        return out

    def flat(self, table: str = "embedding.weight") -> np.ndarray:
        return self.embedded(table).reshape(len(self.ids), -1)

    def linear(self) -> np.ndarray:
        w = self.embedded("linear.weights.weight")
        return np.array([self["bias"] + sum(w[b, f, 0] for f in range(4)) for b in range(len(w))])

    def affine(self, name: str, x: np.ndarray) -> np.ndarray:
        """x W^T + b, or x W^T without a bias."""
        return x @ self[f"{name}.weight"].T + self.state.get(f"{name}.bias", 0)

    def hidden(self, name: str, x: np.ndarray, layers: tuple[int, ...] = (0, 2)) -> np.ndarray:
        for layer in layers:
            x = np.maximum(self.affine(f"{name}.{layer}", x), 0)
        return x

    def perceptron(self, x: np.ndarray, name: str = "mlp") -> np.ndarray:
        return self.affine(f"{name}.layers.4", self.hidden(f"{name}.layers", x))[:, 0]

    def normed(self, name: str, x: np.ndarray, eps: float) -> np.ndarray:
        """Batch norm of the columns of x, with scale and shift if the layer has them."""
        mean, variance = x.mean(0), x.var(0)
        if not self.training:
            mean, variance = self[f"{name}.running_mean"], self[f"{name}.running_var"]
        scale, shift = self.state.get(f"{name}.weight", 1), self.state.get(f"{name}.bias", 0)
        return (x - mean) / np.sqrt(variance + eps) * scale + shift

    def products(self, table: str, tuples: Tuples) -> dict[tuple[int, ...], np.ndarray]:
        """Products of the fields of each tuple, summed over the embedding."""
        v = self.embedded(table)
        return {
            t: np.array([sum(np.prod([row[f, d] for f in t]) for d in range(3)) for row in v]) for t in tuples
        }


def assert_follows(
    name: ModelName,
    equation: Callable[[Equation, Tuples], np.ndarray],
    tuples: Tuples,
    train: bool = True,
    **settings: Any,
) -> None:
    """Assert that a model with random parameters follows its equation."""
    torch.manual_seed(3)
    model = build(name, chosen(*tuples), SCHEMA, hyper_of(name, **settings)).double()
    for tensor in model.state_dict().values():  # no zero biases or equal gates
        if tensor.is_floating_point() and (tensor.dim() < 2 or not tensor.any()):
            tensor.copy_(torch.rand(tensor.shape) + 0.1)
    model.train(train)
    expected = equation(Equation(model), tuples)
    assert ROWS.factors_NC is not None
    logits = model(ROWS.ids_NC, ROWS.factors_NC.double())
    assert logits.shape == (9,)
    np.testing.assert_allclose(logits.detach().numpy(), expected, rtol=0, atol=1e-10)
