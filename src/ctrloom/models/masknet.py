"""MaskNet: hidden layers that are multiplied by masks of the row's embeddings.

B batch, F fields, D embedding size, N = F D, H width of a layer.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from ctrloom.architecture import Architecture
from ctrloom.config import MaskNetSettings
from ctrloom.nn.embedding import FieldEmbedding
from ctrloom.nn.mlp import MLP, Dropout, linear
from ctrloom.schema import Schema


class MaskBlock(nn.Module):
    """ReLU(LN(W (m * h))) with the mask m = W' ReLU(W'' x + b'') + b' of the embeddings x.

    Reference: Wang et al., MaskNet, DLP-KDD 2021, sections 3.2 and 3.3.
    """

    def __init__(self, embedded: int, inputs: int, outputs: int, settings: MaskNetSettings) -> None:
        super().__init__()
        middle = max(1, round(inputs * settings.reduction))
        self.mask = nn.Sequential(linear(embedded, middle), nn.ReLU(), linear(middle, inputs))
        self.hidden = linear(inputs, outputs, bias=False)
        self.norm = nn.LayerNorm(outputs) if settings.layer_norm else nn.Identity()
        self.dropout = Dropout(settings.dropout)

    def forward(self, h_BH: Tensor, x_BN: Tensor) -> Tensor:
        """The masked and transformed input."""
        out_BH: Tensor = self.dropout(self.norm(self.hidden(self.mask(x_BN) * h_BH)).relu())
        return out_BH


class FieldNorms(nn.Module):
    """Layer norm of each embedding, with a scale and shift per field: emb_BFD -> (B, F, D)."""

    def __init__(self, fields: int, size: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(size, elementwise_affine=False)
        self.scale_FD = nn.Parameter(torch.ones(fields, size))
        self.shift_FD = nn.Parameter(torch.zeros(fields, size))

    def forward(self, emb_BFD: Tensor) -> Tensor:
        """Normalise, scale and shift."""
        normed_BFD: Tensor = self.norm(emb_BFD) * self.scale_FD + self.shift_FD
        return normed_BFD


class MaskNet(nn.Module):
    """Serial: w^T h + b, h by a block per width in `hidden`; parallel: MLP([block(LN(x), x) ...]).

    The first input of blocks is [LN(v_1) ... LN(v_F)], and x = [v_1 ... v_F].
    Reference: Wang et al., MaskNet, DLP-KDD 2021, section 3.4.
    """

    def __init__(self, architecture: Architecture, schema: Schema, settings: MaskNetSettings) -> None:
        super().__init__()
        fields, size = len(schema.fields), settings.embedding_size
        self.embedding = FieldEmbedding(schema, size, settings.embedding_std)
        self.norms = FieldNorms(fields, size) if settings.embedding_norm else nn.Identity()
        self.parallel, inputs = bool(settings.parallel), fields * size
        shapes = [(inputs, w) for w in settings.parallel] or pairwise((inputs, *settings.hidden))
        self.blocks = nn.ModuleList(MaskBlock(inputs, before, after, settings) for before, after in shapes)
        self.mlp = (
            MLP(sum(settings.parallel), settings.hidden, settings.dropout)
            if self.parallel
            else MLP(settings.hidden[-1], ())
        )

    def forward(self, ids_BC: Tensor, factors_BC: Tensor | None = None) -> Tensor:
        """Logits (B,)."""
        emb_BFD = self.embedding(ids_BC, factors_BC)
        x_BN, h_BH = emb_BFD.flatten(1), self.norms(emb_BFD).flatten(1)
        if self.parallel:
            h_BH = torch.cat([block(h_BH, x_BN) for block in self.blocks], 1)
        else:
            for block in self.blocks:
                h_BH = block(h_BH, x_BN)
        logit_B: Tensor = self.mlp(h_BH)
        return logit_B
