import copy
from collections.abc import Iterator
from itertools import combinations

import numpy as np
import pytest
import torch
from conftest import Way
from hypothesis import given, settings
from hypothesis import strategies as st
from small import categorical_schema, rows_of, schema_of

from ctrloom.architecture import Architecture, Interaction
from ctrloom.nn.embedding import FieldEmbedding
from ctrloom.nn.interactions import Gates, Interactions
from ctrloom.nn.products import PairProducts, TupleProducts, pair_sum, products

Tuples = list[tuple[int, ...]]


def by_hand(emb: np.ndarray, tuples: Tuples) -> np.ndarray:
    """sum_d of the product of the fields' embeddings, by loops."""
    out = np.zeros((len(emb), len(tuples)))
    for b in range(len(emb)):
        for p, fields in enumerate(tuples):
            for d in range(emb.shape[2]):
                term = 1.0
                for f in fields:
                    term *= emb[b, f, d]
                out[b, p] += term
    return out


@st.composite
def selections(draw: st.DrawFn, order: int) -> tuple[int, Tuples]:
    """A number of fields and a subset of their tuples, in lexicographic order."""
    fields = draw(st.integers(order, 6))
    every = list(combinations(range(fields), order))
    return fields, sorted(draw(st.lists(st.sampled_from(every), min_size=1, unique=True)))


def embeddings(fields: int, rows: int = 4, size: int = 3) -> torch.Tensor:
    return torch.randn(
        rows, fields, size, dtype=torch.float64, generator=torch.Generator().manual_seed(fields)
    )


@pytest.mark.parametrize(
    ("order", "layer"), [(2, PairProducts), (3, TupleProducts), (4, TupleProducts), (5, TupleProducts)]
)
@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_products_of_any_selection(order: int, layer: type, data: st.DataObject) -> None:
    fields, chosen = data.draw(selections(order))
    emb = embeddings(fields)
    made = products(chosen, fields)
    assert isinstance(made, layer)
    np.testing.assert_allclose(made(emb).numpy(), by_hand(emb.numpy(), chosen), atol=1e-12)
    np.testing.assert_allclose(made.total(emb).numpy(), by_hand(emb.numpy(), chosen).sum(1), atol=1e-12)


@pytest.mark.parametrize("fields", [2, 3, 7])
def test_pair_sum_matches_the_sum_over_all_pairs(fields: int) -> None:
    emb, pairs = embeddings(fields), list(combinations(range(fields), 2))
    expected = by_hand(emb.numpy(), pairs).sum(1)
    np.testing.assert_allclose(pair_sum(emb).numpy(), expected, atol=1e-12)
    assert PairProducts(pairs, fields).complete
    assert not PairProducts(pairs[:-1] or [(0, 1)], fields + 1).complete


@pytest.mark.parametrize(
    "chosen",
    [
        [(0, 1), (2, 3)],
        [(0, 1, 2), (0, 1, 3), (1, 2, 3)],
        [(0, 1, 2, 4), (0, 1, 3, 4), (0, 2, 3, 4), (1, 2, 3, 4)],
    ],
)
def test_gradients_of_products(chosen: Tuples) -> None:
    emb, layer = embeddings(5, 2, 2).requires_grad_(), products(chosen, 5)
    assert torch.autograd.gradcheck(layer, (emb,))
    assert torch.autograd.gradcheck(layer.total, (emb,))


def test_half_precision_pair_products_are_as_accurate_as_autograd() -> None:
    torch.manual_seed(0)
    chosen = [(0, 3), (1, 2), (1, 5), (4, 5)]
    emb = torch.randn(50, 6, 8, requires_grad=True)
    side = torch.linspace(-1, 2, 4)
    left, right = (emb[:, list(fields)] for fields in zip(*chosen, strict=True))
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        got = PairProducts(chosen, 6)(emb)
    true = (left * right).sum(2)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, true, rtol=2**-7, atol=0.1)
    grad, exact = (
        torch.autograd.grad((x_BP @ side).sum(), emb, retain_graph=True)[0] for x_BP in (got, true)
    )
    assert grad.dtype == torch.float32
    torch.testing.assert_close(grad, exact, rtol=2**-7, atol=0.05)


