"""The attention layer compared with its two published definitions, written as loops."""

from typing import Literal

import numpy as np
import pytest
import torch

from ctrloom.nn.attention import SelfAttention, _Attended

Reading = Literal["code", "paper"]


def loops(layer: SelfAttention, x: np.ndarray, heads: int, reading: Reading) -> tuple[np.ndarray, np.ndarray]:
    """Outputs and attention weights, by loops over rows, heads and fields."""
    state = {name: tensor.detach().numpy() for name, tensor in layer.state_dict().items()}
    code = reading == "code"

    def projected(name: str, vector: np.ndarray) -> np.ndarray:
        out = state[f"projections.{name}.weight"] @ vector
        return np.maximum(out + state[f"projections.{name}.bias"], 0) if code else out

    rows, fields, _ = x.shape
    size = len(state["projections.query.weight"])
    part = size // heads
    out, weights = np.zeros((rows, fields, size)), np.zeros((rows, heads, fields, fields))
    for b in range(rows):
        for m in range(fields):
            for h in range(heads):
                mine = slice(h * part, (h + 1) * part)
                score = [
                    projected("query", x[b, m])[mine] @ projected("key", x[b, k])[mine] for k in range(fields)
                ]
                raised = np.exp(np.array(score) / (np.sqrt(part) if code else 1))
                weights[b, h, m] = raised / raised.sum()
                for k in range(fields):
                    out[b, m, mine] += weights[b, h, m, k] * projected("value", x[b, k])[mine]
            if "projections.residual.weight" in state:
                out[b, m] += projected("residual", x[b, m])
            out[b, m] = np.maximum(out[b, m], 0)
            if code:
                centred = out[b, m] - out[b, m].mean()
                normed = centred / np.sqrt((centred**2).mean() + 1e-8)
                out[b, m] = normed * state["norm.weight"] + state["norm.bias"]
    return out, weights


@pytest.mark.parametrize("reading", ["code", "paper"])
@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize(("heads", "outputs"), [(1, 4), (2, 6), (3, 6)])
def test_the_layer_follows_its_equations(reading: Reading, residual: bool, heads: int, outputs: int) -> None:
    torch.manual_seed(heads)
    layer = SelfAttention(4, outputs, heads, residual, dropout=0.5, reading=reading).double().eval()
    for parameter in layer.parameters():  # no zero bias, no scale of 1
        parameter.data = torch.randn(parameter.shape, dtype=torch.float64)
    x = torch.randn(3, 5, 4, dtype=torch.float64)
    out, weights = loops(layer, x.numpy(), heads, reading)
    np.testing.assert_allclose(layer(x).detach().numpy(), out, rtol=0, atol=1e-10)
    np.testing.assert_allclose(layer.weights(x).detach().numpy(), weights, rtol=0, atol=1e-12)
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=0, atol=1e-12)


def test_a_code_layer_starts_glorot_uniform_without_bias() -> None:
    torch.manual_seed(0)
    layer = SelfAttention(64, 128, 4)
    for projection in layer.projections.values():
        weight, bound = projection.weight.detach(), np.sqrt(6 / (64 + 128))
        assert float(weight.abs().max()) == pytest.approx(bound, rel=0.01)
        assert float(weight.std()) == pytest.approx(bound / np.sqrt(3), rel=0.05)
        assert not projection.bias.any()
    assert not any(name.endswith("bias") for name in SelfAttention(8, 8, 1, reading="paper").state_dict())


def test_dropout_is_active_only_in_training_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    layer = SelfAttention(4, 4, 1, residual=False, dropout=0.4, reading="paper")
    layer.projections["value"].weight.data.abs_()
    x = torch.rand(1, 6, 4).expand(20_000, 6, 4)
    plain, dropped = layer.eval()(x), layer.train()(x)
    assert torch.equal(plain, layer.eval()(x))
    assert not torch.equal(plain, dropped)
    torch.testing.assert_close(dropped.mean(0), plain[0], rtol=0.03, atol=0)


