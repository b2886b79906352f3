"""Product-based networks, which feed products of embeddings to an MLP: IPNN, OPNN, PIN.

Qu et al., Product-based neural networks, ICDM 2016 and TOIS 2018.
"""

from torch import Tensor, nn

from ctrloom.architecture import Architecture
from ctrloom.config import Hyperparameters, PINSettings
from ctrloom.nn.embedding import FieldEmbedding
from ctrloom.nn.interactions import Interactions
from ctrloom.nn.mlp import perceptron
from ctrloom.nn.pairs import KernelProducts, PairNetworks
from ctrloom.nn.precision import mlp_input
from ctrloom.schema import Schema


class IPNN(nn.Module):
    """MLP over embeddings and inner products: MLP([v_1 ... v_F, <v_i, v_j> ...]).

    If the architecture has functions, their values are in place of inner products.

    Reference: Qu et al., Product-based neural networks, ICDM 2016.
    """

    def __init__(self, architecture: Architecture, schema: Schema, settings: Hyperparameters) -> None:
        super().__init__()
        self.embedding = FieldEmbedding(schema, settings.embedding_size, settings.embedding_std)
        self.interactions = Interactions(
            architecture, schema, settings.embedding_size, settings.embedding_std
        )
        inputs = len(schema.fields) * settings.embedding_size + self.interactions.count
        self.mlp = perceptron(inputs, settings)

    def forward(self, ids_BC: Tensor, factors_BC: Tensor | None = None) -> Tensor:
        """Logits (B,)."""
        emb_BFD = self.embedding(ids_BC, factors_BC)
        x = self.interactions(emb_BFD, ids_BC, factors_BC)
        logit_B: Tensor = self.mlp(mlp_input([emb_BFD, *x.values()]))
        return logit_B


class OPNN(nn.Module):
    """MLP over embeddings and kernel products: MLP([v_1 ... v_F, v_i^T W_ij v_j ...]).

    This is the variant with a kernel per pair (KPNN of TOIS 2018), not the one with outer products of summed
    embeddings (ICDM 2016).
    """

    def __init__(self, architecture: Architecture, schema: Schema, settings: Hyperparameters) -> None:
        super().__init__()
        pairs = architecture.indices(schema, 2)
        self.embedding = FieldEmbedding(schema, settings.embedding_size, settings.embedding_std)
        self.products = KernelProducts(pairs, len(schema.fields), settings.embedding_size)
        self.mlp = perceptron(len(schema.fields) * settings.embedding_size + len(pairs), settings)

    def forward(self, ids_BC: Tensor, factors_BC: Tensor | None = None) -> Tensor:
        """Logits (B,)."""
        emb_BFD = self.embedding(ids_BC, factors_BC)
        logit_B: Tensor = self.mlp(mlp_input([emb_BFD, self.products(emb_BFD)]))
        return logit_B


class PIN(nn.Module):
    """MLP over embeddings and small networks: MLP([v_1 ... v_F, net_ij([v_i, v_j, v_i * v_j]) ...]).

    Reference: TOIS 2018. Unlike there, the embeddings are inputs of the MLP, as in IPNN and OPNN, so that
    fields without a selected pair are used.
    """

    def __init__(self, architecture: Architecture, schema: Schema, settings: PINSettings) -> None:
        super().__init__()
        pairs, size = architecture.indices(schema, 2), settings.embedding_size
        self.embedding = FieldEmbedding(schema, size, settings.embedding_std)
        self.networks = PairNetworks(pairs, size, settings.subnet_hidden)
        self.mlp = perceptron(len(schema.fields) * size + len(pairs) * settings.subnet_hidden[-1], settings)

    def forward(self, ids_BC: Tensor, factors_BC: Tensor | None = None) -> Tensor:
        """Logits (B,)."""
        emb_BFD = self.embedding(ids_BC, factors_BC)
        logit_B: Tensor = self.mlp(mlp_input([emb_BFD, self.networks(emb_BFD)]))
        return logit_B
