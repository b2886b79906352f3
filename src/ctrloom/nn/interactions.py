"""Products of selected fields, and the gates that weigh them.

B batch, F fields, D embedding size, P interactions of one order.
"""

from collections.abc import Sequence
from itertools import groupby

import torch
from torch import Tensor, nn

from ctrloom.architecture import Architecture
from ctrloom.nn.embedding import FieldEmbedding
from ctrloom.schema import Schema


def pair_sum(emb_BFD: Tensor) -> Tensor:
    """Sum over all pairs of fields of their inner products, in O(F D) (Rendle 2010, Lemma 3.1)."""
    return 0.5 * (emb_BFD.sum(1).square() - emb_BFD.square().sum(1)).sum(-1)


class PairProducts(nn.Module):
    """Inner products of selected pairs of fields: emb_BFD -> (B, P)."""

    position_P: Tensor

    def __init__(self, pairs: Sequence[tuple[int, ...]], fields: int) -> None:
        super().__init__()
        self.register_buffer("position_P", torch.tensor([i * fields + j for i, j in pairs]), persistent=False)
        self.complete = len(pairs) == fields * (fields - 1) // 2

    def forward(self, emb_BFD: Tensor) -> Tensor:
        """<e_i, e_j> for each pair; one batched matrix product, no B x P x D tensor."""
        gram_BFF = torch.bmm(emb_BFD, emb_BFD.mT)
        return gram_BFF.flatten(1).index_select(1, self.position_P)

    def total(self, emb_BFD: Tensor) -> Tensor:
        """Sum over the pairs (B,), in closed form where all pairs are there."""
        return pair_sum(emb_BFD) if self.complete else self(emb_BFD).sum(1)


class TripleProducts(nn.Module):
    """Sums over the embedding of the product of three fields: emb_BFD -> (B, P)."""

    def __init__(self, triples: Sequence[tuple[int, ...]], fields: int) -> None:
        super().__init__()
        assert list(triples) == sorted(triples), "triples come in lexicographic order"
        self.leads: list[int] = []
        for lead, group in groupby(triples, key=lambda triple: triple[0]):
            # Positions in the Gram matrix of the fields behind `lead`.
            rest = fields - lead - 1
            position = torch.tensor([(j - lead - 1) * rest + (k - lead - 1) for _, j, k in group])
            self.register_buffer(f"position_of_{lead}", position, persistent=False)
            self.leads.append(lead)

    def forward(self, emb_BFD: Tensor) -> Tensor:
        """sum_d e_i e_j e_k for each triple; one batched matrix product per leading field."""
        parts_BP = []
        for lead in self.leads:
            rest_BFD = emb_BFD[:, lead + 1 :]
            gram_BFF = torch.bmm(rest_BFD * emb_BFD[:, lead, None], rest_BFD.mT)
            parts_BP.append(gram_BFF.flatten(1).index_select(1, self.get_buffer(f"position_of_{lead}")))
        return torch.cat(parts_BP, 1)

    def total(self, emb_BFD: Tensor) -> Tensor:
        """Sum over the triples (B,)."""
        total_B: Tensor = self(emb_BFD).sum(1)
        return total_B


def products(interactions: Sequence[tuple[int, ...]], fields: int) -> PairProducts | TripleProducts:
    """The layer for interactions of one order (2 or 3), given as tuples of field positions."""
    order = len(interactions[0])
    assert order in (2, 3), f"interactions of order {order} are not built"
    return PairProducts(interactions, fields) if order == 2 else TripleProducts(interactions, fields)


class Gates(nn.Module):
    """One trainable weight per interaction on its batch-normalised value: x_BP -> (B,).

    The batch norm has neither scale nor shift, so that the size of a gate says how strong its interaction
    is (AutoFIS, Eq. 12); eps and momentum are those of the published code, and they matter: pairs of small
    variance stay attenuated.
    """

    def __init__(self, count: int, init: float = 0.6, spread: float = 1e-3) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(count, eps=1e-3, momentum=0.01, affine=False)
        self.gate_P = nn.Parameter(torch.empty(count).uniform_(init - spread, init + spread))

    def forward(self, x_BP: Tensor) -> Tensor:
        """Sum of gate * BN(x) over the interactions."""
        normed_BP: Tensor = self.norm(x_BP)
        return normed_BP @ self.gate_P


class Interactions(nn.Module):
    """Values of all interactions of an architecture: {order: x_BP}.

    Pairs are products of the embeddings that the model already has; every higher order has an embedding
    table of its own (AutoFIS' published code).
    """

    def __init__(self, architecture: Architecture, schema: Schema, size: int, std: float | None) -> None:
        super().__init__()
        fields, orders = len(schema.fields), architecture.orders
        self.products = nn.ModuleDict(
            {str(o): products(architecture.indices(schema, o), fields) for o in orders}
        )
        self.count = sum(len(architecture.of_order(o)) for o in orders)
        self.tables = nn.ModuleDict({str(o): FieldEmbedding(schema, size, std) for o in orders if o > 2})

    def forward(self, emb_BFD: Tensor, ids_BC: Tensor, factors_BC: Tensor | None) -> dict[str, Tensor]:
        """x_BP per order; empty when the architecture keeps nothing."""
        emb = self._embeddings(emb_BFD, ids_BC, factors_BC)
        return {order: product(emb[order]) for order, product in self.products.items()}

    def total(self, emb_BFD: Tensor, ids_BC: Tensor, factors_BC: Tensor | None) -> Tensor:
        """Sum over all interactions (B,)."""
        emb = self._embeddings(emb_BFD, ids_BC, factors_BC)
        total_B = emb_BFD.new_zeros(len(emb_BFD))
        for order, product in self.products.items():
            assert isinstance(product, PairProducts | TripleProducts)
            total_B = total_B + product.total(emb[order])
        return total_B

    def _embeddings(self, emb_BFD: Tensor, ids_BC: Tensor, factors_BC: Tensor | None) -> dict[str, Tensor]:
        own = {order: table(ids_BC, factors_BC) for order, table in self.tables.items()}
        return {"2": emb_BFD, **own}
