import numpy as np
import pytest
import torch
from conftest import Way
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from ctrloom.nn.mlp import MLP, Dropout, linear


def array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().numpy()


def inputs(rows: int = 6, width: int = 4) -> torch.Tensor:
    return torch.randn(rows, width, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_plain_layers() -> None:
    mlp, x = MLP(4, (5, 3)).double(), inputs()
    state = {name: array(tensor) for name, tensor in mlp.state_dict().items()}
    h = array(x)
    for layer in (0, 2):
        h = np.maximum(h @ state[f"layers.{layer}.weight"].T + state[f"layers.{layer}.bias"], 0)
    expected = (h @ state["layers.4.weight"].T + state["layers.4.bias"])[:, 0]
    np.testing.assert_allclose(array(mlp(x)), expected, atol=1e-12)


@pytest.mark.parametrize("after", [False, True])
def test_layer_norm_is_before_or_after_relu(after: bool) -> None:
    mlp, x = MLP(4, (5, 3), layer_norm=True, layer_norm_after_relu=after).double(), inputs()
    generator = torch.Generator().manual_seed(3)
    for tensor in mlp.state_dict().values():
        tensor.copy_(torch.randn(tensor.shape, generator=generator))
    state = {name: array(tensor.clone()) for name, tensor in mlp.state_dict().items()}

    def normed(h: np.ndarray, at: int) -> np.ndarray:
        centred = h - h.mean(1, keepdims=True)
        rate = 1 / np.sqrt((centred**2).mean(1, keepdims=True) + 1e-5)
        return centred * rate * state[f"layers.{at}.weight"] + state[f"layers.{at}.bias"]

    h = array(x)
    for at in (0, 3):
        h = h @ state[f"layers.{at}.weight"].T + state[f"layers.{at}.bias"]
        h = normed(np.maximum(h, 0), at + 2) if after else np.maximum(normed(h, at + 1), 0)
    expected = (h @ state["layers.6.weight"].T + state["layers.6.bias"])[:, 0]
    np.testing.assert_allclose(array(mlp(x)), expected, atol=1e-12)


@pytest.mark.parametrize("train", [True, False])
def test_batch_norm_without_scale_then_bias(train: bool) -> None:
    mlp, x = MLP(4, (5,), batch_norm=True).double(), inputs()
    generator = torch.Generator().manual_seed(2)
    for name, tensor in mlp.state_dict().items():
        if "bias" in name or "running" in name:
            tensor.copy_(torch.rand(tensor.shape, generator=generator))
    mlp.train(train)
    state = {name: array(tensor.clone()) for name, tensor in mlp.state_dict().items()}
    h = array(x) @ state["layers.0.weight"].T
    mean, variance = (
        (h.mean(0), h.var(0))
        if train
        else (state["layers.1.norm.running_mean"], state["layers.1.norm.running_var"])
    )
    h = np.maximum((h - mean) / np.sqrt(variance + 1e-3) + state["layers.1.bias"], 0)
    expected = (h @ state["layers.3.weight"].T + state["layers.3.bias"])[:, 0]
    np.testing.assert_allclose(array(mlp(x)), expected, atol=1e-12)


def test_batch_norm_layers_have_no_linear_bias() -> None:
    names = {name for name, _ in MLP(4, (5, 5), batch_norm=True).named_parameters()}
    assert names == {
        f"layers.{i}" for i in ("0.weight", "1.bias", "3.weight", "4.bias", "6.weight", "6.bias")
    }


def test_biases_are_zero_as_in_the_published_code() -> None:
    mlp = MLP(4, (5,), batch_norm=True)
    assert not mlp.get_parameter("layers.1.bias").detach().any()


@pytest.mark.parametrize("batch_norm", [False, True])
def test_gradients(batch_norm: bool) -> None:
    mlp = MLP(3, (4,), batch_norm=batch_norm).double()
    assert torch.autograd.gradcheck(mlp, (inputs(5, 3).requires_grad_(),))


def test_dropout_is_active_only_in_training() -> None:
    mlp, x = MLP(4, (64,), dropout=0.5), inputs().float()
    assert not torch.equal(mlp(x), mlp(x))
    mlp.eval()
    assert torch.equal(mlp(x), mlp(x))


@pytest.mark.parametrize(("p", "share"), [(0.1, 26 / 256), (0.5, 0.5), (0.75, 0.75), (0.999, 255 / 256)])
def test_dropout_zeroes_a_share_and_keeps_the_mean(p: float, share: float) -> None:
    torch.manual_seed(0)
    x = torch.rand(300, 333) + 0.5
    out = Dropout(p)(x)
    kept = out != 0
    assert (~kept).float().mean().item() == pytest.approx(share, abs=0.01)
    torch.testing.assert_close(out[kept], x[kept] / (1 - share))
    # Rows and neighbours are dropped independently.
    assert kept.float().mean(0).std() < 0.05
    both = (kept[:, 1:] & kept[:, :-1]).float().mean().item()
    assert both == pytest.approx((1 - share) ** 2, abs=0.01)


def test_dropout_is_reproducible_and_masks_gradients() -> None:
    x = torch.ones(5, 7, requires_grad=True)
    outs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        outs.append(Dropout(0.5)(x))
    assert torch.equal(outs[0], outs[1])
    assert not torch.equal(outs[0], outs[2])
    outs[0].sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, outs[0].detach())
    assert torch.equal(Dropout(0.5).eval()(x), x)
    assert torch.equal(Dropout(0.0)(x), x)


