"""A complete graph of the fields, whose nodes exchange messages.

B batch, F fields (nodes), D size of a node's state.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from ctrloom.nn.mlp import linear


class AttentionalEdges(nn.Module):
    """Weight of the edge from j to i, softmax_j LeakyReLU(w [v_i, v_j]) with j != i: x_BFD -> (B, F, F).

    Reference: Li et al., Fi-GNN, CIKM 2019.
    """

    itself_FF: Tensor

    def __init__(self, fields: int, size: int) -> None:
        super().__init__()
        # w [v_i, v_j] = w' v_i + w'' v_j
        self.target, self.source = linear(size, 1, bias=False), linear(size, 1, bias=False)
        self.register_buffer("itself_FF", torch.eye(fields, dtype=torch.bool), persistent=False)

    def forward(self, x_BFD: Tensor) -> Tensor:
        """Edge weights; those into a node sum to 1."""
        score_BFF = leaky_relu(self.target(x_BFD) + self.source(x_BFD).mT)
        return torch.softmax(score_BFF.masked_fill(self.itself_FF, -torch.inf), 2)


class Exchange(nn.Module):
    """One step: h'_i = GRU(W'_i sum_j e_ij W_j h_j + b, h_i) + v_i, matrices per field: h_BFD -> (B, F, D).

    Reference: Li et al., Fi-GNN, CIKM 2019; matrices per step, as in the authors' code.
    """

    def __init__(self, fields: int, size: int) -> None:
        super().__init__()
        self.out_FDD, self.into_FDD = (_matrices(fields, size) for _ in range(2))
        self.bias_D = nn.Parameter(torch.zeros(size))
        self.update = nn.GRUCell(size, size)

    def forward(self, h_BFD: Tensor, edge_BFF: Tensor, first_BFD: Tensor) -> Tensor:
        """The next states."""
        message_BFD = edge_BFF @ _per_field(self.out_FDD, h_BFD)
        received_BFD = _per_field(self.into_FDD, message_BFD) + self.bias_D
        updated = self.update(received_BFD.flatten(0, 1), h_BFD.flatten(0, 1))
        return updated.view_as(h_BFD) + first_BFD


def _matrices(fields: int, size: int) -> nn.Parameter:
    weight_FDD = torch.empty(fields, size, size)
    for weight_DD in weight_FDD:
        nn.init.xavier_uniform_(weight_DD)
    return nn.Parameter(weight_FDD)


def _per_field(weight_FDD: Tensor, x_BFD: Tensor) -> Tensor:
    """W_f x_f of each field."""
    return torch.bmm(x_BFD.transpose(0, 1), weight_FDD.mT).transpose(0, 1)