@pytest.mark.parametrize("order", [3, 4])
def test_products_of_every_tuple_take_many_blocks(order: int) -> None:
    emb, every = embeddings(14, 2, 2), list(combinations(range(14), order))
    layer = TupleProducts(every, 14)
    assert len(layer.lowest) > 1
    np.testing.assert_allclose(layer(emb).numpy(), by_hand(emb.numpy(), every), atol=1e-12)


def test_tuples_with_common_fields_share_cores() -> None:
    strong = [(0, 3, 5), (2, 3, 7), (1, 8, 9)]
    pool = sorted({tuple(sorted((*core, f))) for core in strong for f in range(10) if f not in core})
    layer, emb = TupleProducts(pool, 10), embeddings(10)
    assert [tuple(core) for core in layer.get_buffer("core_0").T.tolist()] == sorted(strong)
    np.testing.assert_allclose(layer(emb).numpy(), by_hand(emb.numpy(), pool), atol=1e-12)


def test_core_products_are_recomputed_from_order_four() -> None:
    kept: list[int] = []
    emb = embeddings(12, 3, 8).requires_grad_()
    layer = TupleProducts(list(combinations(range(12), 4)), 12)

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        layer(emb)
    assert sum(kept) < emb.numel() * len(layer.lowest) * 2


def learned(way: Way, layer: torch.nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    """Outputs of a layer and gradients of a weighted sum of them."""
    layer, x = layer.to(way.device, way.dtype), x.detach().to(way.device, way.dtype).requires_grad_()
    out = layer(x)
    weights = torch.linspace(-1, 2, out.numel(), dtype=way.dtype, device=way.device)
    grads = torch.autograd.grad((out.flatten() * weights).sum(), [x, *layer.parameters()])
    return [each.detach().cpu().double() for each in (out, *grads, *layer.buffers())]


def both_near(one: list[torch.Tensor], other: list[torch.Tensor], near: float) -> None:
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=near * (1 + b.abs().max().item()))


PLAIN = Way(False, torch.device("cpu"), torch.float64, 0.0)
SELECTED = [
    (2, 5, 4, 1),
    (2, 39, 20, 7),
    (3, 7, 4, 3),
    (3, 17, 20, 1),
    (4, 8, 3, 2),
]  # the last: every n-th


@pytest.fixture
def rounded() -> Iterator[None]:
    """Allow TF32 products, which a GPU uses and the interpreter does not."""
    torch.set_float32_matmul_precision("high")
    yield
    torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize(("order", "fields", "size", "every"), SELECTED)
def test_products_kernel_matches_plain(
    order: int, fields: int, size: int, every: int, way: Way, rounded: None
) -> None:
    tuples = list(combinations(range(fields), order))[::every]
    emb, layer = embeddings(fields, 9, size), products(tuples, fields)
    found = learned(way, layer, emb)
    expected = learned(PLAIN, products(tuples, fields), emb)
    both_near(found[:2], expected[:2], way.near if way.device.type == "cpu" else 2e-3)
    way.ran("_values", "_gradients")


@pytest.mark.parametrize(("rows", "fields", "size"), [(0, 3, 4), (1, 2, 1), (9, 39, 20), (5, 40, 33)])
def test_pair_sum_kernel_matches_plain(rows: int, fields: int, size: int, way: Way) -> None:
    emb = embeddings(fields, rows, size).to(way.device, way.dtype).requires_grad_()
    total = pair_sum(emb)
    (grad,) = torch.autograd.grad((total * torch.arange(rows, device=way.device)).sum(), emb)
    e = emb.detach().cpu().double().numpy()
    expected, slope = np.zeros(rows), np.zeros(e.shape)
    for b in range(rows):
        for i, j in combinations(range(fields), 2):
            expected[b] += e[b, i] @ e[b, j]
            slope[b, i] += b * e[b, j]
            slope[b, j] += b * e[b, i]
    size = 1 + abs(expected).max(initial=0)
    np.testing.assert_allclose(total.detach().cpu(), expected, rtol=0, atol=way.near * size)
    np.testing.assert_allclose(grad.cpu(), slope, rtol=0, atol=way.near * (1 + abs(slope).max(initial=0)))
    if rows:
        way.ran("_pair_sum", "_pair_sum_gradient")