def test_mlp_without_hidden_layers_is_linear() -> None:
    mlp, x = MLP(4, ()), inputs().float()
    (linear,) = [layer for layer in mlp.modules() if isinstance(layer, nn.Linear)]
    torch.testing.assert_close(mlp(x), linear(x)[:, 0])


@pytest.mark.parametrize(
    ("shape", "hidden", "norm"),
    [
        ((9, 13), (7, 16, 5), None),
        ((3, 8), (), None),
        ((40, 33), (24, 9), "before"),
        ((40, 33), (24, 9), "after"),
        ((0, 5), (4,), None),
    ],
)
def test_bfloat16_kernel_is_as_accurate_as_plain(
    shape: tuple[int, int], hidden: tuple[int, ...], norm: str | None, way: Way
) -> None:
    """All gradients, with widths that are multiples of eight and others."""
    torch.manual_seed(0)
    norms = {"layer_norm": norm is not None, "layer_norm_after_relu": norm == "after"}
    layer, x = MLP(shape[1], hidden, **norms), torch.randn(shape)
    for parameter in layer.parameters():
        nn.init.uniform_(parameter, -0.5, 0.5)

    def learned(device: torch.device, dtype: torch.dtype, halves: bool) -> list[torch.Tensor]:
        here = layer.to(device, dtype)
        mine = x.to(device, dtype).requires_grad_()
        with torch.autocast(device.type, torch.bfloat16, enabled=halves):
            out = here(mine)
        weights = torch.linspace(1, 2, len(out), device=device)
        grads = torch.autograd.grad((out * weights).sum(), [mine, *here.parameters()])
        assert all(grad.dtype == dtype for grad in grads)
        return [each.detach().double().cpu() for each in (out, *grads)]

    near = (
        (0.2 if norm == "after" else 0.12) if way.kernel and way.device.type == "cpu" else 0.05
    )  # the interpreter truncates instead of rounding
    exact = learned(torch.device("cpu"), torch.float64, False)
    for found, expected in zip(learned(way.device, torch.float32, True), exact, strict=True):
        assert found.shape == expected.shape
        assert (found - expected).norm() <= near * expected.norm()
    way.ran("_widen", *(["_activate", "_activate_gradient"] if norm == "before" else []))


