"""Operators and cells compared with their equations as loops (`operator_oracle`)."""

import math
from typing import Any

import numpy as np
import operator_oracle as oracle
import pytest
import torch

from ctrloom.architecture import OPERATORS, Edge, Operator
from ctrloom.nn.cells import Cell, MixedCell, SharedCell
from ctrloom.nn.field_norm import FieldNorm
from ctrloom.nn.operators import Shape, Skip, operator

SHAPE = Shape(fields=5, size=4, heads=2, reduction=2)
GRAPHS = {
    1: [("slp", 0, 1), ("attention", 0, 2), ("fm", 1, 2), ("conv", 0, 3), ("senet", 2, 3)],
    2: [("skip", 0, 2), ("fm", 1, 2), ("attention", 1, 3), ("slp", 2, 3), ("senet", 0, 4), ("conv", 3, 4)],
}


def values(seed: int = 0, rows: int = 7) -> torch.Tensor:
    return torch.randn(rows, SHAPE.fields, SHAPE.size, generator=torch.Generator().manual_seed(seed)).double()


def state_of(module: torch.nn.Module) -> dict[str, np.ndarray]:
    return {name: tensor.clone().numpy() for name, tensor in module.state_dict().items()}


@pytest.mark.parametrize("name", OPERATORS)
def test_an_operator_follows_its_equation_on_every_edge(name: Operator) -> None:
    torch.manual_seed(1)
    module, x = operator(name, SHAPE, edges=3).double(), values()
    out = module(x)
    state = state_of(module)
    assert out.shape == (7, 1 if name == "skip" else 3, 5, 4)
    for edge in range(out.shape[1]):
        expected = oracle.OPERATORS[name](x.numpy(), state, edge)
        np.testing.assert_allclose(out[:, edge].detach().numpy(), expected, rtol=0, atol=1e-12)
    assert name == "skip" or bool((out >= 0).all() & (out > 0).any())


