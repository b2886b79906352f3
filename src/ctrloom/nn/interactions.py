"""The values of selected interactions, and trainable gates on them.

B batch, F fields, D embedding size, P interactions of one order (and function).
"""

import torch
from torch import Tensor, nn

from ctrloom import distributed, kernels
from ctrloom.architecture import Architecture
from ctrloom.nn.embedding import FieldEmbedding
from ctrloom.nn.functions import FunctionInteractions
from ctrloom.nn.norm import BatchNorm
from ctrloom.nn.products import products
from ctrloom.schema import Schema


class Gates(nn.Module):
    """One trainable weight per interaction on its batch-normalised value: x_BP -> (B,).

    Batch norm has no scale or shift, so that the magnitude of a gate measures the strength of its interaction
    (AutoFIS, section 3.2). Eps and momentum are those of the published code; with this eps, pairs whose
    variance is near it are scaled down. Without `norm`, gates are on the values themselves.
    """

    def __init__(self, count: int, init: float = 0.6, spread: float = 1e-3, norm: bool = True) -> None:
        super().__init__()
        self.norm = BatchNorm(count, eps=1e-3, momentum=0.01, affine=False) if norm else nn.Identity()
        self.gate_P = nn.Parameter(torch.empty(count).uniform_(init - spread, init + spread))

    def forward(self, x_BP: Tensor) -> Tensor:
        """Sum of gate * BN(x) over the interactions."""
        if (
            isinstance(self.norm, BatchNorm)
            and self.training
            and distributed.is_single_process()
            and kernels.usable(x_BP)
        ):
            from ctrloom.kernels.gates import gated_norm

            return gated_norm(x_BP, self.gate_P, self.norm)
        normed_BP: Tensor = self.norm(x_BP)
        return normed_BP @ self.gate_P


class Interactions(nn.Module):
    """Values of all interactions of an architecture: x_BP by group, as in `Architecture.groups`.

    Inner products of whole embeddings are grouped by order ("2"): pairs use the model's embeddings, and each
    higher order has its own embedding table (AutoFIS' published code). If the architecture has functions or
    kept positions, every order and function ("2_outer") has its own table, as in AIM (section 3.3), and none
    uses the model's embeddings.

    Raises:
        ConfigError: an architecture with kept positions of embeddings of another size.
    """

    def __init__(self, architecture: Architecture, schema: Schema, size: int, std: float | None) -> None:
        super().__init__()
        if architecture.has_functions:
            own = FunctionInteractions(architecture, schema, size, std)
            self.layers, self.tables = own.functions, own.tables
        else:
            fields, orders = len(schema.fields), architecture.orders
            self.layers = nn.ModuleDict(
                {str(o): products(architecture.indices(schema, o), fields) for o in orders}
            )
            self.tables = nn.ModuleDict({str(o): FieldEmbedding(schema, size, std) for o in orders if o > 2})
        self.count = sum(map(len, architecture.groups.values()))

    def forward(self, emb_BFD: Tensor, ids_BC: Tensor, factors_BC: Tensor | None) -> dict[str, Tensor]:
        """x_BP per group; empty if the architecture has no interactions."""
        emb = self._embeddings(emb_BFD, ids_BC, factors_BC)
        return {group: layer(emb[group]) for group, layer in self.layers.items()}

    def total(self, emb_BFD: Tensor, ids_BC: Tensor, factors_BC: Tensor | None) -> Tensor:
        """Sum over all interactions (B,)."""
        emb = self._embeddings(emb_BFD, ids_BC, factors_BC)
        total_B = emb_BFD.new_zeros(emb_BFD.shape[0])
        for group, layer in self.layers.items():
            total_B = total_B + layer.total(emb[group])  # type: ignore[operator]
        return total_B

    def _embeddings(self, emb_BFD: Tensor, ids_BC: Tensor, factors_BC: Tensor | None) -> dict[str, Tensor]:
        own = {group: table(ids_BC, factors_BC) for group, table in self.tables.items()}
        return {"2": emb_BFD, **own}
