"""Multi-head self-attention over the fields of a row.

B batch, C columns of the id matrix, F fields, L layers, I input size, O output size, A heads, S head size,
O = A S, K projections (query, key, value and optionally residual), X = K O, N = B F, M = A B.
"""

import math
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ctrloom.config.base import ConfigError
from ctrloom.nn.mlp import Dropout, linear
from ctrloom.nn.precision import matmul_dtype

# Backward functions of torch's built-in layers.
threshold_backward = torch.ops.aten.threshold_backward
softmax_backward = torch.ops.aten._softmax_backward_data


@runtime_checkable
class ShowsAttention(Protocol):
    """A model that exposes the attention weights of its layers."""

    layers: nn.ModuleList

    def attention_maps(self, ids_BC: Tensor, factors_BC: Tensor | None = None) -> Tensor:
        """Attention weights per layer, row and query field: (L, B, F, F)."""
        ...


class SelfAttention(nn.Module):
    """AutoInt's interacting layer: x_BFI -> (B, F, O).

    `reading="code"` is the layer of the published code: queries, keys, values and residual are
    ReLU(W x + b), scores are divided by sqrt(S), and the output is LayerNorm(ReLU(heads + residual)).
    `reading="paper"` (Song et al., AutoInt, CIKM 2019, Eq. 5-8) uses W x, unscaled scores, and
    ReLU(heads + residual).

    Args:
        inputs: I.
        outputs: O, divided equally between the heads.
        heads: A.
        residual: adds the projected input to the output of the heads.
        dropout: dropout probability of the attention weights.
        reading: which of the two variants.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        heads: int,
        residual: bool = True,
        dropout: float = 0.0,
        reading: Literal["code", "paper"] = "code",
    ) -> None:
        super().__init__()
        if outputs % heads:
            raise ConfigError(f"attention output size {outputs} is not divisible by {heads} heads")
        code = reading == "code"
        self.heads, self.dropout, self.relu = heads, Dropout(dropout), code
        self.scale = 1 / math.sqrt(outputs // heads) if code else 1.0
        self.kinds = ("query", "key", "value", *(("residual",) if residual else ()))
        self.projections = nn.ModuleDict(
            {name: _projection(inputs, outputs, bias=code) for name in self.kinds}
        )
        self.norm = nn.LayerNorm(outputs, eps=1e-8) if code else nn.Identity()

    def forward(self, x_BFI: Tensor) -> Tensor:
        """Attended fields, (B, F, O)."""
        state = [(layer.weight, layer.bias) for layer in map(self.projections.get_submodule, self.kinds)]
        weights, biases = zip(*state, strict=True)
        kept_ABFF, device, fields = None, x_BFI.device.type, x_BFI.shape[1]
        if self.training and self.dropout.dropped:
            kept_ABFF = self.dropout(x_BFI.new_ones(self.heads, len(x_BFI), fields, fields))
        given = x_BFI, torch.cat(weights), torch.cat(biases) if self.relu else None, kept_ABFF
        kind = matmul_dtype(weights[0])
        with torch.autocast(device, enabled=False):
            cast = (x if x is None else x.to(kind) for x in given)
            out_BFO = _Attended.apply(*cast, len(weights), self.heads, self.scale)
        normed_BFO: Tensor = self.norm(out_BFO)
        return normed_BFO

    def weights(self, x_BFI: Tensor) -> Tensor:
        """Attention weights per head, (B, A, F, F); sum to 1 over the last axis."""
        query, key = (self._heads(name, x_BFI) for name in ("query", "key"))
        return torch.softmax(query @ key.mT * self.scale, -1)

    def _heads(self, name: str, x_BFI: Tensor) -> Tensor:
        out_BFO: Tensor = self.projections[name](x_BFI)
        out_BFO = out_BFO.relu_() if self.relu else out_BFO
        return out_BFO.unflatten(-1, (self.heads, -1)).transpose(1, 2)


def _projection(inputs: int, outputs: int, bias: bool) -> nn.Linear:
    projection = linear(inputs, outputs, bias)
    if bias:
        nn.init.zeros_(projection.bias)
    return projection


class _Attended(torch.autograd.Function):
    """ReLU(softmax(scale Q K^T) V + R) per head, where [Q, K, V, R] is x W^T, or ReLU(x W^T + b) with a bias.

    Written by hand to project with one matrix product, to write the gradients of all projections into one
    matrix, and to apply ReLU's masks in place.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x_BFI: Tensor,
        weight_XI: Tensor,
        bias_X: Tensor | None,
        kept_ABFF: Tensor | None,  # scaled dropout mask
        kinds: int,
        heads: int,
        scale: float,
    ) -> Tensor:
        x_NI = x_BFI.flatten(0, 1)
        all_NX = x_NI @ weight_XI.T if bias_X is None else torch.addmm(bias_X, x_NI, weight_XI.T).relu_()
        all_BFKAS = all_NX.unflatten(1, (kinds, heads, -1)).unflatten(0, x_BFI.shape[:2])
        all_KMFS = all_BFKAS.permute(2, 3, 0, 1, 4).flatten(1, 2)  # heads first: a contiguous copy
        query_MFS, key_MFS, value_MFS, *residual_MFS = all_KMFS
        share_FFM = torch.softmax(_rows_last(query_MFS @ key_MFS.mT).mul_(scale), 1)
        used_MFF = _rows_first(share_FFM)
        if kept_ABFF is not None:
            used_MFF *= kept_ABFF.flatten(0, 1)
        mixed_MFS = torch.bmm(used_MFF, value_MFS)
        for to_add_MFS in residual_MFS:
            mixed_MFS += to_add_MFS
        out_BFO = mixed_MFS.relu_().unflatten(0, (heads, x_BFI.shape[0])).permute(1, 2, 0, 3).flatten(2)
        ctx.save_for_backward(x_BFI, weight_XI, kept_ABFF, all_KMFS, share_FFM, used_MFF, out_BFO)
        ctx.relu, ctx.heads, ctx.scale = bias_X is not None, heads, scale
        return out_BFO

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Any) -> Any:
        x_BFI, weight_XI, kept_ABFF, all_KMFS, share_FFM, used_MFF, out_BFO = ctx.saved_tensors
        query_MFS, key_MFS, value_MFS = all_KMFS[:3]
        grad_BFO = threshold_backward(grads[0], out_BFO, 0)
        grad_MFS = grad_BFO.unflatten(2, (ctx.heads, -1)).permute(2, 0, 1, 3).flatten(0, 1)
        grad_MFF = grad_MFS @ value_MFS.mT
        if kept_ABFF is not None:
            grad_MFF *= kept_ABFF.flatten(0, 1)
        score_FFM = softmax_backward(_rows_last(grad_MFF), share_FFM, 1, share_FFM.dtype)
        score_MFF = _rows_first(score_FFM.mul_(ctx.scale))
        grad_KMFS = torch.empty_like(all_KMFS)
        torch.bmm(score_MFF, key_MFS, out=grad_KMFS[0])
        torch.bmm(score_MFF.mT, query_MFS, out=grad_KMFS[1])
        torch.bmm(used_MFF.mT, grad_MFS, out=grad_KMFS[2])
        grad_KMFS[3:] = grad_MFS
        if ctx.relu:
            threshold_backward.grad_input(grad_KMFS, all_KMFS, 0, grad_input=grad_KMFS)
        grad_KABFS = grad_KMFS.unflatten(1, (ctx.heads, len(x_BFI)))
        grad_NX = grad_KABFS.permute(2, 3, 0, 1, 4).flatten(0, 1).flatten(1)
        grad_x_BFI = (grad_NX @ weight_XI).view(x_BFI.shape)
        grad_weight_XI = (x_BFI.flatten(0, 1).T @ grad_NX).T
        return grad_x_BFI, grad_weight_XI, grad_NX.sum(0) if ctx.relu else None, None, None, None, None


def _rows_last(x_MFF: Tensor) -> Tensor:
    """Put the row axis last, (F, F, M): on a CPU, softmax over a short last axis is slow."""
    return x_MFF.flatten(1).T.contiguous().unflatten(0, x_MFF.shape[1:])


def _rows_first(x_FFM: Tensor) -> Tensor:
    return x_FFM.flatten(0, 1).T.contiguous().unflatten(1, x_FFM.shape[:2])
