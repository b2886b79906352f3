import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small import categorical_schema, rows_of, schema_of
from torch import nn

from ctrloom.nn.embedding import FieldEmbedding, LinearTerm, drop_embeddings
from ctrloom.schema import Schema

MIXED = schema_of(
    ("categorical", 5), ("multivalued", 6, 3), ("numeric", 2), ("categorical", 4), ("multivalued", 3, 1)
)
FIELD = st.one_of(
    st.tuples(st.just("categorical"), st.integers(2, 6)),
    st.tuples(st.just("numeric"), st.just(2)),
    st.tuples(st.just("multivalued"), st.integers(2, 6), st.integers(1, 4)),
)


def by_hand(schema: Schema, table: np.ndarray, ids: np.ndarray, factors: np.ndarray | None) -> np.ndarray:
    """Loops over rows, fields and columns: factor * row of the table, summed within a field."""
    out = np.zeros((len(ids), len(schema.fields), table.shape[1]))
    for n in range(len(ids)):
        column = 0
        for f, field in enumerate(schema.fields):
            for _ in range(field.width):
                for d in range(table.shape[1]):
                    factor = 1.0 if factors is None else float(factors[n, column])
                    out[n, f, d] += factor * table[ids[n, column], d]
                column += 1
    return out


@settings(deadline=None, max_examples=40)
@given(fields=st.lists(FIELD, min_size=1, max_size=5), size=st.integers(1, 4), seed=st.integers(0, 99))
def test_embedding_matches_a_sum_over_columns(fields: list, size: int, seed: int) -> None:
    schema = schema_of(*fields)
    rows, layer = rows_of(schema, 6, seed), FieldEmbedding(schema, size)
    factors = None if rows.factors_NC is None else rows.factors_NC.numpy()
    expected = by_hand(schema, layer.weight.detach().numpy(), rows.ids_NC.numpy(), factors)
    emb = layer(rows.ids_NC, rows.factors_NC)
    assert emb.shape == (6, len(fields), size)
    np.testing.assert_allclose(emb.detach().numpy(), expected, rtol=0, atol=1e-6)


def test_multivalued_field_is_a_mean_and_empty_is_missing() -> None:
    schema = schema_of(("multivalued", 5, 3))
    layer = FieldEmbedding(schema, 2)
    ids = torch.tensor([[2, 4, 0], [0, 0, 0]], dtype=torch.int32)
    factors = torch.tensor([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]])
    emb = layer(ids, factors)
    torch.testing.assert_close(emb[0, 0], (layer.weight[2] + layer.weight[4]) / 2)
    torch.testing.assert_close(emb[1, 0], layer.weight[0])


def test_fields_do_not_share_rows_of_the_table() -> None:
    schema = MIXED
    ranges = [range(o, o + f.size) for o, f in zip(schema.offsets, schema.fields, strict=True)]
    assert [i for r in ranges for i in r] == list(range(schema.table_size))


@pytest.mark.parametrize("schema", [MIXED, categorical_schema(3)])
def test_gradients(schema: Schema) -> None:
    rows, layer = rows_of(schema, 3), FieldEmbedding(schema, 2).double()
    factors = None if rows.factors_NC is None else rows.factors_NC.double().requires_grad_()

    def run(weight: torch.Tensor, factors: torch.Tensor | None) -> torch.Tensor:
        return torch.func.functional_call(layer, {"weight": weight}, (rows.ids_NC, factors))

    assert torch.autograd.gradcheck(run, (layer.weight.detach().clone().requires_grad_(), factors))


def test_padding_has_no_gradient() -> None:
    layer = FieldEmbedding(schema_of(("multivalued", 5, 3)), 2)
    layer(torch.tensor([[3, 0, 0]]), torch.tensor([[1.0, 0.0, 0.0]])).sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad[:, 0].tolist() == [0, 0, 0, 1, 0]


def test_linear_sums_one_weight_per_id() -> None:
    rows, layer = rows_of(MIXED, 8), LinearTerm(MIXED)
    assert rows.factors_NC is not None
    expected = by_hand(
        MIXED, layer.weights.weight.detach().numpy(), rows.ids_NC.numpy(), rows.factors_NC.numpy()
    )
    np.testing.assert_allclose(
        layer(rows.ids_NC, rows.factors_NC).detach().numpy(), expected.sum((1, 2)), atol=1e-6
    )


def test_initialisation_is_xavier_over_the_whole_table_or_normal() -> None:
    schema = categorical_schema(4, 500)
    weight = FieldEmbedding(schema, 10).weight.detach()
    bound = math.sqrt(6 / (2000 + 10))
    assert weight.abs().max() <= bound
    assert weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.03)
    assert FieldEmbedding(schema, 10, 0.3).weight.std().item() == pytest.approx(0.3, rel=0.03)


def test_dropout_is_on_all_numbers_of_embeddings_but_not_on_weights() -> None:
    schema = categorical_schema(3)
    model = nn.ModuleDict({"linear": LinearTerm(schema, 1.0), "table": FieldEmbedding(schema, 400, 1.0)})
    drop_embeddings(model, 0.25)
    ids_BC, table = rows_of(schema, 50).ids_NC, model["table"]
    whole_BFD = table.eval()(ids_BC)
    torch.manual_seed(0)
    dropped_BFD = table.train()(ids_BC)
    kept_BFD = dropped_BFD != 0
    assert kept_BFD.double().mean().item() == pytest.approx(0.75, abs=0.01)
    torch.testing.assert_close(dropped_BFD[kept_BFD], whole_BFD[kept_BFD] / 0.75)
    assert not torch.equal(dropped_BFD, table(ids_BC))
    assert torch.equal(model["linear"](ids_BC), model["linear"].eval()(ids_BC))


def test_no_dropout_changes_nothing() -> None:
    table = FieldEmbedding(categorical_schema(3), 4, 1.0)
    drop_embeddings(table, 0.0)
    assert table.dropout is None