@pytest.mark.parametrize("norm", [False, True])
def test_bfloat16_dropout_zeroes_a_share_and_its_gradients(norm: bool, way: Way) -> None:
    """The share of zeros of positive outputs is visible in the gradient of the last weights."""
    torch.manual_seed(0)
    mlp, x = MLP(9, (501,), dropout=0.25, layer_norm=norm), torch.rand(64, 9)
    with torch.no_grad():
        first, last = (layer for layer in mlp.layers if isinstance(layer, nn.Linear))
        first.weight.zero_()
        first.bias.copy_(torch.linspace(1, 2, 501))
        last.weight.fill_(1)
        if norm:
            mlp.get_parameter("layers.1.weight").fill_(0.1)
            mlp.get_parameter("layers.1.bias").fill_(2)
    mlp, x = mlp.to(way.device), x.to(way.device)
    hidden = (torch.linspace(-1.73, 1.73, 501) * 0.1 + 2 if norm else first.bias).detach().to(way.device)
    with torch.autocast(way.device.type, torch.bfloat16):
        out, again = mlp(x), mlp(x)
        still = mlp.eval()(x)
    assert not torch.equal(out, again)
    torch.testing.assert_close(still.float(), (hidden.sum() + last.bias).expand(64), rtol=0.01, atol=0)
    out.sum().backward()
    scale = 256 / 192
    kept = last.weight.grad[0] / hidden / scale  # number of rows that kept each output
    assert kept.mean().item() == pytest.approx(48, abs=0.5)
    assert 0 < kept.std().item() < 6
    way.ran("_activate", "_activate_gradient")
    if not norm:  # kept outputs pass the gradient
        torch.testing.assert_close(first.bias.grad, kept * scale, rtol=0.02, atol=0.02)


def test_linear_layer_whose_inputs_need_no_gradient(way: Way) -> None:
    torch.manual_seed(0)
    layer, x = linear(5, 3).to(way.device), torch.randn(4, 5, device=way.device)
    with torch.autocast(way.device.type, torch.bfloat16):
        layer(x).sum().backward()
    assert layer.weight.grad is not None
    expected = x.sum(0).expand(3, 5)
    torch.testing.assert_close(layer.weight.grad, expected, rtol=0.02, atol=0.02)
    assert layer.bias.grad.tolist() == [4, 4, 4]
    way.ran("_widen")


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [1, 15, 16, 17, 100, 129, 1000, 1024, 1025])
def test_scoring_equals_a_product_in_double_precision(rows: int, bias: bool) -> None:
    layer, x = linear(300, 257, bias), inputs(rows, 300).float()
    expected = array(x).astype(float) @ array(layer.weight).astype(float).T
    if layer.bias is not None:
        expected += array(layer.bias)
    strided = x.repeat_interleave(2, 1)[:, ::2]
    for grad in (True, False):
        with torch.set_grad_enabled(grad):
            for given in (x, strided):
                np.testing.assert_allclose(array(layer(given)), expected, atol=2e-5)


def test_scores_have_the_same_bits_with_one_thread_and_two() -> None:
    layer, x, before = linear(3000, 400), inputs(100, 3000).float(), torch.get_num_threads()
    try:
        found = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            with torch.no_grad():
                found.append(layer(x))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*found)


@torch.no_grad()
def test_exported_layer_takes_any_number_of_rows() -> None:
    layer, x = linear(300, 300), inputs(100, 300).float()
    rows = torch.export.Dim("rows", min=1, max=10_000)
    program = torch.export.export(layer, (x,), dynamic_shapes=({0: rows},), strict=False)
    assert not any("mkldnn" in str(node.target) for node in program.graph.nodes)
    for count in (1, 50, 2000):
        given = inputs(count, 300).float()
        np.testing.assert_allclose(program.module()(given), layer(given), atol=2e-5)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@torch.no_grad()
def test_traced_layer_takes_any_number_of_rows() -> None:
    layer = linear(300, 300)
    traced = torch.jit.trace(layer, (inputs(16, 300).float(),))
    for count in (1, 20, 2000):
        given = inputs(count, 300).float()
        np.testing.assert_allclose(traced(given), layer(given), atol=2e-5)


@torch.no_grad()
def test_layer_takes_tensors_without_data() -> None:
    with FakeTensorMode(allow_non_fake_inputs=True):
        assert linear(300, 300)(torch.empty(20, 300)).shape == (20, 300)


@torch.no_grad()
def test_scoring_without_onednn_has_the_bits_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = linear(300, 300), inputs(20, 300).float()
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
    assert torch.equal(layer(x), nn.functional.linear(x, layer.weight, layer.bias))
