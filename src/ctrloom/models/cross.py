"""Cross-network models: CrossNet, DCN, DCN-V2, GDCN, CIN, xDeepFM."""

import torch
from torch import Tensor, nn

from ctrloom.architecture import Architecture
from ctrloom.config import CINSettings, CrossSettings, GDCNSettings, LowRankCrossSettings
from ctrloom.models.deep import WideDeep
from ctrloom.nn.cross_network import CompressedInteractions, GatedCross, MatrixCross, VectorCross
from ctrloom.nn.embedding import FieldEmbedding
from ctrloom.nn.mlp import linear, perceptron
from ctrloom.schema import Schema


class CrossModel(nn.Module):
    """Base class: w^T cross(x) with x = [v_1 ... v_F], plus what `rest` returns for x."""

    def __init__(self, architecture: Architecture, schema: Schema, settings: CrossSettings) -> None:
        super().__init__()
        self.inputs = len(schema.fields) * settings.embedding_size
        self.embedding = FieldEmbedding(schema, settings.embedding_size, settings.embedding_std)
        self.cross = self.network(self.inputs, settings)
        self.out = linear(self.inputs, 1, bias=False)

    def network(self, inputs: int, settings: CrossSettings) -> nn.Module:
        """The cross network (B, inputs) -> (B, inputs)."""
        return VectorCross(inputs, settings.cross_layers)

    def forward(self, ids_BC: Tensor, factors_BC: Tensor | None = None) -> Tensor:
        """Logits (B,)."""
        x_BN = self.embedding(ids_BC, factors_BC).flatten(1)
        logit_B: Tensor = self.out(self.cross(x_BN)).squeeze(-1) + self.rest(x_BN)
        return logit_B

    def rest(self, x_BN: Tensor) -> Tensor:
        """What is added to the cross network's logit."""
        raise NotImplementedError


class CrossNet(CrossModel):
    """The cross network on its own: w^T cross(x) + b with x = [v_1 ... v_F].

    A layer of the cross network is x' = x_0 (x^T w) + b + x.
    Reference: Wang et al., Deep & cross network, ADKDD 2017.
    """

    def __init__(self, architecture: Architecture, schema: Schema, settings: CrossSettings) -> None:
        super().__init__(architecture, schema, settings)
        self.bias = nn.Parameter(torch.zeros(()))

    def rest(self, x_BN: Tensor) -> Tensor:
        """The bias."""
        return self.bias


class DCN(CrossModel):
    """Cross network and MLP in parallel: w^T cross(x) + MLP(x) with x = [v_1 ... v_F].

    Reference: Wang et al., Deep & cross network, ADKDD 2017.
    """

    def __init__(self, architecture: Architecture, schema: Schema, settings: CrossSettings) -> None:
        super().__init__(architecture, schema, settings)
        self.mlp = perceptron(self.inputs, settings)

    def rest(self, x_BN: Tensor) -> Tensor:
        """MLP(x)."""
        logit_B: Tensor = self.mlp(x_BN)
        return logit_B


class DCNv2(DCN):
    """DCN with a matrix in each layer of the cross network, x' = x_0 * (W x + b) + x; parallel structure.

    Reference: Wang et al., DCN V2, WWW 2021.
    """

    def network(self, inputs: int, settings: CrossSettings) -> nn.Module:
        """The cross network (B, inputs) -> (B, inputs)."""
        assert isinstance(settings, LowRankCrossSettings)
        return MatrixCross(inputs, settings.cross_layers, settings.low_rank)


class CIN(nn.Module):
    """The compressed interaction network on its own: w^T CIN(v_1 ... v_F) + b.

    Reference: Lian et al., xDeepFM, KDD 2018, Eq. 6 to 8.
    """

    def __init__(self, architecture: Architecture, schema: Schema, settings: CINSettings) -> None:
        super().__init__()
        self.embedding = FieldEmbedding(schema, settings.embedding_size, settings.embedding_std)
        self.cin = CompressedInteractions(len(schema.fields), settings.cin_layers)
        self.out = linear(sum(settings.cin_layers), 1)

    def forward(self, ids_BC: Tensor, factors_BC: Tensor | None = None) -> Tensor:
        """Logits (B,)."""
        logit_B1: Tensor = self.out(self.cin(self.embedding(ids_BC, factors_BC)))
        return logit_B1.squeeze(-1)


class GDCN(nn.Module):
    """Gated cross network, x' = x_0 * (W x + b) * sigmoid(V x) + x in each layer, with x_0 = [v_1 ... v_F].

    Stacked: MLP(cross(x_0)); parallel: w^T cross(x_0) + MLP(x_0).
    Reference: Wang et al., Towards deeper, lighter and interpretable cross network, CIKM 2023.
    """

    def __init__(self, architecture: Architecture, schema: Schema, settings: GDCNSettings) -> None:
        super().__init__()
        inputs = len(schema.fields) * settings.embedding_size
        self.embedding = FieldEmbedding(schema, settings.embedding_size, settings.embedding_std)
        self.cross = GatedCross(inputs, settings.cross_layers)
        self.mlp = perceptron(inputs, settings)
        self.out = linear(inputs, 1, bias=False) if settings.structure == "parallel" else None

    def forward(self, ids_BC: Tensor, factors_BC: Tensor | None = None) -> Tensor:
        """Logits (B,)."""
        x_BN = self.embedding(ids_BC, factors_BC).flatten(1)
        crossed_BN = self.cross(x_BN)
        if self.out is None:
            stacked_B: Tensor = self.mlp(crossed_BN)
            return stacked_B
        parallel_B: Tensor = self.out(crossed_BN).squeeze(-1) + self.mlp(x_BN)
        return parallel_B


class XDeepFM(WideDeep):
    """Wide & Deep with compressed interactions: b + sum_i w_i + MLP([v_1 ... v_F]) + w^T CIN(v_1 ... v_F).

    Reference: Lian et al., xDeepFM, KDD 2018.
    """

    def __init__(self, architecture: Architecture, schema: Schema, settings: CINSettings) -> None:
        super().__init__(architecture, schema, settings)
        self.cin = CompressedInteractions(len(schema.fields), settings.cin_layers)
        self.out = linear(sum(settings.cin_layers), 1, bias=False)

    def interact(self, emb_BFD: Tensor, ids_BC: Tensor, factors_BC: Tensor | None) -> Tensor:
        """MLP([v_1 ... v_F]) + w^T CIN(v_1 ... v_F) (B,)."""
        compressed_B: Tensor = self.out(self.cin(emb_BFD)).squeeze(-1)
        return super().interact(emb_BFD, ids_BC, factors_BC) + compressed_B
