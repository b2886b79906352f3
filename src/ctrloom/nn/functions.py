"""AIM's interaction functions, which combine the fields of an interaction (AIM, section 4.2.3).

B batch, F fields, D embedding size, P interactions of one order and function, O order, E size of a product
before summation: D, or 1 for `outer`.
"""

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor, nn

from ctrloom.architecture import Architecture, Function
from ctrloom.config.base import ConfigError
from ctrloom.nn.embedding import FieldEmbedding, KeptEmbedding
from ctrloom.nn.products import products
from ctrloom.schema import Schema

KERNEL_STD = 1e-3  # from the published code


class Inner(nn.Module):
    """sum_d of the product of the fields' embeddings; any order."""

    fields_OP: Tensor

    def __init__(self, interactions: Sequence[tuple[int, ...]], fields: int, size: int) -> None:
        super().__init__()
        self.register_buffer("fields_OP", torch.tensor(interactions).T.contiguous(), persistent=False)
        self.sums = products(interactions, fields)
        self.count, self.width = len(interactions), len(interactions) * size

    def forward(self, emb_BFD: Tensor) -> Tensor:
        """Values x_BP."""
        x_BP: Tensor = self.sums(emb_BFD)
        return x_BP

    def total(self, emb_BFD: Tensor) -> Tensor:
        """Sum of the values over the interactions (B,)."""
        total_B: Tensor = self.sums.total(emb_BFD)
        return total_B

    def unsummed(self, emb_BFD: Tensor) -> Tensor:
        """Products (B, P, E); the values are their sums over E."""
        return reduce(torch.mul, (emb_BFD.index_select(1, fields_P) for fields_P in self.fields_OP))


class VectorKernel(Inner):
    """sum_d phi_d times the product of the fields' embeddings, with a vector phi per interaction."""

    def __init__(self, interactions: Sequence[tuple[int, ...]], fields: int, size: int) -> None:
        super().__init__(interactions, fields, size)
        self.kernel_PD = _kernel(len(interactions), size)

    def forward(self, emb_BFD: Tensor) -> Tensor:
        """Values x_BP."""
        return torch.einsum("bpd,pd->bp", super().unsummed(emb_BFD), self.kernel_PD)

    def total(self, emb_BFD: Tensor) -> Tensor:
        """Sum of the values over the interactions (B,)."""
        return self(emb_BFD).sum(1)

    def unsummed(self, emb_BFD: Tensor) -> Tensor:
        """Products (B, P, D), phi included."""
        return super().unsummed(emb_BFD) * self.kernel_PD


class ScalarKernel(Inner):
    """phi times the inner product, with a scalar phi per interaction.

    Batch norm removes the scale of phi, so it differs from `inner` only in its sign and its own table.
    """

    def __init__(self, interactions: Sequence[tuple[int, ...]], fields: int, size: int) -> None:
        super().__init__(interactions, fields, size)
        self.kernel_P = _kernel(len(interactions))

    def forward(self, emb_BFD: Tensor) -> Tensor:
        """Values x_BP."""
        return super().forward(emb_BFD) * self.kernel_P

    def total(self, emb_BFD: Tensor) -> Tensor:
        """Sum of the values over the interactions (B,)."""
        return super().forward(emb_BFD) @ self.kernel_P

    def unsummed(self, emb_BFD: Tensor) -> Tensor:
        """Products (B, P, D), phi included."""
        return super().unsummed(emb_BFD) * self.kernel_P.unsqueeze(1)


class Outer(nn.Module):
    """Product of u_o . e_o over the fields of an interaction: an outer product with a rank-1 kernel.

    There is one vector u_o per position in the interaction, shared by all interactions of an order.
    """

    fields_OP: Tensor

    def __init__(self, interactions: Sequence[tuple[int, ...]], fields: int, size: int) -> None:
        super().__init__()
        self.register_buffer("fields_OP", torch.tensor(interactions).T.contiguous(), persistent=False)
        bound = (6 / (size + 1)) ** 0.5
        self.weight_OD = nn.Parameter(torch.empty(len(self.fields_OP), size).uniform_(-bound, bound))
        self.count = self.width = len(interactions)

    def forward(self, emb_BFD: Tensor) -> Tensor:
        """Values x_BP."""
        places = (emb_BFD @ self.weight_OD.T).unbind(2)  # (B, F) per position
        chosen = (p_BF.index_select(1, f_P) for p_BF, f_P in zip(places, self.fields_OP, strict=True))
        return reduce(torch.mul, chosen)

    def total(self, emb_BFD: Tensor) -> Tensor:
        """Sum of the values over the interactions (B,)."""
        return self(emb_BFD).sum(1)

    def unsummed(self, emb_BFD: Tensor) -> Tensor:
        """Products (B, P, 1)."""
        return self(emb_BFD).unsqueeze(2)


