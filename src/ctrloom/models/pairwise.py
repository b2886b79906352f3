"""Models of selected pairs of fields with a linear part: FFM, FmFM, AFM, NFM."""

from torch import Tensor, nn

from ctrloom.architecture import Architecture
from ctrloom.config import AFMSettings, Hyperparameters
from ctrloom.models.shallow import LR, EmbeddingModel
from ctrloom.nn.mlp import BiasedNorm, Dropout, linear, perceptron
from ctrloom.nn.pairs import AttentivePooling, BiInteraction, FieldAwareProducts, KernelProducts
from ctrloom.schema import Schema


class FFM(LR):
    """Field-aware FM: b + sum_i w_i + sum_ij <v_i for j, v_j for i>.

    Reference: Juan et al., Field-aware factorization machines, RecSys 2016.
    """

    def __init__(self, architecture: Architecture, schema: Schema, settings: Hyperparameters) -> None:
        super().__init__(architecture, schema, settings)
        pairs = architecture.indices(schema, 2)
        self.products = FieldAwareProducts(pairs, schema, settings.embedding_size, settings.embedding_std)

    def forward(self, ids_BC: Tensor, factors_BC: Tensor | None = None) -> Tensor:
        """Logits (B,)."""
        return super().forward(ids_BC, factors_BC) + self.products(ids_BC, factors_BC).sum(1)


class FmFM(EmbeddingModel):
    """Field-matrixed FM: b + sum_i w_i + sum_ij v_i^T W_ij v_j.

    Reference: Sun et al., FM2: Field-matrixed factorization machines, WWW 2021.
    """

    def __init__(self, architecture: Architecture, schema: Schema, settings: Hyperparameters) -> None:
        super().__init__(architecture, schema, settings)
        pairs = architecture.indices(schema, 2)
        self.products = KernelProducts(pairs, len(schema.fields), settings.embedding_size)

    def interact(self, emb_BFD: Tensor, ids_BC: Tensor, factors_BC: Tensor | None) -> Tensor:
        """sum_ij v_i^T W_ij v_j (B,)."""
        return self.products.total(emb_BFD)


class AFM(EmbeddingModel):
    """Attentional FM: b + sum_i w_i + p^T sum_ij a_ij v_i * v_j, with a the softmax of attention scores.

    Reference: Xiao et al., Attentional factorization machines, IJCAI 2017.
    """

    def __init__(self, architecture: Architecture, schema: Schema, settings: AFMSettings) -> None:
        super().__init__(architecture, schema, settings)
        pairs = architecture.indices(schema, 2)
        self.pooling = AttentivePooling(pairs, settings.embedding_size, settings.attention_size)
        self.dropout = Dropout(settings.dropout)
        self.out = linear(settings.embedding_size, 1, bias=False)

    def interact(self, emb_BFD: Tensor, ids_BC: Tensor, factors_BC: Tensor | None) -> Tensor:
        """p^T sum_ij a_ij v_i * v_j (B,)."""
        logit_B1: Tensor = self.out(self.dropout(self.pooling(emb_BFD)))
        return logit_B1.squeeze(-1)


class NFM(EmbeddingModel):
    """Neural FM: b + sum_i w_i + MLP(sum_ij v_i * v_j).

    Dropout and batch norm, if enabled, are also applied to the pooled pairs (section 3.3).
    Reference: He and Chua, Neural factorization machines, SIGIR 2017.
    """

    def __init__(self, architecture: Architecture, schema: Schema, settings: Hyperparameters) -> None:
        super().__init__(architecture, schema, settings)
        self.pooling = BiInteraction(architecture.indices(schema, 2), len(schema.fields))
        norm = [BiasedNorm(settings.embedding_size)] if settings.batch_norm else []
        self.regularised = nn.Sequential(*norm, Dropout(settings.dropout))
        self.mlp = perceptron(settings.embedding_size, settings)

    def interact(self, emb_BFD: Tensor, ids_BC: Tensor, factors_BC: Tensor | None) -> Tensor:
        """MLP(sum_ij v_i * v_j) (B,)."""
        logit_B: Tensor = self.mlp(self.regularised(self.pooling(emb_BFD)))
        return logit_B