def test_output_must_be_divisible_by_heads() -> None:
    with pytest.raises(ValueError, match="attention output size 10 is not divisible by 3 heads"):
        SelfAttention(10, 10, 3)


def plainly(layer: SelfAttention, x: torch.Tensor, kept: torch.Tensor | None = None) -> torch.Tensor:
    """The layer written with torch operations."""
    parts = {name: projection(x) for name, projection in layer.projections.items()}
    if layer.relu:
        parts = {name: part.relu() for name, part in parts.items()}
    query, key, value = (
        parts[name].unflatten(2, (layer.heads, -1)).transpose(1, 2) for name in ("query", "key", "value")
    )
    weights = torch.softmax(query @ key.mT * layer.scale, -1)
    out = ((weights if kept is None else weights * kept) @ value).transpose(1, 2).flatten(2)
    normed: torch.Tensor = layer.norm((out + parts.get("residual", 0)).relu())
    return normed


def gradients(layer: SelfAttention, out: torch.Tensor, x: torch.Tensor) -> list[torch.Tensor]:
    weighted = out.double() @ torch.linspace(-1, 2, out.shape[2], dtype=torch.float64)
    return list(torch.autograd.grad(weighted.square().sum(), [x, *layer.parameters()]))


@pytest.mark.parametrize("reading", ["code", "paper"])
@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("rows", [0, 1, 6])
def test_gradients_match_autograd(reading: Reading, residual: bool, rows: int) -> None:
    torch.manual_seed(rows)
    layer = SelfAttention(4, 6, 2, residual, reading=reading).double()
    for parameter in layer.parameters():
        parameter.data = torch.randn(parameter.shape, dtype=torch.float64)
    x = torch.randn(rows, 5, 4, dtype=torch.float64, requires_grad=True)
    out, expected = layer(x), plainly(layer, x)
    torch.testing.assert_close(out, expected)
    for got, true in zip(gradients(layer, out, x), gradients(layer, expected, x), strict=True):
        torch.testing.assert_close(got, true)


def test_dropped_weights_have_no_gradient() -> None:
    torch.manual_seed(0)
    layer = SelfAttention(4, 6, 2, dropout=0.5).double()
    x = torch.randn(6, 5, 4, dtype=torch.float64, requires_grad=True)
    torch.manual_seed(1)
    kept = layer.dropout(torch.ones(2, 6, 5, 5, dtype=torch.float64)).transpose(0, 1)
    torch.manual_seed(1)
    out, expected = layer(x), plainly(layer, x, kept)
    torch.testing.assert_close(out, expected)
    for got, true in zip(gradients(layer, out, x), gradients(layer, expected, x), strict=True):
        torch.testing.assert_close(got, true)


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize(("kinds", "bias"), [(3, False), (4, False), (3, True), (4, True)])
def test_custom_gradient_matches_finite_differences(kinds: int, bias: bool, heads: int) -> None:
    torch.manual_seed(0)
    shapes = [(2, 3, 5), (kinds * 4, 5), *([(kinds * 4,)] if bias else [])]
    given = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    kept = torch.randint(3, (heads, 2, 3, 3)).double()
    torch.autograd.gradcheck(
        lambda x, weight, bias=None: _Attended.apply(x, weight, bias, kept, kinds, heads, 0.7), given
    )


def test_half_precision_is_as_accurate_as_autograd() -> None:
    torch.manual_seed(0)
    layer = SelfAttention(16, 32, 4)
    x = torch.randn(64, 10, 16, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        out, plain = layer(x), plainly(layer, x)
    true = plainly(layer, x)
    assert out.dtype == plain.dtype == torch.bfloat16
    for one, other, exact in zip(*(gradients(layer, y, x) for y in (out, plain, true)), strict=True):
        assert one.dtype == torch.float32
        assert float((one - exact).norm()) <= 1.2 * float((other - exact).norm())
    assert float((out - true).detach().norm()) <= 1.2 * float((plain - true).detach().norm())
