"""Embedding tables in fewer bytes, for scoring: int8 with a scale per row, or bfloat16.

R rows of a table, D width of a row, V ids, N weights of a table of rows of several widths.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from ctrloom.nn.cross_features import CrossEmbedding
from ctrloom.nn.embedding import FieldEmbedding, KeptEmbedding

Tables = Literal["int8", "bf16"]
LARGEST = 127  # of an int8


class Int8Table(nn.Module):
    """Weights as w = code * scale, with scale = (largest |w| of the row) / 127.

    Args:
        weight: (R, D); or (N,) with `row_N`, the row of each weight.
    """

    code: Tensor
    scale_R: Tensor

    def __init__(self, weight: Tensor, row_N: Tensor | None = None, rows: int = 0) -> None:
        super().__init__()
        size = weight.detach().abs()
        if row_N is None:
            largest_R = size.amax(1)
        else:
            largest_R = size.new_zeros(rows).scatter_reduce_(0, row_N, size, "amax")
        scale_R = (largest_R / LARGEST).clamp_min(torch.finfo(torch.float32).tiny)
        each = scale_R.unsqueeze(1) if row_N is None else scale_R[row_N]
        self.register_buffer("code", (weight.detach() / each).round().to(torch.int8))
        self.register_buffer("scale_R", scale_R)

    def forward(self, place: Tensor, row: Tensor) -> Tensor:
        """Weights at `place`, whose rows are `row`: (*place.shape, D), or place.shape of a flat table."""
        code = self.code.index_select(0, place.flatten()).view(*place.shape, *self.code.shape[1:])
        scale = self.scale_R.index_select(0, row.flatten()).view(row.shape)
        return code.to(scale.dtype) * (scale.unsqueeze(-1) if self.code.dim() == 2 else scale)


class BFloat16Table(nn.Module):
    """Weights rounded to bfloat16; scoring computes in float32."""

    weight: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight.detach().to(torch.bfloat16))

    def forward(self, place: Tensor, row: Tensor) -> Tensor:
        """Weights at `place`, as of `Int8Table`."""
        found = self.weight.index_select(0, place.flatten()).to(torch.float32)
        return found.view(*place.shape, *self.weight.shape[1:])


def compress(model: nn.Module, kind: Tables) -> None:
    """Compress all tables with more than one weight per row in place; the model can then only score."""
    for module in list(model.modules()):
        if isinstance(module, KeptEmbedding):
            row_N, rows = module.row_of_weights(), sum(module.sizes)
        elif isinstance(module, FieldEmbedding | CrossEmbedding) and module.weight.shape[1] > 1:
            row_N, rows = None, 0
        else:
            continue
        weight = module.weight
        module.compressed = BFloat16Table(weight) if kind == "bf16" else Int8Table(weight, row_N, rows)
        module.weight = nn.Parameter(weight.new_empty(0), requires_grad=False)
