"""AutoPI: an interaction cell and an ensemble cell of operators over two embeddings.

B batch, C columns of the id matrix, F fields, D embedding size, N intermediate nodes of a cell.
"""

import torch
from torch import Tensor, nn

from ctrloom.architecture import Architecture
from ctrloom.config import AutoPISettings
from ctrloom.config.base import ConfigError
from ctrloom.nn.cells import Cell, MixedCell
from ctrloom.nn.embedding import FieldEmbedding, drop_embeddings
from ctrloom.nn.operators import Shape
from ctrloom.schema import Schema

INTERACTION_INPUTS, ENSEMBLE_INPUTS = 1, 2


class TwoCells(nn.Module):
    """Base class of the search network and of the derived model.

    w . [E_1(h, low) ... E_N(h, low)] + b with h = conv([I_1(high) ... I_N(high)]), where I and E are nodes of
    the interaction and the ensemble cell, high and low the two embeddings (AutoPI, Definition 1 and Eq. 2).
    """

    def __init__(
        self,
        interaction: Cell | MixedCell,
        ensemble: Cell | MixedCell,
        schema: Schema,
        settings: AutoPISettings,
    ) -> None:
        super().__init__()
        fields, size, nodes = len(schema.fields), settings.embedding_size, len(interaction.nodes)
        self.high = FieldEmbedding(schema, size, settings.embedding_std)
        self.low = FieldEmbedding(schema, size, settings.embedding_std)
        self.interaction, self.ensemble = interaction, ensemble
        self.combine = nn.Conv1d(nodes * fields, fields, 1)
        self.out = nn.Linear(nodes * fields * size, 1)
        drop_embeddings(self, settings.embedding_dropout)

    def forward(self, ids_BC: Tensor, factors_BC: Tensor | None = None) -> Tensor:
        """Logits (B,)."""
        high_BFD, low_BFD = self.high(ids_BC, factors_BC), self.low(ids_BC, factors_BC)
        combined_BFD = self.combine(torch.cat(self.interaction([high_BFD]), 1))
        nodes_BNFD = torch.stack(self.ensemble([combined_BFD, low_BFD]), 1)
        logit_B1: Tensor = self.out(nodes_BNFD.flatten(1))
        return logit_B1.squeeze(-1)


class AutoPI(TwoCells):
    """The derived graph of operators, trained from scratch.

    Reference: Meng et al., A general method for automatic discovery of powerful interactions in
    click-through rate prediction, SIGIR 2021.
    """

    def __init__(self, architecture: Architecture, schema: Schema, settings: AutoPISettings) -> None:
        cells, shape = architecture.cells, shape_of(schema, settings)
        if cells is None:
            raise ConfigError(
                "autopi requires an architecture with cells, found by search.method: autopi; "
                f"this one was found by {architecture.method} and has none"
            )
        normalized = settings.normalized if settings.operator_norm else None
        interaction, ensemble = (
            Cell(inputs, cells.nodes, edges, shape, normalized, settings.dropout)
            for inputs, edges in ((INTERACTION_INPUTS, cells.interaction), (ENSEMBLE_INPUTS, cells.ensemble))
        )
        super().__init__(interaction, ensemble, schema, settings)


def shape_of(schema: Schema, settings: AutoPISettings) -> Shape:
    """The shape of every node."""
    return Shape(
        len(schema.fields), settings.embedding_size, settings.attention_heads, settings.senet_reduction
    )