LAYERS: dict[Function, type[Inner] | type[Outer]] = {
    "inner": Inner,
    "vector_kernel": VectorKernel,
    "scalar_kernel": ScalarKernel,
    "outer": Outer,
}


class FunctionInteractions(nn.Module):
    """All interactions of an architecture with their functions; keys are `<order>_<function>`.

    Every order and function has its own embedding table ("function-wise embeddings", AIM section 3.3); with
    `shared`, all functions of an order use one, as in the paper's ablation. A table has no rows for fields
    that none of its interactions uses, and only the kept positions of fields listed in `positions`.

    Raises:
        ConfigError: a function that is not AIM's, or positions that conflict with the settings.
    """

    def __init__(
        self,
        architecture: Architecture,
        schema: Schema,
        size: int,
        std: float | None,
        shared: bool = False,
    ) -> None:
        super().__init__()
        _check(architecture, size, shared)
        self.shared, self.functions, self.tables = shared, nn.ModuleDict(), nn.ModuleDict()
        kept = {(k.field, k.order, k.function): k.positions for k in architecture.positions}
        for order in architecture.orders:
            for function in architecture.functions(order):
                tuples = architecture.indices(schema, order, function)
                self.functions[f"{order}_{function}"] = LAYERS[function](tuples, len(schema.fields), size)
                if shared:
                    tuples = architecture.indices(schema, order)
                positions: list[tuple[int, ...]] = [() for _ in schema.names]
                for field in {field for fields in tuples for field in fields}:
                    whole = tuple(range(size))
                    positions[field] = kept.get((schema.names[field], order, function), whole)
                self.tables[self._table(f"{order}_{function}")] = _table(schema, size, positions, std)
        self.counts = {key: int(layer.count) for key, layer in self.functions.items()}  # type: ignore[arg-type]
        self.width = sum(layer.width for layer in self.functions.values())  # type: ignore[misc]

    def embeddings(self, ids_BC: Tensor, factors_BC: Tensor | None) -> dict[str, Tensor]:
        """emb_BFD per table."""
        return {name: table(ids_BC, factors_BC) for name, table in self.tables.items()}

    def forward(self, emb: dict[str, Tensor]) -> dict[str, Tensor]:
        """x_BP per order and function; empty if the architecture has no interactions."""
        return {key: layer(emb[self._table(key)]) for key, layer in self.functions.items()}

    def unsummed(self, emb: dict[str, Tensor]) -> dict[str, Tensor]:
        """Products (B, P, E) per order and function; the values are their sums over E."""
        return {
            key: layer.unsummed(emb[self._table(key)])  # type: ignore[operator]
            for key, layer in self.functions.items()
        }

    def _table(self, key: str) -> str:
        return key[0] if self.shared else key


def _table(
    schema: Schema, size: int, positions: Sequence[tuple[int, ...]], std: float | None
) -> FieldEmbedding:
    whole = all(len(places) == size for places in positions)
    return FieldEmbedding(schema, size, std) if whole else KeptEmbedding(schema, size, positions, std)


def _kernel(*shape: int) -> nn.Parameter:
    return nn.Parameter(
        nn.init.trunc_normal_(torch.empty(shape), std=KERNEL_STD, a=-2 * KERNEL_STD, b=2 * KERNEL_STD)
    )


def _check(architecture: Architecture, size: int, shared: bool) -> None:
    if unknown := {i.function for i in architecture.interactions} - set(LAYERS):
        raise ConfigError(
            f"AIM's models do not support the interaction function {min(unknown)!r}, only "
            f"{', '.join(LAYERS)}; use an architecture found by AIM or AutoFIS"
        )
    if architecture.positions and architecture.embedding_size != size:
        raise ConfigError(
            f"embedding_size: is {size}, but the architecture was searched with embeddings of size "
            f"{architecture.embedding_size}, of which it keeps positions; use that size"
        )
    if architecture.positions and shared:
        raise ConfigError(
            "models.aim.shared_embeddings: cannot be combined with embedding positions per function; "
            "search with search.search_embeddings: false"
        )
