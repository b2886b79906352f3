"""AutoInt and AutoInt+ compared with their equations as loops over layers, heads and fields."""

from typing import Any, Literal

import numpy as np
import pytest
import torch
from small import categorical_schema, rows_of, schema_of

from ctrloom.architecture import Architecture
from ctrloom.config import ModelsConfig
from ctrloom.models import build
from ctrloom.models.autoint import AutoInt

SCHEMA = schema_of(("categorical", 5), ("multivalued", 4, 2), ("numeric", 2), ("categorical", 3))
ROWS = rows_of(SCHEMA, 7)
FIELD_OF_COLUMN = (0, 1, 1, 2, 3)
Name = Literal["autoint", "autointplus"]


def model(name: Name, schema: Any = SCHEMA, **settings: Any) -> AutoInt:
    raw = {"embedding_size": 3, "hidden": (5,), "dropout": 0}
    raw |= {"attention_layers": 2, "heads": 2, "head_size": 4}
    hyper = ModelsConfig({name: raw | settings}).of(name)
    built = build(name, Architecture.complete(schema.names), schema, hyper)
    assert isinstance(built, AutoInt)
    return built


def truth(
    state: dict[str, np.ndarray], reading: str, residual: bool, layers: int = 2
) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and attention weights (layer, row, field, field) as the mean over two heads of size 4."""
    assert ROWS.factors_NC is not None
    logits, maps = np.zeros(7), np.zeros((layers, 7, 4, 4))
    for b in range(7):
        emb = np.zeros((4, 3))
        for column, field in enumerate(FIELD_OF_COLUMN):
            emb[field] += (
                float(ROWS.factors_NC[b, column]) * state["embedding.weight"][ROWS.ids_NC[b, column]]
            )
        x = emb
        for layer in range(layers):
            x, maps[layer, b] = attended(x, state, f"layers.{layer}", reading == "code", residual)
        logits[b] = state["output.weight"][0] @ x.reshape(-1) + state["output.bias"][0]
        if "mlp.layers.0.weight" in state:
            hidden = np.maximum(
                state["mlp.layers.0.weight"] @ emb.reshape(-1) + state["mlp.layers.0.bias"], 0
            )
            logits[b] += state["mlp.layers.2.weight"][0] @ hidden + state["mlp.layers.2.bias"][0]
    return logits, maps


def attended(
    x: np.ndarray, state: dict[str, np.ndarray], layer: str, code: bool, residual: bool
) -> tuple[np.ndarray, np.ndarray]:
    def projected(name: str) -> np.ndarray:
        out = np.array([state[f"{layer}.projections.{name}.weight"] @ vector for vector in x])
        return np.maximum(out + state[f"{layer}.projections.{name}.bias"], 0) if code else out

    query, key, value = (projected(name) for name in ("query", "key", "value"))
    out, mean = np.zeros((4, 8)), np.zeros((4, 4))
    for m in range(4):
        for head in (slice(0, 4), slice(4, 8)):
            raised = np.array([np.exp(query[m, head] @ key[k, head] / (2 if code else 1)) for k in range(4)])
            alpha = raised / raised.sum()
            mean[m] += alpha / 2
            out[m, head] = sum(alpha[k] * value[k, head] for k in range(4))
        out[m] = np.maximum(out[m] + (projected("residual")[m] if residual else 0), 0)
        if code:
            out[m] = (out[m] - out[m].mean()) / np.sqrt(out[m].var() + 1e-8)
            out[m] = out[m] * state[f"{layer}.norm.weight"] + state[f"{layer}.norm.bias"]
    return out, mean


@pytest.mark.parametrize("name", ["autoint", "autointplus"])
@pytest.mark.parametrize("reading", ["code", "paper"])
@pytest.mark.parametrize("residual", [True, False])
def test_logits_and_maps_follow_the_equations(name: Name, reading: str, residual: bool) -> None:
    torch.manual_seed(5)
    built = model(name, reading=reading, residual=residual).double().eval()
    for parameter in built.parameters():  # no zero bias, no scale of 1
        parameter.data = torch.randn(parameter.shape, dtype=torch.float64) / 2
    logits, maps = truth({n: t.numpy() for n, t in built.state_dict().items()}, reading, residual)
    assert ROWS.factors_NC is not None
    factors = ROWS.factors_NC.double()
    np.testing.assert_allclose(built(ROWS.ids_NC, factors).detach().numpy(), logits, rtol=0, atol=1e-10)
    got = built.attention_maps(ROWS.ids_NC, factors).numpy()
    np.testing.assert_allclose(got, maps, rtol=0, atol=1e-12)
    np.testing.assert_allclose(got.sum(-1), 1, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["autoint", "autointplus"])
@pytest.mark.parametrize("layers", [0, 1, 4])
def test_any_number_of_layers_follows_the_equations(name: Name, layers: int) -> None:
    torch.manual_seed(5)
    built = model(name, attention_layers=layers).double().eval()
    for parameter in built.parameters():
        parameter.data = torch.randn(parameter.shape, dtype=torch.float64) / 2
    state = {n: t.numpy() for n, t in built.state_dict().items()}
    logits, _ = truth(state, "code", True, layers)
    assert ROWS.factors_NC is not None
    got = built(ROWS.ids_NC, ROWS.factors_NC.double()).detach().numpy()
    np.testing.assert_allclose(got, logits, rtol=0, atol=1e-10)
    assert state["output.weight"].shape == (1, 4 * (8 if layers else 3))


def test_parameter_counts_match_the_paper() -> None:
    """AutoInt, Table 3: about 3.9e4 parameters besides embeddings and output, from 16 to 3 layers of 64."""
    built = model(
        "autoint",
        categorical_schema(10),
        embedding_size=16,
        attention_layers=3,
        head_size=32,
        reading="paper",
    )
    assert sum(p.numel() for p in built.layers.parameters()) == 4 * 16 * 64 + 2 * 4 * 64 * 64 == 36_864
    assert built.output.in_features == 10 * 64
    assert float(built.embedding.weight.detach().std()) == pytest.approx(0.01, rel=0.1)
