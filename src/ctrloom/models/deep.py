"""Models with a perceptron: FNN, DeepFM, IPNN, AutoDeepFM."""

import torch
from torch import Tensor, nn

from ctrloom.architecture import Architecture
from ctrloom.config import Hyperparameters
from ctrloom.models.shallow import FM, AutoFM
from ctrloom.nn.embedding import FieldEmbedding
from ctrloom.nn.interactions import Interactions
from ctrloom.nn.mlp import MLP
from ctrloom.schema import Schema


def _perceptron(inputs: int, hyper: Hyperparameters) -> MLP:
    return MLP(inputs, hyper.hidden, hyper.dropout, hyper.batch_norm)


class FNN(nn.Module):
    """Perceptron over the concatenated embeddings: MLP([v_1 ... v_F]).

    Reference: Zhang, Du and Wang, Deep learning over multi-field categorical data, ECIR 2016.
    """

    def __init__(self, architecture: Architecture, schema: Schema, hyper: Hyperparameters) -> None:
        super().__init__()
        self.embedding = FieldEmbedding(schema, hyper.embedding_size, hyper.embedding_std)
        self.mlp = _perceptron(len(schema.fields) * hyper.embedding_size, hyper)

    def forward(self, ids_BC: Tensor, factors_BC: Tensor | None = None) -> Tensor:
        """Logits (B,)."""
        logit_B: Tensor = self.mlp(self.embedding(ids_BC, factors_BC).flatten(1))
        return logit_B


class IPNN(nn.Module):
    """Perceptron over embeddings and inner products: MLP([v_1 ... v_F, <v_i, v_j> ...]).

    Reference: Qu et al., Product-based neural networks, ICDM 2016.
    """

    def __init__(self, architecture: Architecture, schema: Schema, hyper: Hyperparameters) -> None:
        super().__init__()
        self.embedding = FieldEmbedding(schema, hyper.embedding_size, hyper.embedding_std)
        self.interactions = Interactions(architecture, schema, hyper.embedding_size, hyper.embedding_std)
        inputs = len(schema.fields) * hyper.embedding_size + self.interactions.count
        self.mlp = _perceptron(inputs, hyper)

    def forward(self, ids_BC: Tensor, factors_BC: Tensor | None = None) -> Tensor:
        """Logits (B,)."""
        emb_BFD = self.embedding(ids_BC, factors_BC)
        x = self.interactions(emb_BFD, ids_BC, factors_BC)
        logit_B: Tensor = self.mlp(torch.cat([emb_BFD.flatten(1), *x.values()], 1))
        return logit_B


class DeepFM(FM):
    """FM and a perceptron over the same embeddings: FM + MLP([v_1 ... v_F]).

    Reference: Guo et al., DeepFM, IJCAI 2017.
    """

    def __init__(self, architecture: Architecture, schema: Schema, hyper: Hyperparameters) -> None:
        super().__init__(architecture, schema, hyper)
        self.mlp = _perceptron(len(schema.fields) * hyper.embedding_size, hyper)

    def interact(self, emb_BFD: Tensor, ids_BC: Tensor, factors_BC: Tensor | None) -> Tensor:
        """FM's interactions + MLP([v_1 ... v_F]) (B,)."""
        return super().interact(emb_BFD, ids_BC, factors_BC) + self.mlp(emb_BFD.flatten(1))


class AutoDeepFM(AutoFM):
    """AutoFM and a perceptron over the same embeddings: AutoFM + MLP([v_1 ... v_F]).

    Reference: Liu et al., AutoFIS, KDD 2020, Eq. 12.
    """

    def __init__(self, architecture: Architecture, schema: Schema, hyper: Hyperparameters) -> None:
        super().__init__(architecture, schema, hyper)
        self.mlp = _perceptron(len(schema.fields) * hyper.embedding_size, hyper)

    def interact(self, emb_BFD: Tensor, ids_BC: Tensor, factors_BC: Tensor | None) -> Tensor:
        """AutoFM's interactions + MLP([v_1 ... v_F]) (B,)."""
        return super().interact(emb_BFD, ids_BC, factors_BC) + self.mlp(emb_BFD.flatten(1))