@pytest.mark.parametrize(("rows", "count"), [(2, 1), (50, 130), (300, 3)])
def test_gates_kernel_matches_plain(rows: int, count: int, way: Way) -> None:
    generator = torch.Generator().manual_seed(rows)
    x = torch.randn(rows, count, generator=generator, dtype=torch.float64) * 0.3 + 1
    torch.manual_seed(0)
    gates = Gates(count)
    found = learned(way, copy.deepcopy(gates), x)
    plain = copy.deepcopy(gates).to(way.dtype)
    expected = learned(PLAIN, plain, x)
    both_near(found, expected, way.near)
    way.ran("_gate_sums", "_gate_gradient")


def normed(x: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    return (x - mean) / np.sqrt(variance + 1e-3)


def test_gates_follow_their_equation() -> None:
    gates, x = Gates(3).double(), np.random.default_rng(0).normal(3, 0.05, (16, 3))
    alpha = gates.gate_P.detach().numpy()
    expected = normed(x, x.mean(0), x.var(0)) @ alpha  # eps matters: the variance is 2.5e-3
    np.testing.assert_allclose(gates(torch.from_numpy(x)).detach().numpy(), expected, atol=1e-12)
    # Running statistics use momentum 0.01 and the unbiased variance.
    mean, variance = 0.01 * x.mean(0), 0.99 + 0.01 * x.var(0, ddof=1)
    np.testing.assert_allclose(gates.norm.running_mean.numpy(), mean, atol=1e-12)
    np.testing.assert_allclose(gates.norm.running_var.numpy(), variance, atol=1e-12)
    gates.eval()
    np.testing.assert_allclose(
        gates(torch.from_numpy(x)).detach().numpy(), normed(x, mean, variance) @ alpha, atol=1e-12
    )


def test_gates_have_no_scale_or_shift_and_start_near_init() -> None:
    gates = Gates(500, init=0.4, spread=0.01)
    assert [name for name, _ in gates.named_parameters()] == ["gate_P"]
    assert 0.39 <= gates.gate_P.min() < 0.392 < 0.408 < gates.gate_P.max() <= 0.41


def test_gradients_of_gates() -> None:
    gates = Gates(2).double()
    x = torch.randn(5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert torch.autograd.gradcheck(gates, (x,))


@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_interactions_of_an_architecture(data: st.DataObject) -> None:
    schema = schema_of(
        ("categorical", 5), ("multivalued", 4, 2), ("numeric", 2), ("categorical", 3), ("numeric", 2)
    )
    every = [t for order in (2, 3, 4) for t in combinations(range(5), order)]
    chosen = data.draw(st.lists(st.sampled_from(every), unique=True))  # in any order, or none
    architecture = Architecture(
        method="test",
        fields=schema.names,
        interactions=tuple(Interaction(fields=tuple(schema.names[f] for f in t)) for t in chosen),
    )
    layer, embedding = (
        Interactions(architecture, schema, 3, None).double(),
        FieldEmbedding(schema, 3).double(),
    )
    rows = rows_of(schema, 5)
    assert rows.factors_NC is not None
    ids, factors = rows.ids_NC, rows.factors_NC.double()
    emb = embedding(ids, factors)
    got, total = layer(emb, ids, factors), torch.zeros(5, dtype=torch.float64)
    for order in (2, 3, 4):
        tuples = sorted(t for t in chosen if len(t) == order)
        assert (str(order) in got) == bool(tuples)
        if tuples:
            source = emb if order == 2 else layer.tables[str(order)](ids, factors)
            expected = by_hand(source.detach().numpy(), tuples)
            np.testing.assert_allclose(got[str(order)].detach().numpy(), expected, atol=1e-12)
            total = total + torch.from_numpy(expected.sum(1))
    torch.testing.assert_close(layer.total(emb, ids, factors), total)


def test_only_higher_orders_have_a_separate_table() -> None:
    schema = categorical_schema(4)
    pairs = Interactions(Architecture.complete(schema.names, (2,)), schema, 3, None)
    both = Interactions(Architecture.complete(schema.names, (2, 3)), schema, 3, None)
    assert not list(pairs.parameters())
    assert [(n, p.shape) for n, p in both.named_parameters()] == [("tables.3.weight", (28, 3))]
