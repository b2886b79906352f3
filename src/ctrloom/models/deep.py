"""Models with an MLP: FNN, Wide & Deep, DeepFM, AutoDeepFM, Deep Crossing."""

from torch import Tensor, nn

from ctrloom.architecture import Architecture
from ctrloom.config import GatedSettings, Hyperparameters
from ctrloom.models.shallow import FM, AutoFM, EmbeddingModel
from ctrloom.nn.embedding import FieldEmbedding
from ctrloom.nn.mlp import hidden_layers, linear, perceptron, regularization
from ctrloom.schema import Schema


class FNN(nn.Module):
    """MLP over the concatenated embeddings: MLP([v_1 ... v_F]).

    Reference: Zhang, Du and Wang, Deep learning over multi-field categorical data, ECIR 2016.
    """

    def __init__(self, architecture: Architecture, schema: Schema, settings: Hyperparameters) -> None:
        super().__init__()
        self.embedding = FieldEmbedding(schema, settings.embedding_size, settings.embedding_std)
        self.mlp = perceptron(len(schema.fields) * settings.embedding_size, settings)

    def forward(self, ids_BC: Tensor, factors_BC: Tensor | None = None) -> Tensor:
        """Logits (B,)."""
        logit_B: Tensor = self.mlp(self.embedding(ids_BC, factors_BC).flatten(1))
        return logit_B


class WideDeep(EmbeddingModel):
    """Linear part and MLP: b + sum_i w_i + MLP([v_1 ... v_F]).

    Cross-product features must be fields of the data.
    Reference: Cheng et al., Wide & deep learning, DLRS 2016.
    """

    def __init__(self, architecture: Architecture, schema: Schema, settings: Hyperparameters) -> None:
        super().__init__(architecture, schema, settings)
        self.mlp = perceptron(len(schema.fields) * settings.embedding_size, settings)

    def interact(self, emb_BFD: Tensor, ids_BC: Tensor, factors_BC: Tensor | None) -> Tensor:
        """MLP([v_1 ... v_F]) (B,)."""
        logit_B: Tensor = self.mlp(emb_BFD.flatten(1))
        return logit_B


class DeepCrossing(nn.Module):
    """Residual units over the embeddings: w^T x + b with x = unit(... unit([v_1 ... v_F])).

    A unit is ReLU(x + W' ReLU(W x + b) + b'); there is one per entry of `hidden`, the width of W x.
    Reference: Shan et al., Deep Crossing, KDD 2016.
    """

    def __init__(self, architecture: Architecture, schema: Schema, settings: Hyperparameters) -> None:
        super().__init__()
        inputs = len(schema.fields) * settings.embedding_size
        self.embedding = FieldEmbedding(schema, settings.embedding_size, settings.embedding_std)
        self.units = nn.ModuleList(
            hidden_layers(inputs, (width,), *regularization(settings)).append(linear(width, inputs))
            for width in settings.hidden
        )
        self.out = linear(inputs, 1)

    def forward(self, ids_BC: Tensor, factors_BC: Tensor | None = None) -> Tensor:
        """Logits (B,)."""
        x_BH = self.embedding(ids_BC, factors_BC).flatten(1)
        for unit in self.units:
            x_BH = (x_BH + unit(x_BH)).relu()
        logit_B1: Tensor = self.out(x_BH)
        return logit_B1.squeeze(-1)


class DeepFM(FM):
    """FM and an MLP over the same embeddings: FM + MLP([v_1 ... v_F]).

    Reference: Guo et al., DeepFM, IJCAI 2017.
    """

    deep = True

    def __init__(self, architecture: Architecture, schema: Schema, settings: Hyperparameters) -> None:
        super().__init__(architecture, schema, settings)
        self.mlp = perceptron(len(schema.fields) * settings.embedding_size, settings)

    def interact(self, emb_BFD: Tensor, ids_BC: Tensor, factors_BC: Tensor | None) -> Tensor:
        """FM's interactions + MLP([v_1 ... v_F]) (B,)."""
        return super().interact(emb_BFD, ids_BC, factors_BC) + self.mlp(emb_BFD.flatten(1))


class AutoDeepFM(AutoFM):
    """AutoFM and an MLP over the same embeddings: AutoFM + MLP([v_1 ... v_F]).

    Reference: Liu et al., AutoFIS, KDD 2020, section 3.2.
    """

    deep = True

    def __init__(self, architecture: Architecture, schema: Schema, settings: GatedSettings) -> None:
        super().__init__(architecture, schema, settings)
        self.mlp = perceptron(len(schema.fields) * settings.embedding_size, settings)

    def interact(self, emb_BFD: Tensor, ids_BC: Tensor, factors_BC: Tensor | None) -> Tensor:
        """AutoFM's interactions + MLP([v_1 ... v_F]) (B,)."""
        return super().interact(emb_BFD, ids_BC, factors_BC) + self.mlp(emb_BFD.flatten(1))
