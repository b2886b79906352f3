"""AutoPI's logits compared with loops over its cells."""

from itertools import product

import numpy as np
import operator_oracle as oracle
import pytest
import torch
from oracle import ROWS, SCHEMA
from small import categorical_schema, rows_of

from ctrloom.architecture import Architecture, CellGraph, Edge
from ctrloom.config import AutoPISettings
from ctrloom.models.autopi import AutoPI
from ctrloom.training.loop import fit, score, seed_everything

HYPER = AutoPISettings(embedding_size=4, embedding_std=0.5, dropout=0, attention_heads=2, senet_reduction=2)
GRAPH = CellGraph(
    nodes=2,
    interaction=(
        Edge(source=0, target=1, operator="fm"),
        Edge(source=0, target=2, operator="attention"),
        Edge(source=1, target=2, operator="skip"),
    ),
    ensemble=(
        Edge(source=0, target=2, operator="slp"),
        Edge(source=1, target=2, operator="senet"),
        Edge(source=1, target=3, operator="conv"),
        Edge(source=2, target=3, operator="fm"),
    ),
)
FOUND = Architecture(method="autopi", fields=SCHEMA.names, interactions=(), cells=GRAPH)


def embedded(table: np.ndarray) -> np.ndarray:
    assert ROWS.factors_NC is not None
    out = np.zeros((len(ROWS), 4, table.shape[1]))
    for b, (ids, factors) in enumerate(zip(ROWS.ids_NC.tolist(), ROWS.factors_NC.tolist(), strict=True)):
        for field, row, factor in zip(SCHEMA.field_of_column, ids, factors, strict=True):
            out[b, field] += factor * table[row]
    return out


def expected(model: AutoPI, train: bool, norm: str | None) -> np.ndarray:
    state = {name: tensor.clone().numpy() for name, tensor in model.state_dict().items()}
    high, low = embedded(state["high.weight"]), embedded(state["low.weight"])
    first = oracle.cell([high], 2, GRAPH.interaction, oracle.below(state, "interaction."), train, norm)
    channels, kernels = np.concatenate(first, 1), state["combine.weight"][:, :, 0]
    combined = np.zeros_like(high)
    for b, f, d in product(range(len(high)), range(4), range(4)):
        combined[b, f, d] = state["combine.bias"][f] + sum(
            kernels[f, c] * channels[b, c, d] for c in range(channels.shape[1])
        )
    second = oracle.cell([combined, low], 2, GRAPH.ensemble, oracle.below(state, "ensemble."), train, norm)
    flat = np.stack([np.concatenate([node[b].ravel() for node in second]) for b in range(len(high))])
    return flat @ state["out.weight"][0] + state["out.bias"]


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("norm", ["operators", "nodes", None])
def test_logits_follow_the_equation(norm: str | None, train: bool) -> None:
    torch.manual_seed(5)
    own = {"operator_norm": norm is not None, "normalized": norm or "operators"}
    model = AutoPI(FOUND, SCHEMA, HYPER.model_copy(update=own)).double()
    assert ROWS.factors_NC is not None
    factors = ROWS.factors_NC.double()
    model(ROWS.ids_NC, factors)  # updates running statistics
    logits = model.train(train)(ROWS.ids_NC, factors)
    assert logits.shape == (len(ROWS),)
    np.testing.assert_allclose(logits.detach().numpy(), expected(model, train, norm), rtol=0, atol=1e-9)


def test_every_parameter_gets_a_gradient() -> None:
    torch.manual_seed(0)
    model = AutoPI(FOUND, SCHEMA, HYPER)
    model(ROWS.ids_NC, ROWS.factors_NC).square().sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_dropout_is_on_the_nodes_in_training() -> None:
    model = AutoPI(FOUND, SCHEMA, HYPER.model_copy(update={"dropout": 0.5, "operator_norm": False}))
    once, again = (model(ROWS.ids_NC, ROWS.factors_NC) for _ in range(2))
    assert not torch.equal(once, again)
    model.eval()
    assert torch.equal(model(ROWS.ids_NC, ROWS.factors_NC), model(ROWS.ids_NC, ROWS.factors_NC))


def test_categorical_fields_need_no_factors() -> None:
    schema = categorical_schema(4)
    rows, model = rows_of(schema, 6), AutoPI(FOUND, schema, HYPER).eval()
    ones = torch.ones(rows.ids_NC.shape)
    torch.testing.assert_close(model(rows.ids_NC), model(rows.ids_NC, ones))


def test_same_seed_is_bit_identical() -> None:
    hyper, logits = HYPER.model_copy(update={"epochs": 2, "batch_size": 4, "dropout": 0.2}), []
    for _ in range(2):
        seed_everything(3)
        model = AutoPI(FOUND, SCHEMA, hyper)
        fit(model, ROWS, ROWS, hyper, 3, "test")
        logits.append(score(model, ROWS))
    np.testing.assert_array_equal(*logits)


def test_architecture_without_cells_is_refused() -> None:
    with pytest.raises(ValueError, match=r"autopi requires an .*found by complete and has none"):
        AutoPI(Architecture.complete(SCHEMA.names), SCHEMA, HYPER)


def test_embedding_must_be_divisible_by_heads() -> None:
    with pytest.raises(ValueError, match="not divisible by 3 heads"):
        AutoPI(FOUND, SCHEMA, HYPER.model_copy(update={"attention_heads": 3}))


def test_nodes_are_not_normalized_without_norm() -> None:
    with pytest.raises(ValueError, match="normalized: nothing is without operator_norm"):
        AutoPISettings(normalized="nodes", operator_norm=False)
