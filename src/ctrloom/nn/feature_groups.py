"""Learned groups of fields, and the interactions of the fields in each.

B batch, F fields, D embedding size, G groups.
"""

import torch
from torch import Tensor, nn

from ctrloom.nn.norm import BatchNorm


class FeatureGroups(nn.Module):
    """Interactions of one order in G groups of fields: emb_BFD -> (B, G), of order 1 (B, D G).

    g = sum_i s_i w_i e_i over the fields of a group, with s_i 0 or 1 and e_i batch-normalised. An interaction
    is sum_d (g_d^order - c sum_i s_i (w_i e_id)^order); of order 1 it is g - c g. s_i is 1 if its structure
    parameter is positive. Its gradient is that of sigmoid(parameter / temperature); when it is sampled, the
    parameter has logistic noise, which is the difference of two Gumbel variables.

    Args:
        fields: F.
        size: D.
        groups: G.
        order: of the interactions.
        temperature: of the Gumbel softmax.
        compensation: c, how much of the products of a field with itself is subtracted.
        learning_rate: of the structure parameters.

    Reference: Liu et al., AutoGroup, SIGIR 2020, and Huawei's vega, where the second sum is over all fields.
    """

    def __init__(
        self,
        fields: int,
        size: int,
        groups: int,
        order: int,
        temperature: float,
        compensation: float,
        learning_rate: float,
    ) -> None:
        super().__init__()
        self.order, self.temperature, self.compensation = order, temperature, compensation
        self.learning_rate = learning_rate
        self.structure_FG = nn.Parameter(torch.empty(fields, groups).uniform_(-1e-3, 1e-3))
        self.weight_FG = nn.Parameter(nn.init.xavier_uniform_(torch.empty(fields, groups)))
        self.norm = BatchNorm(fields * size, affine=False)

    def forward(self, emb_BFD: Tensor, sampled: bool = False) -> Tensor:
        """The interactions of each group."""
        normed_BDF = self.norm(emb_BFD.flatten(1)).view_as(emb_BFD).mT
        member_FG = self._members(sampled)
        own_BDG = normed_BDF.pow(self.order) @ (member_FG * self.weight_FG.pow(self.order))
        whole_BDG = (normed_BDF @ (member_FG * self.weight_FG)).pow(self.order)
        interaction_BDG = whole_BDG - self.compensation * own_BDG
        return interaction_BDG.flatten(1) if self.order == 1 else interaction_BDG.sum(1)

    def _members(self, sampled: bool) -> Tensor:
        """1 for the fields of each group, else 0; differentiable."""
        logit_FG: Tensor = self.structure_FG
        if sampled:
            uniform_FG = torch.rand_like(logit_FG).clamp(1e-6, 1 - 1e-6)
            logit_FG = logit_FG + torch.logit(uniform_FG)
        soft_FG = torch.sigmoid(logit_FG / self.temperature)
        return (logit_FG > 0).to(soft_FG.dtype) + soft_FG - soft_FG.detach()