def test_operator_parameter_counts_match_the_paper() -> None:
    fields, size = 39, 10  # Criteo
    shape = Shape(fields, size, heads=2, reduction=3)
    count = {name: sum(p.numel() for p in operator(name, shape).parameters()) for name in OPERATORS}
    assert count == {
        "skip": 0,
        "senet": 2 * fields * (fields // 3),
        "attention": 4 * size**2,
        "fm": 741 * 390,
        "slp": 390**2,
        "conv": fields**2,
    }


def test_field_norm_matches_batch_norm_times_strength() -> None:
    ours, theirs = FieldNorm(2, 5).double(), [torch.nn.BatchNorm1d(5, affine=False).double() for _ in "ab"]
    strength = torch.tensor([0.3, 2.0]).double()
    for seed in range(4):
        x = torch.stack([values(seed), 5 + 3 * values(seed + 9)], 1)
        expected = torch.stack([strength[e] * norm(x[:, e]) for e, norm in enumerate(theirs)], 1)
        torch.testing.assert_close(ours(x, strength), expected)
    ours.eval()
    expected = torch.stack([strength[e] * norm.eval()(x[:, e]) for e, norm in enumerate(theirs)], 1)
    torch.testing.assert_close(ours(x, strength), expected)
    one = FieldNorm(1, 5).double()
    torch.testing.assert_close(one(x[:, :1], strength)[:, 1], 2 * FieldNorm(1, 5).double()(x[:, :1])[:, 0])


@pytest.mark.parametrize(("norms", "edges", "strong"), [(2, 2, True), (1, 3, True), (1, 1, False)])
def test_field_norm_gradient_matches_autograd(norms: int, edges: int, strong: bool) -> None:
    torch.manual_seed(norms + edges)
    x = (2 + 3 * torch.randn(6, norms, 5, 4)).double().requires_grad_()
    strength = torch.rand(edges).double().requires_grad_() if strong else None
    given = (x,) if strength is None else (x, strength)
    norm = FieldNorm(norms, 5).double()
    assert torch.autograd.gradcheck(norm, given)
    weight = torch.randn(6, edges, 5, 4).double()
    mean, variance = x.mean((0, 3), keepdim=True), x.var((0, 3), keepdim=True, unbiased=False)
    terms = (x - mean) / (variance + norm.eps).sqrt() * (1 if strength is None else strength.view(-1, 1, 1))
    expected = torch.autograd.grad((terms * weight).sum(), given)
    torch.testing.assert_close(torch.autograd.grad((norm(*given) * weight).sum(), given), expected)


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("norm", ["operators", "nodes", None])
@pytest.mark.parametrize("inputs", [1, 2])
def test_derived_cell_follows_its_graph(inputs: int, norm: Any, train: bool) -> None:
    torch.manual_seed(2)
    edges = [Edge(operator=o, source=i, target=j) for o, i, j in GRAPHS[inputs]]  # type: ignore[arg-type]
    cell = Cell(inputs, 3, edges[::-1], SHAPE, norm).double()
    edges = list(cell.edges)
    assert [edge.target for edge in edges] == sorted(edge.target for edge in edges)
    x = [values(seed) for seed in range(inputs)]
    if norm and not train:
        cell.train()(x)  # updates running statistics
    nodes = cell.train(train)(x)
    expected = oracle.cell([each.numpy() for each in x], 3, edges, state_of(cell), train, norm)
    assert len(nodes) == len(expected) == 3
    for node, reference in zip(nodes, expected, strict=True):
        np.testing.assert_allclose(node.detach().numpy(), reference, rtol=0, atol=1e-10)


@pytest.mark.parametrize("norm", ["operators", "nodes"])
@pytest.mark.parametrize("inputs", [1, 2])
def test_a_mixed_cell_weighs_every_operator_of_every_edge(inputs: int, norm: Any) -> None:
    torch.manual_seed(3)
    cell = MixedCell(inputs, 3, SHAPE, normalized=norm).double()
    with torch.no_grad():
        cell.alpha_EO.normal_()
        cell.beta_E.normal_()
    cell.temperature = 1.7
    x = [values(seed) for seed in range(inputs)]
    expected = oracle.mixed_cell([each.numpy() for each in x], 3, state_of(cell), 1.7, norm)
    for node, reference in zip(cell(x), expected, strict=True):
        np.testing.assert_allclose(node.detach().numpy(), reference, rtol=0, atol=1e-10)


def test_nodes_of_a_shared_cell_are_normalised() -> None:
    torch.manual_seed(4)
    cell = SharedCell(1, 2, SHAPE, ("fm", "skip"), "nodes").double()
    edges = list(cell.edges)
    expected = oracle.cell([values(7).numpy()], 2, edges, state_of(cell), True, "nodes")
    for node, reference in zip(cell([values(7)]), expected, strict=True):
        np.testing.assert_allclose(node.detach().numpy(), reference, rtol=0, atol=1e-10)


def test_zero_weight_operators_are_skipped_in_evaluation() -> None:
    torch.manual_seed(3)
    cell = MixedCell(2, 3, SHAPE).double()
    asked: list[tuple[int, str]] = []
    for source, mixture in enumerate(cell.mixtures):
        for name, one in zip(OPERATORS, mixture.operators, strict=True):  # type: ignore[arg-type]
            one.register_forward_hook(lambda *_, at=(source, name): asked.append(at))
    with torch.no_grad():
        cell.alpha_EO[:, 1:] = -math.inf  # keep skips only
        cell.beta_E[[source == 1 for source, _ in cell.edges]] = -math.inf
    x = [values(seed) for seed in (0, 1)]
    cell.eval()(x)
    assert asked == [(source, "skip") for source in range(len(cell.mixtures)) if source != 1]
    asked.clear()
    cell.train()(x)
    assert len(asked) == 6 * len(cell.mixtures)
    expected = oracle.mixed_cell([each.numpy() for each in x], 3, state_of(cell), 1.0)
    for node, reference in zip(cell(x), expected, strict=True):
        np.testing.assert_allclose(node.detach().numpy(), reference, rtol=0, atol=1e-10)


def test_strength_count_matches_the_paper_and_strengths_into_a_node_sum_to_1() -> None:
    for inputs, edges in ((1, 10), (2, 14)):
        cell = MixedCell(inputs, 4, SHAPE)
        assert cell.alpha_EO.shape == (edges, 6)
        assert cell.beta_E.shape == (edges,)
        torch.nn.init.normal_(cell.beta_E)
        for temperature in (1.0, 3.0):
            strengths = cell.strengths(temperature)
            for node in cell.nodes:
                into = [e for e, (_, target) in enumerate(cell.edges) if target == node]
                assert float(strengths[into].detach().sum()) == pytest.approx(1)


def test_skip_noise_is_active_only_in_training() -> None:
    skip = Skip(SHAPE, 1)
    assert torch.equal(skip(values()), values().unsqueeze(1))
    skip.noise = 0.03
    x = 2 * values(rows=4000)
    assert float((skip(x).squeeze(1) - x).std() / x.std()) == pytest.approx(0.03, rel=0.02)
    assert torch.equal(skip.eval()(x), x.unsqueeze(1))
