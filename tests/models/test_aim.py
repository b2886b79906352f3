"""AIM and the model of its stage 2 compared with their equations; sizes of its tables."""

from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
from oracle import ROWS, SCHEMA, SMALL, Equation
from small import planting

from ctrloom.architecture import Architecture, Function, Interaction, KeptPositions
from ctrloom.config import AIMSettings
from ctrloom.models.aim import AIM, PositionGatedAIM

FUNCTIONS: tuple[Function, ...] = ("inner", "vector_kernel", "scalar_kernel", "outer")
PAIRS = ((0, 1), (0, 3), (2, 3))
TRIPLES = ((0, 1, 3), (1, 2, 3))
NAMES = SCHEMA.names


def architecture(**tuples_of: tuple[tuple[int, ...], ...]) -> Architecture:
    interactions = [
        Interaction(fields=tuple(NAMES[f] for f in fields), function=function)  # type: ignore[arg-type]
        for function, tuples in tuples_of.items()
        for fields in tuples
    ]
    return Architecture(method="aim", fields=NAMES, interactions=tuple(interactions))


SELECTIONS = {
    "all functions": architecture(**dict.fromkeys(FUNCTIONS, PAIRS)),
    "third order": architecture(inner=PAIRS + TRIPLES[1:], outer=TRIPLES, scalar_kernel=PAIRS[:1]),
    "one pair": architecture(vector_kernel=PAIRS[:1]),
    "nothing": architecture(),
}


def randomised(model: torch.nn.Module, train: bool) -> Equation:
    for tensor in model.state_dict().values():
        if tensor.is_floating_point() and (tensor.dim() < 2 or not tensor.any()):
            tensor.copy_(torch.rand(tensor.shape) + 0.1)
    for name, parameter in model.named_parameters():
        if "kernel" in name:
            torch.nn.init.normal_(parameter)
    model.train(train)
    return Equation(model)


def products(
    equation: Equation, key: str, tuples: list[tuple[int, ...]], emb: np.ndarray
) -> list[np.ndarray]:
    """Products of each tuple before summation (rows, entries)."""
    made, at = [], f"interactions.functions.{key}"
    for p, fields in enumerate(tuples):
        if key.endswith("outer"):
            places = [emb[:, f] @ equation[f"{at}.weight_OD"][place] for place, f in enumerate(fields)]
            made.append(np.prod(places, axis=0)[:, None])
            continue
        kernel = 1.0
        if "kernel" in key:
            kernel = equation[f"{at}.kernel_{'PD' if 'vector' in key else 'P'}"][p]
        made.append(kernel * np.prod([emb[:, f] for f in fields], axis=0))
    return made


def groups(built: Architecture) -> dict[str, list[tuple[int, ...]]]:
    return {
        f"{order}_{function}": sorted(
            tuple(NAMES.index(n) for n in i.fields)
            for i in built.interactions
            if (i.order, i.function) == (order, function)
        )
        for order in built.orders
        for function in built.functions(order)
    }


def logits(model: torch.nn.Module) -> np.ndarray:
    assert ROWS.factors_NC is not None
    out: torch.Tensor = model(ROWS.ids_NC, ROWS.factors_NC.double())
    return out.detach().numpy()


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("selection", SELECTIONS)
@pytest.mark.parametrize(
    "settings", [{}, {"perceptron": False}, {"shared_embeddings": True}], ids=["", "bare", "shared"]
)
def test_aim_follows_its_equation(settings: dict[str, Any], selection: str, train: bool) -> None:
    torch.manual_seed(3)
    built = SELECTIONS[selection]
    hyper = AIMSettings(**SMALL, **settings)
    model = AIM(built, SCHEMA, hyper).double()
    equation = randomised(model, train)
    expected = equation["bias"] + equation["scales.linear"] * (equation.linear() - equation["bias"])
    flat = []
    for key, tuples in groups(built).items():
        emb = embedded(model, key[0] if hyper.shared_embeddings else key)
        made = products(equation, key, tuples, emb)
        x = np.stack([product.sum(1) for product in made], 1)
        gate = equation[f"gates.{key}.gate_P"]
        expected = expected + equation[f"scales.{key[0]}"] * (
            equation.normed(f"gates.{key}.norm", x, 1e-3) @ gate
        )
        flat += made
    if flat and hyper.perceptron:
        expected = expected + equation["scales.perceptron"] * equation.perceptron(np.concatenate(flat, 1))
    np.testing.assert_allclose(logits(model), expected, rtol=0, atol=1e-10)


