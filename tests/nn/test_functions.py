"""AIM's interaction functions and tables compared with loops over rows, interactions and entries."""

from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small import categorical_schema, rows_of, schema_of

from ctrloom.architecture import Architecture, Function, Interaction, KeptPositions
from ctrloom.nn.embedding import FieldEmbedding, KeptEmbedding
from ctrloom.nn.functions import LAYERS, FunctionInteractions
from ctrloom.schema import Schema

FIELDS, SIZE, ROWS = 5, 3, 4
FUNCTIONS: tuple[Function, ...] = ("inner", "vector_kernel", "scalar_kernel", "outer")
MIXED = schema_of(("categorical", 5), ("multivalued", 4, 2), ("numeric", 2), ("categorical", 3))


def by_hand(function: str, layer: torch.nn.Module, emb: np.ndarray, tuples: list) -> np.ndarray:  # type: ignore[type-arg]
    """Products before summation, by loops; [rows][tuples][entries]."""
    state = {name: tensor.numpy() for name, tensor in layer.state_dict().items()}
    out = []
    for b in range(len(emb)):
        row = []
        for p, fields in enumerate(tuples):
            if function == "outer":
                value = 1.0
                for place, f in enumerate(fields):
                    value *= sum(state["weight_OD"][place, d] * emb[b, f, d] for d in range(SIZE))
                row.append([value])
                continue
            terms = []
            for d in range(SIZE):
                term = {"inner": 1.0}.get(function) or (
                    state["kernel_PD"][p, d] if function == "vector_kernel" else state["kernel_P"][p]
                )
                for f in fields:
                    term *= emb[b, f, d]
                terms.append(term)
            row.append(terms)
        out.append(row)
    return np.array(out)


@pytest.mark.parametrize("order", [2, 3, 4])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_functions_follow_their_definition(function: Function, order: int) -> None:
    torch.manual_seed(order)
    tuples = [t for t in combinations(range(FIELDS), order) if t != tuple(range(order))]
    layer = LAYERS[function](tuples, FIELDS, SIZE).double()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    emb = torch.randn(ROWS, FIELDS, SIZE, dtype=torch.float64)
    expected = by_hand(function, layer, emb.numpy(), tuples)
    np.testing.assert_allclose(layer.unsummed(emb).detach().numpy(), expected, atol=1e-12)  # type: ignore[operator]
    np.testing.assert_allclose(layer(emb).detach().numpy(), expected.sum(2), atol=1e-12)
    assert layer.count == len(tuples)
    assert layer.width == expected[0].size


def test_initialisation_of_kernels_and_projections() -> None:
    pairs = list(combinations(range(40), 2))
    for function in ("vector_kernel", "scalar_kernel"):
        (kernel,) = LAYERS[function](pairs, 40, 8).parameters()  # type: ignore[index]
        assert kernel.abs().max() <= 2e-3
        assert 0.0007 < kernel.std() < 0.0011  # truncated at two standard deviations
    (weight,) = LAYERS["outer"](pairs, 40, 300).parameters()
    assert weight.shape == (2, 300)
    assert 0.9 < weight.abs().max() / (6 / 301) ** 0.5 <= 1


def modelled(*interactions: tuple[str, Function], schema: Schema = MIXED) -> Architecture:
    made = tuple(Interaction(fields=tuple(names), function=function) for names, function in interactions)
    return Architecture(method="test", fields=schema.names, interactions=made)


SOME = modelled(("ab", "inner"), ("cd", "inner"), ("ad", "outer"), ("ab", "outer"), ("abd", "vector_kernel"))


@pytest.mark.parametrize("shared", [False, True])
def test_tables_contain_only_used_fields(shared: bool) -> None:
    layer = FunctionInteractions(SOME, MIXED, SIZE, None, shared)
    sizes = {name: table.weight.numel() for name, table in layer.tables.items()}
    if shared:  # all four fields are used by pairs, a, b and d by the triple
        assert sizes == {"2": 14 * SIZE, "3": 12 * SIZE}
    else:
        assert sizes == {"2_inner": 14 * SIZE, "2_outer": 12 * SIZE, "3_vector_kernel": 12 * SIZE}
    rows = rows_of(MIXED, 5)
    x = layer(layer.embeddings(rows.ids_NC, rows.factors_NC))
    assert {key: tuple(x_BP.shape) for key, x_BP in x.items()} == {
        "2_inner": (5, 2),
        "2_outer": (5, 2),
        "3_vector_kernel": (5, 1),
    }
    assert layer.width == 2 * SIZE + 2 + SIZE


def test_incompatible_architectures_are_refused() -> None:
    with pytest.raises(ValueError, match="not support the interaction function 'memorize'"):
        FunctionInteractions(modelled(("ab", "memorize")), MIXED, SIZE, None, False)
    kept = KeptPositions(field="a", order=2, function="inner", positions=(0,))
    shortened = SOME.model_copy(update={"positions": (kept,), "embedding_size": 4})
    with pytest.raises(ValueError, match="embedding_size: is 3"):
        FunctionInteractions(shortened, MIXED, 3, None, False)
    with pytest.raises(ValueError, match="shared_embeddings"):
        FunctionInteractions(shortened, MIXED, 4, None, True)


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_kept_embedding_matches_a_masked_full_embedding(data: st.DataObject) -> None:
    subset = st.lists(st.integers(0, SIZE - 1), unique=True).map(sorted)
    positions = [data.draw(subset) for _ in MIXED.fields]
    torch.manual_seed(1)
    whole = FieldEmbedding(MIXED, SIZE)
    torch.manual_seed(1)
    kept = KeptEmbedding(MIXED, SIZE, positions)
    rows = rows_of(MIXED, 6)
    mask = torch.tensor([[float(d in places) for d in range(SIZE)] for places in positions])
    expected = whole(rows.ids_NC, rows.factors_NC) * mask
    torch.testing.assert_close(kept(rows.ids_NC, rows.factors_NC), expected, rtol=0, atol=0)
    sizes = [field.size * len(places) for field, places in zip(MIXED.fields, positions, strict=True)]
    assert kept.weight.numel() == sum(sizes)


def test_kept_embedding_trains_as_a_masked_full_embedding() -> None:
    schema, positions = categorical_schema(3), [(0, 2), (), (1,)]
    torch.manual_seed(1)
    whole, rows = FieldEmbedding(schema, SIZE), rows_of(schema, 50)
    torch.manual_seed(1)
    kept = KeptEmbedding(schema, SIZE, positions)
    for table in (whole, kept):
        table(rows.ids_NC).square().sum().backward()
    assert whole.weight.grad is not None
    assert kept.weight.grad is not None
    parts = [
        whole.weight.grad[7 * f : 7 * f + 7, list(places)].flatten() for f, places in enumerate(positions)
    ]
    torch.testing.assert_close(kept.weight.grad, torch.cat(parts))
