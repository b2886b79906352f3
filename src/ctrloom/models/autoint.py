"""AutoInt and AutoInt+: self-attention over the fields.

L layers, B batch, F fields, D embedding size, O output size of a layer.
"""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from ctrloom.architecture import Architecture
from ctrloom.config import AutoIntSettings
from ctrloom.nn.attention import SelfAttention
from ctrloom.nn.embedding import FieldEmbedding
from ctrloom.nn.mlp import perceptron
from ctrloom.schema import Schema


class AutoInt(nn.Module):
    """Linear output on L layers of self-attention: b + w . A_L(... A_1([v_1 ... v_F])).

    A missing value has its own trainable embedding; the published code multiplies by 0, which this one can
    learn. The output's weights are initialised as in that code, its bias to 0 instead of N(0, 1).
    Reference: Song et al., AutoInt, CIKM 2019.
    """

    def __init__(self, architecture: Architecture, schema: Schema, settings: AutoIntSettings) -> None:
        super().__init__()
        self.embedding = FieldEmbedding(schema, settings.embedding_size, settings.embedding_std)
        size = settings.heads * settings.head_size
        like = settings.heads, settings.residual, settings.attention_dropout, settings.reading
        sizes = pairwise((settings.embedding_size, *[size] * settings.attention_layers))
        self.layers = nn.ModuleList(SelfAttention(inputs, outputs, *like) for inputs, outputs in sizes)
        width = size if settings.attention_layers else settings.embedding_size
        self.output = nn.Linear(len(schema.fields) * width, 1)
        nn.init.normal_(self.output.weight, 0.0, math.sqrt(2 / (self.output.in_features + 1)))
        nn.init.zeros_(self.output.bias)

    def forward(self, ids_BC: Tensor, factors_BC: Tensor | None = None) -> Tensor:
        """Logits (B,)."""
        return self.interact(self.embedding(ids_BC, factors_BC))

    def interact(self, emb_BFD: Tensor) -> Tensor:
        """The logit b + w . A_L(... A_1(v)) (B,)."""
        x_BFO = emb_BFD
        for layer in self.layers:
            x_BFO = layer(x_BFO)
        logit_B1: Tensor = self.output(x_BFO.flatten(1))
        return logit_B1.squeeze(-1)

    @torch.no_grad()
    def attention_maps(self, ids_BC: Tensor, factors_BC: Tensor | None = None) -> Tensor:
        """Attention weights per layer, averaged over heads; sum to 1 over the last axis: (L, B, F, F)."""
        x_BFO, maps_BFF = self.embedding(ids_BC, factors_BC), []
        for layer in self.layers:
            assert isinstance(layer, SelfAttention)
            maps_BFF.append(layer.weights(x_BFO).mean(1))
            x_BFO = layer(x_BFO)
        return torch.stack(maps_BFF)


class AutoIntPlus(AutoInt):
    """AutoInt and an MLP over the same embeddings: AutoInt + MLP([v_1 ... v_F]).

    Reference: Song et al., AutoInt, CIKM 2019, section 5.5.
    """

    def __init__(self, architecture: Architecture, schema: Schema, settings: AutoIntSettings) -> None:
        super().__init__(architecture, schema, settings)
        self.mlp = perceptron(len(schema.fields) * settings.embedding_size, settings)

    def interact(self, emb_BFD: Tensor) -> Tensor:
        """AutoInt's logit + MLP([v_1 ... v_F]) (B,)."""
        logit_B: Tensor = super().interact(emb_BFD) + self.mlp(emb_BFD.flatten(1))
        return logit_B
