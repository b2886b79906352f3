"""Logits of every model against its equation, written with loops over rows, fields and entries."""

from itertools import combinations

import numpy as np
import pytest
import torch
from small import rows_of, schema_of, tokens

from ctrloom.architecture import Architecture, Interaction
from ctrloom.config import Hyperparameters, ModelName
from ctrloom.data.rows import Rows
from ctrloom.models import build
from ctrloom.schema import Schema, SchemaMismatchError

SCHEMA = schema_of(("categorical", 5), ("multivalued", 4, 2), ("numeric", 2), ("categorical", 3))
HYPER = Hyperparameters(embedding_size=3, hidden=(5, 4), embedding_std=0.5)
ROWS = rows_of(SCHEMA, 9)
PAIRS = ((0, 1), (0, 3), (2, 3))
TRIPLES = ((0, 1, 3), (1, 2, 3))
SELECTIONS: dict[str, tuple[tuple[int, ...], ...]] = {
    "complete": tuple(combinations(range(4), 2)),
    "some pairs": PAIRS,
    "third order": PAIRS + TRIPLES,
    "triples alone": TRIPLES,
    "nothing": (),
}
NAMES: tuple[ModelName, ...] = ("lr", "fm", "fwfm", "fnn", "deepfm", "ipnn", "autofm", "autodeepfm")


def chosen(*tuples: tuple[int, ...], schema: Schema = SCHEMA) -> Architecture:
    named = tuple(Interaction(fields=tuple(schema.names[f] for f in t)) for t in tuples)
    return Architecture(method="test", fields=schema.names, interactions=named)


class Equation:
    """The parameters of a built model, and the terms that its equation is made of."""

    def __init__(self, model: torch.nn.Module, rows: Rows) -> None:
        self.state = {name: tensor.clone().numpy() for name, tensor in model.state_dict().items()}
        self.ids = rows.ids_NC.numpy()
        assert rows.factors_NC is not None
        self.factors = rows.factors_NC.double().numpy()

    def embedded(self, table: str) -> np.ndarray:
        weight = self.state[table]
        out = np.zeros((len(self.ids), 4, weight.shape[1]))
        for b in range(len(self.ids)):
            for column, field in enumerate((0, 1, 1, 2, 3)):
                out[b, field] += self.factors[b, column] * weight[self.ids[b, column]]
        return out

    def linear(self) -> np.ndarray:
        w = self.embedded("linear.weights.weight")
        return np.array([self.state["bias"] + sum(w[b, f, 0] for f in range(4)) for b in range(len(w))])

    def values(self, tuples: tuple[tuple[int, ...], ...]) -> dict[tuple[int, ...], np.ndarray]:
        """Products of the fields of each tuple; triples take the table of their own."""
        v = {order: self.embedded(name) for order, name in self.tables(tuples).items()}
        return {
            t: np.array(
                [
                    sum(np.prod([v[len(t)][b, f, d] for f in t]) for d in range(3))
                    for b in range(len(self.ids))
                ]
            )
            for t in tuples
        }

    def tables(self, tuples: tuple[tuple[int, ...], ...]) -> dict[int, str]:
        own = {3: "interactions.tables.3.weight"} if any(len(t) == 3 for t in tuples) else {}
        return {2: "embedding.weight", **own}

    def gated(self, tuples: tuple[tuple[int, ...], ...], train: bool) -> np.ndarray:
        total = np.zeros(len(self.ids))
        for order in (2, 3):
            for p, (_, x) in enumerate((t, x) for t, x in self.values(tuples).items() if len(t) == order):
                mean, variance = x.mean(), x.var()
                if not train:
                    mean = self.state[f"gates.{order}.norm.running_mean"][p]
                    variance = self.state[f"gates.{order}.norm.running_var"][p]
                total += self.state[f"gates.{order}.gate_P"][p] * (x - mean) / np.sqrt(variance + 1e-3)
        return total

    def perceptron(self, x: np.ndarray) -> np.ndarray:
        for layer in (0, 2):
            x = np.maximum(
                x @ self.state[f"mlp.layers.{layer}.weight"].T + self.state[f"mlp.layers.{layer}.bias"], 0
            )
        return (x @ self.state["mlp.layers.4.weight"].T + self.state["mlp.layers.4.bias"])[:, 0]

    def flat(self) -> np.ndarray:
        return self.embedded("embedding.weight").reshape(len(self.ids), -1)

    def logits(self, name: str, tuples: tuple[tuple[int, ...], ...], train: bool) -> np.ndarray:
        if name == "lr":
            return self.linear()
        if name == "fnn":
            return self.perceptron(self.flat())
        x = self.values(tuples)
        zero = np.zeros(len(self.ids))
        if name == "fm":
            return self.linear() + sum(x.values(), zero)
        if name == "fwfm":
            weighted = zero
            for order in (2, 3):
                for p, t in enumerate(t for t in x if len(t) == order):
                    weighted = weighted + self.state[f"field_weights.{order}"][p] * x[t]
            return self.linear() + weighted
        if name == "deepfm":
            return self.linear() + sum(x.values(), zero) + self.perceptron(self.flat())
        if name == "ipnn":
            return self.perceptron(
                np.concatenate([self.flat(), *(value[:, None] for value in x.values())], 1)
            )
        if name == "autofm":
            return self.linear() + self.gated(tuples, train)
        assert name == "autodeepfm"
        return self.linear() + self.gated(tuples, train) + self.perceptron(self.flat())


