"""Models without an MLP: LR, FM, FwFM, AutoFM.

f is the function of an interaction: the inner product, unless the architecture has another (AIM's).
"""

import torch
from torch import Tensor, nn

from ctrloom.architecture import Architecture
from ctrloom.config import GatedSettings, Hyperparameters
from ctrloom.nn.embedding import FieldEmbedding, LinearTerm, NoEmbedding
from ctrloom.nn.interactions import Gates, Interactions
from ctrloom.schema import Schema


class LR(nn.Module):
    """Logistic regression: b + sum_i w_i.

    Reference: Richardson et al., Predicting clicks, WWW 2007.
    """

    def __init__(self, architecture: Architecture, schema: Schema, settings: Hyperparameters) -> None:
        super().__init__()
        self.linear = LinearTerm(schema, settings.embedding_std)
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, ids_BC: Tensor, factors_BC: Tensor | None = None) -> Tensor:
        """Logits (B,)."""
        return self.bias + self.linear(ids_BC, factors_BC)


class EmbeddingModel(LR):
    """LR plus a function of embeddings."""

    def __init__(self, architecture: Architecture, schema: Schema, settings: Hyperparameters) -> None:
        super().__init__(architecture, schema, settings)
        self.embedding: nn.Module = NoEmbedding(len(schema.fields))
        if self.embeds(architecture):
            self.embedding = FieldEmbedding(schema, settings.embedding_size, settings.embedding_std)

    def embeds(self, architecture: Architecture) -> bool:
        """Whether the model has embeddings that it does not only use for functions of interactions."""
        return True

    def forward(self, ids_BC: Tensor, factors_BC: Tensor | None = None) -> Tensor:
        """Logits (B,)."""
        emb_BFD = self.embedding(ids_BC, factors_BC)
        return super().forward(ids_BC, factors_BC) + self.interact(emb_BFD, ids_BC, factors_BC)

    def interact(self, emb_BFD: Tensor, ids_BC: Tensor, factors_BC: Tensor | None) -> Tensor:
        """The embeddings' part of the logit (B,)."""
        raise NotImplementedError


class InteractionModel(EmbeddingModel):
    """LR plus a function of the values of interactions."""

    deep = False  # whether embeddings are also the input of an MLP

    def __init__(self, architecture: Architecture, schema: Schema, settings: Hyperparameters) -> None:
        super().__init__(architecture, schema, settings)
        self.interactions = Interactions(
            architecture, schema, settings.embedding_size, settings.embedding_std
        )

    def embeds(self, architecture: Architecture) -> bool:
        """Not if the interactions have tables of their own, unless there is an MLP."""
        return self.deep or not architecture.has_functions


class FM(InteractionModel):
    """Factorization machine: b + sum_i w_i + sum_ij f(v_i, v_j), over the interactions of the architecture.

    Reference: Rendle, Factorization machines, ICDM 2010.
    """

    def interact(self, emb_BFD: Tensor, ids_BC: Tensor, factors_BC: Tensor | None) -> Tensor:
        """sum_ij f(v_i, v_j) (B,)."""
        return self.interactions.total(emb_BFD, ids_BC, factors_BC)


class FwFM(InteractionModel):
    """Field-weighted FM: b + sum_i w_i + sum_ij r_ij f(v_i, v_j).

    Reference: Pan et al., Field-weighted factorization machines, WWW 2018.
    """

    def __init__(self, architecture: Architecture, schema: Schema, settings: Hyperparameters) -> None:
        super().__init__(architecture, schema, settings)
        weights = {group: torch.full((len(its),), 0.7) for group, its in architecture.groups.items()}
        self.field_weights = nn.ParameterDict(weights)

    def interact(self, emb_BFD: Tensor, ids_BC: Tensor, factors_BC: Tensor | None) -> Tensor:
        """sum_ij r_ij f(v_i, v_j) (B,)."""
        x = self.interactions(emb_BFD, ids_BC, factors_BC)
        zero_B = emb_BFD.new_zeros(emb_BFD.shape[0])
        return sum((x_BP @ self.field_weights[group] for group, x_BP in x.items()), zero_B)


class AutoFM(InteractionModel):
    """FM with a gate per batch-normalised interaction: b + sum_i w_i + sum_ij a_ij BN(f(v_i, v_j)) + ...

    Without `interaction_norm` it has no BN; FM is the same without gates, too. Searches rely on its parts:
    `linear`, `bias`, and `gates`, a `Gates` per group of the architecture ("2").

    Reference: Liu et al., AutoFIS, KDD 2020, section 3.2.
    """

    def __init__(self, architecture: Architecture, schema: Schema, settings: GatedSettings) -> None:
        super().__init__(architecture, schema, settings)
        sizes = {group: len(its) for group, its in architecture.groups.items()}
        self.gates = nn.ModuleDict(
            {group: Gates(size, norm=settings.interaction_norm) for group, size in sizes.items()}
        )

    def interact(self, emb_BFD: Tensor, ids_BC: Tensor, factors_BC: Tensor | None) -> Tensor:
        """sum_ij a_ij BN(f(v_i, v_j)) + sum_ijk a_ijk BN(f(v_i, v_j, v_k)) (B,)."""
        x = self.interactions(emb_BFD, ids_BC, factors_BC)
        zero_B = emb_BFD.new_zeros(emb_BFD.shape[0])
        return sum((self.gates[group](x_BP) for group, x_BP in x.items()), zero_B)
