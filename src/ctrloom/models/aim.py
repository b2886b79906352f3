"""AIM: gated interactions with several functions, and an MLP over their products."""

import torch
from torch import Tensor, nn

from ctrloom.architecture import Architecture
from ctrloom.config import AIMSettings
from ctrloom.models.shallow import LR
from ctrloom.nn.embedding import drop_embeddings
from ctrloom.nn.functions import FunctionInteractions
from ctrloom.nn.interactions import Gates
from ctrloom.nn.mlp import perceptron
from ctrloom.nn.norm import BatchNorm
from ctrloom.schema import Schema


class AIM(LR):
    """b + o_1 sum_i w_i + sum_p o_p sum_qf a_qf BN(f(e_q)) + o_mlp MLP([products of all q and f]).

    p are the orders, q the interactions of an order, f their functions; the output scalars o are trainable
    and initialised to 1.

    Reference: Zhu et al., AIM: Automatic interaction machine for click-through rate prediction, TKDE 2021.
    """

    def __init__(self, architecture: Architecture, schema: Schema, settings: AIMSettings) -> None:
        super().__init__(architecture, schema, settings)
        size, std = settings.embedding_size, settings.embedding_std
        self.interactions = FunctionInteractions(architecture, schema, size, std, settings.shared_embeddings)
        self.gates = nn.ModuleDict({k: Gates(count) for k, count in self.interactions.counts.items()})
        self.mlp = None
        if settings.perceptron and self.interactions.width:
            self.mlp = perceptron(self.interactions.width, settings)
        parts = ["linear", *map(str, architecture.orders), *(["perceptron"] if self.mlp else [])]
        self.scales = nn.ParameterDict({part: torch.ones(()) for part in parts})

    def forward(self, ids_BC: Tensor, factors_BC: Tensor | None = None) -> Tensor:
        """Logits (B,)."""
        emb = self.interactions.embeddings(ids_BC, factors_BC)
        logit_B: Tensor = self.bias + self.scales["linear"] * self.linear(ids_BC, factors_BC)
        if self.mlp is None:
            x = self.interactions(emb)
        else:
            products = self.interactions.unsummed(emb)
            x = {key: product_BPE.sum(2) for key, product_BPE in products.items()}
            flat_BX = torch.cat([product_BPE.flatten(1) for product_BPE in products.values()], 1)
            logit_B = logit_B + self.scales["perceptron"] * self.mlp(flat_BX)
        return sum((self.scales[key[0]] * self.gates[key](x_BP) for key, x_BP in x.items()), logit_B)


class PositionGatedAIM(LR):
    """b + o_1 sum_i w_i + sum_p o_p sum_qf f(beta BN(e_q)): the model for the search of embedding sizes.

    Every embedding position of every field has a gate beta per order and function; interactions have no gate
    or norm (AIM, section 3.4, and its published code). The paper's text describes one gate per field and
    position for all functions, but its Table 6 requires one per function.
    """

    def __init__(self, architecture: Architecture, schema: Schema, settings: AIMSettings) -> None:
        super().__init__(architecture, schema, settings)
        fields, size = len(schema.fields), settings.embedding_size
        self.interactions = FunctionInteractions(architecture, schema, size, settings.embedding_std, False)
        self.gates = nn.ModuleDict({key: PositionGates(fields, size) for key in self.interactions.tables})
        self.scales = nn.ParameterDict(
            {p: torch.ones(()) for p in ["linear", *map(str, architecture.orders)]}
        )
        drop_embeddings(self, settings.embedding_dropout)

    def forward(self, ids_BC: Tensor, factors_BC: Tensor | None = None) -> Tensor:
        """Logits (B,)."""
        emb = self.interactions.embeddings(ids_BC, factors_BC)
        x = self.interactions({key: self.gates[key](emb_BFD) for key, emb_BFD in emb.items()})
        logit_B: Tensor = self.bias + self.scales["linear"] * self.linear(ids_BC, factors_BC)
        return sum((self.scales[key[0]] * x_BP.sum(1) for key, x_BP in x.items()), logit_B)


class PositionGates(nn.Module):
    """One trainable weight per field and position on the batch-normalised embedding: emb_BFD -> emb_BFD."""

    def __init__(self, fields: int, size: int) -> None:
        super().__init__()
        self.norm = BatchNorm(fields * size, eps=1e-3, momentum=0.01, affine=False)
        self.gate_FD = nn.Parameter(torch.full((fields, size), 0.6))

    def forward(self, emb_BFD: Tensor) -> Tensor:
        """Batch-normalised, gated embeddings."""
        normed_BX: Tensor = self.norm(emb_BFD.flatten(1))
        return normed_BX.view_as(emb_BFD) * self.gate_FD