@pytest.mark.parametrize("selection", SELECTIONS)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("train", [True, False])
def test_logits_follow_the_equation(name: ModelName, selection: str, train: bool) -> None:
    torch.manual_seed(3)
    tuples = SELECTIONS[selection]
    model = build(name, chosen(*tuples), SCHEMA, HYPER).double()
    for tensor in model.state_dict().values():  # no zero bias, no gate like another
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape) + 0.1 if tensor.dim() < 2 else tensor)
    model.train(train)
    expected = Equation(model, ROWS).logits(name, tuples, train)
    assert ROWS.factors_NC is not None
    logits = model(ROWS.ids_NC, ROWS.factors_NC.double())
    assert logits.shape == (9,)
    np.testing.assert_allclose(logits.detach().numpy(), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_fields_of_tokens_need_no_factors(name: ModelName) -> None:
    schema = tokens(4)
    rows, model = rows_of(schema, 6), build(name, chosen(*PAIRS, schema=schema), schema, HYPER).eval()
    assert rows.factors_NC is None
    ones = torch.ones(rows.ids_NC.shape)
    torch.testing.assert_close(model(rows.ids_NC), model(rows.ids_NC, ones), rtol=0, atol=1e-6)


@pytest.mark.parametrize("selection", SELECTIONS)
@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_learns(name: ModelName, selection: str) -> None:
    model = build(name, chosen(*SELECTIONS[selection]), SCHEMA, HYPER)
    model(ROWS.ids_NC, ROWS.factors_NC).square().sum().backward()
    idle = [key for key, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    # Without a pair nothing reads the embeddings of the shallow models.
    unread = name in ("fm", "fwfm", "autofm") and selection in ("nothing", "triples alone")
    assert idle == (["embedding.weight"] if unread else [])


@pytest.mark.parametrize("name", NAMES)
def test_an_architecture_of_other_fields_is_refused(name: ModelName) -> None:
    other = Architecture.complete(("a", "b", "c", "x"))
    with pytest.raises(SchemaMismatchError, match="a, b, c, x; the data has a, b, c, d"):
        build(name, other, SCHEMA, HYPER)
    with pytest.raises(SchemaMismatchError):
        build(name, Architecture.complete(("b", "a", "c", "d")), SCHEMA, HYPER)


def test_dropout_and_batch_norm_reach_the_perceptron() -> None:
    hyper = HYPER.model_copy(update={"dropout": 0.5, "batch_norm": True})
    for name in ("fnn", "deepfm", "ipnn", "autodeepfm"):
        kinds = {
            type(module).__name__
            for module in build(name, chosen(*PAIRS), SCHEMA, hyper).get_submodule("mlp").modules()
        }
        assert {"Dropout", "BiasedNorm"} <= kinds, name
