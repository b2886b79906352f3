"""The multi-layer perceptron of the deep models."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import linear as linear_of
from torch.nn.functional import pad

from ctrloom import kernels, memory
from ctrloom.config import Hyperparameters
from ctrloom.nn.norm import BatchNorm
from ctrloom.nn.precision import matmul_dtype

_FEWEST, _MOST = 16, 1024  # rows that oneDNN is for: fewer gain nothing, and more would be copied
_LARGE = 1 << 16  # weights


class Linear(nn.Linear):
    """torch's linear layer; in bfloat16 on a GPU it uses a kernel that pads widths for tensor cores.

    Small batches are scored on a CPU by oneDNN, which uses AVX-512 where MKL does not.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Outputs, (..., M)."""
        if (y := _by_kernel([self], input)) is not None:
            return y
        if self._is_for_onednn(input):
            rows = len(input)
            padded = pad(input, (0, 0, 0, _padded(rows) - rows))
            return linear_of(padded.to_mkldnn(), self.weight, self.bias).to_dense()[:rows]
        return super().forward(input)

    def _is_for_onednn(self, x: Tensor) -> bool:
        traced = torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined]
        if traced or torch.is_grad_enabled():
            return False
        return (
            type(x) is Tensor  # others, such as fake ones, have no data
            and x.dim() == 2
            and _FEWEST <= len(x) <= _MOST
            and self.weight.numel() >= _LARGE
            and x.device.type == self.weight.device.type == "cpu"
            and matmul_dtype(x) is x.dtype is self.weight.dtype is torch.float32
            and torch.backends.mkldnn.is_available()
            and bool(torch.backends.mkldnn.enabled)
        )


def _padded(rows: int) -> int:
    """A number of rows of which there are few different: oneDNN compiles and keeps a program for each."""
    step = 1 << max(4, (rows - 1).bit_length() - 3)
    return -(-rows // step) * step


def _by_kernel(modules: Iterable[nn.Module], x: Tensor) -> Tensor | None:
    """Apply linear layers, with others in between, by a fused kernel; None if it does not support them."""
    first, *others = modules
    if x.dim() != 2 or matmul_dtype(x) is not torch.bfloat16 or not kernels.usable(next(first.parameters())):
        return None
    from ctrloom.kernels.linear import Layer, chain, fits

    layers: list[Layer] = []
    for before, module in pairwise((None, first, *others)):
        match module:
            case Linear() if module.bias is not None:
                layers.append(Layer(module.weight, module.bias))
            case nn.LayerNorm() if isinstance(before, Linear):
                layers[-1] = layers[-1]._replace(scale_M=module.weight, shift_M=module.bias, eps=module.eps)
            case Dropout():
                layers[-1] = layers[-1]._replace(dropped=module.dropped if module.training else 0)
            case nn.ReLU():
                pass
            case _:
                return None
    return chain(x, layers) if fits(layers) else None


def linear(inputs: int, outputs: int, bias: bool = True) -> nn.Linear:
    """A linear layer with Xavier uniform initialisation."""
    memory.require(4 * inputs * outputs, f"a layer of {inputs:,} x {outputs:,} weights", "lower hidden")
    layer = Linear(inputs, outputs, bias=bias)
    nn.init.xavier_uniform_(layer.weight)
    return layer


def hidden_layers(
    inputs: int,
    hidden: Sequence[int],
    dropout: float = 0.0,
    batch_norm: bool = False,
    layer_norm: bool = False,
    layer_norm_after_relu: bool = False,
) -> nn.Sequential:
    """Hidden layers with ReLU: (B, inputs) -> (B, hidden[-1]).

    With batch norm, a hidden layer is linear without bias, batch norm without scale, bias, ReLU, dropout
    (AutoFIS' code). With layer norm, which has scale and shift, it is linear, norm, ReLU, dropout
    (OptInter's code), or linear, ReLU, norm, dropout (OptInter, Eq. 9).
    """
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [linear(inputs, width, bias=not batch_norm), *([BiasedNorm(width)] if batch_norm else [])]
        norm = [nn.LayerNorm(width)] if layer_norm else []
        layers += [nn.ReLU(), *norm] if layer_norm_after_relu else [*norm, nn.ReLU()]
        layers += [Dropout(dropout)] if dropout else []
        inputs = width
    return nn.Sequential(*layers)


class MLP(nn.Module):
    """Hidden layers, then one logit: (B, inputs) -> (B,)."""

    def __init__(
        self,
        inputs: int,
        hidden: Sequence[int],
        dropout: float = 0.0,
        batch_norm: bool = False,
        layer_norm: bool = False,
        layer_norm_after_relu: bool = False,
    ) -> None:
        super().__init__()
        layers = hidden_layers(inputs, hidden, dropout, batch_norm, layer_norm, layer_norm_after_relu)
        self.layers = nn.Sequential(*layers, linear(hidden[-1] if hidden else inputs, 1))

    def forward(self, x_BH: Tensor) -> Tensor:
        """One logit per row."""
        logit_B1 = _by_kernel(self.layers, x_BH)
        if logit_B1 is None:
            logit_B1 = self.layers(x_BH)
        return logit_B1.squeeze(-1)


def perceptron(inputs: int, settings: Hyperparameters) -> MLP:
    """An MLP with a model's hyperparameters."""
    return MLP(inputs, settings.hidden, *regularization(settings))


def regularization(settings: Hyperparameters) -> tuple[float, bool, bool, bool]:
    """What a model's hidden layers have in addition to `Linear` and ReLU, in the order of `hidden_layers`."""
    norms = settings.batch_norm, settings.layer_norm, settings.layer_norm_after_relu
    return settings.dropout, *norms


class Dropout(nn.Module):
    """Dropout with one random byte per value, which takes half the time of torch's on a CPU.

    `p` is rounded to a multiple of 1/256, and the scale is that of the rounded value.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.dropped = min(round(p * 256), 255)

    def forward(self, x_BH: Tensor) -> Tensor:
        """Zero random values and scale up the others, in training only."""
        if not self.training or not self.dropped:
            return x_BH
        words = torch.empty((x_BH.numel() + 7) // 8, dtype=torch.int64, device=x_BH.device)
        bytes_BH = words.random_(-(2**63), None).view(torch.uint8)[: x_BH.numel()].view(x_BH.shape)
        kept_BH = bytes_BH >= self.dropped
        return x_BH * kept_BH * (256 / (256 - self.dropped))


class BiasedNorm(nn.Module):
    """Batch norm without scale, followed by a trainable bias."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = BatchNorm(width, eps=1e-3, momentum=0.01, affine=False)
        self.bias = nn.Parameter(nn.init.zeros_(self.norm.running_mean.new_empty(width)))

    def forward(self, x_BH: Tensor) -> Tensor:
        """Normalise, then shift."""
        normed_BH: Tensor = self.norm(x_BH)
        return normed_BH + self.bias