def embedded(model: torch.nn.Module, table: str) -> np.ndarray:
    """Embeddings (rows, fields, size) of a table; see tests/nn/test_functions.py for their tests."""
    assert ROWS.factors_NC is not None
    with torch.no_grad():
        layer = model.get_submodule(f"interactions.tables.{table}")
        emb: torch.Tensor = layer(ROWS.ids_NC, ROWS.factors_NC.double())
        return emb.numpy()


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("selection", ["all functions", "third order"])
def test_position_gated_model_follows_its_equation(selection: str, train: bool) -> None:
    torch.manual_seed(4)
    built = SELECTIONS[selection]
    model = PositionGatedAIM(built, SCHEMA, AIMSettings(**SMALL)).double()
    for gates in model.gates.parameters():
        torch.nn.init.uniform_(gates, 0.1, 0.9)
    equation = randomised(model, train)
    expected = equation["bias"] + equation["scales.linear"] * (equation.linear() - equation["bias"])
    for key, tuples in groups(built).items():
        emb = embedded(model, key)
        normed = equation.normed(f"gates.{key}.norm", emb.reshape(9, -1), 1e-3).reshape(emb.shape)
        made = products(equation, key, tuples, equation[f"gates.{key}.gate_FD"] * normed)
        expected = expected + equation[f"scales.{key[0]}"] * sum(product.sum(1) for product in made)
    np.testing.assert_allclose(logits(model), expected, rtol=0, atol=1e-10)


def test_every_parameter_gets_a_gradient() -> None:
    for model in (
        AIM(SELECTIONS["third order"], SCHEMA, AIMSettings(**SMALL)),
        PositionGatedAIM(SELECTIONS["third order"], SCHEMA, AIMSettings(**SMALL)),
    ):
        model(ROWS.ids_NC, ROWS.factors_NC).square().sum().backward()
        assert [key for key, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_dropped_positions_have_no_weights_and_are_zero() -> None:
    pairs = architecture(inner=tuple(combinations(range(4), 2)))
    sizes = {"a": 1, "b": 3, "c": 2, "d": 0}
    kept = tuple(
        KeptPositions(field=name, order=2, function="inner", positions=tuple(range(size)))
        for name, size in sizes.items()
    )
    short = pairs.model_copy(update={"positions": kept, "embedding_size": 3})
    hyper = AIMSettings(**SMALL, perceptron=False)
    models = {name: AIM(found, SCHEMA, hyper) for name, found in (("whole", pairs), ("short", short))}
    count = {name: sum(p.numel() for p in model.parameters()) for name, model in models.items()}
    # Fields of 5, 4, 2 and 3 ids: 5 * 1 + 4 * 3 + 2 * 2 + 3 * 0 weights instead of 14 * 3.
    assert count["whole"] - count["short"] == 14 * 3 - (5 + 12 + 4)
    emb = embedded(models["short"].double(), "2_inner")
    for f, size in enumerate(sizes.values()):
        assert not emb[:, f, size:].any()


def test_table_size_matches_the_paper() -> None:
    """Avazu without EDS: 10.6e7 weights with function-wise embeddings, 2.7e7 with shared ones (AIM)."""
    made = planting(rows=1, fields=24, sizes=(20,), pairs=0)
    every = Architecture.complete(made.schema.names, functions=FUNCTIONS)
    of = {
        shared: sum(
            p.numel()
            for k, p in AIM(
                every, made.schema, AIMSettings(embedding_size=40, shared_embeddings=shared)
            ).named_parameters()
            if "tables" in k
        )
        for shared in (False, True)
    }
    ids = made.schema.table_size
    assert of == {False: 4 * ids * 40, True: ids * 40}
    assert round(of[False] / ids * 645_195 / 1e7, 1) == 10.3
    assert round(of[True] / ids * 645_195 / 1e7, 1) == 2.6


def test_categorical_rows_need_no_factors() -> None:
    made = planting(rows=64, fields=4, sizes=(5,), pairs=1)
    every = Architecture.complete(made.schema.names, (2, 3, 4), functions=FUNCTIONS)
    model = AIM(every, made.schema, AIMSettings(embedding_size=2, hidden=(3,))).eval()
    rows = replace(made.rows, factors_NC=torch.ones(made.rows.ids_NC.shape))
    torch.testing.assert_close(
        model(made.rows.ids_NC), model(rows.ids_NC, rows.factors_NC), rtol=0, atol=1e-6
    )
