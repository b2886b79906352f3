"""Fi-GNN: a graph network over the fields."""

from torch import Tensor, nn

from ctrloom.architecture import Architecture
from ctrloom.config import FiGNNSettings
from ctrloom.nn.attention import SelfAttention
from ctrloom.nn.embedding import FieldEmbedding
from ctrloom.nn.feature_graph import AttentionalEdges, Exchange
from ctrloom.nn.mlp import linear
from ctrloom.schema import Schema


class FiGNN(nn.Module):
    """sum_i a_i w^T h_i with a = sigmoid(W [h_1 ... h_F]), h from self-attention of v by steps on a graph.

    A step passes states along all edges, whose weights are attention between the embeddings after
    self-attention, and updates each state by a GRU with a residual connection to its first one.
    Reference: Li et al., Fi-GNN, CIKM 2019; attention layer of the authors' code, scoring as in FuxiCTR.
    """

    def __init__(self, architecture: Architecture, schema: Schema, settings: FiGNNSettings) -> None:
        super().__init__()
        fields, size = len(schema.fields), settings.embedding_size
        self.embedding = FieldEmbedding(schema, size, settings.embedding_std)
        self.attention = SelfAttention(size, size, settings.heads, dropout=settings.dropout)
        self.edges = AttentionalEdges(fields, size)
        self.steps = nn.ModuleList(Exchange(fields, size) for _ in range(settings.steps))
        self.score, self.share = linear(size, 1, bias=False), linear(fields * size, fields, bias=False)

    def forward(self, ids_BC: Tensor, factors_BC: Tensor | None = None) -> Tensor:
        """Logits (B,)."""
        first_BFD = h_BFD = self.attention(self.embedding(ids_BC, factors_BC))
        edge_BFF = self.edges(first_BFD)
        for step in self.steps:
            h_BFD = step(h_BFD, edge_BFF, first_BFD)
        share_BF = self.share(h_BFD.flatten(1)).sigmoid()
        logit_B: Tensor = (share_BF * self.score(h_BFD).squeeze(-1)).sum(1)
        return logit_B
