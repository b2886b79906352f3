"""AutoGroup: an MLP over the interactions of learned groups of fields."""

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ctrloom.architecture import Architecture
from ctrloom.config import AutoGroupSettings
from ctrloom.nn.embedding import FieldEmbedding, LinearTerm
from ctrloom.nn.feature_groups import FeatureGroups
from ctrloom.nn.mlp import perceptron
from ctrloom.nn.own_loss import Mean, cross_entropy
from ctrloom.schema import Schema


class AutoGroup(nn.Module):
    """linear + MLP([interactions of order 1 ..., of order 2 ..., ...]), each order with a table and groups.

    Which fields are in a group is learned with all else in one training: of each batch, weights follow the
    gradient of the loss with the groups as they are, and structure parameters that of the loss with sampled
    groups. The authors take both steps in turn, here they are one.
    Reference: Liu et al., AutoGroup, SIGIR 2020.
    """

    def __init__(self, architecture: Architecture, schema: Schema, settings: AutoGroupSettings) -> None:
        super().__init__()
        fields, std = len(schema.fields), settings.embedding_std
        sizes = (settings.embedding_size, *settings.order_sizes)
        shared = settings.temperature, settings.compensation, settings.structure_learning_rate
        self.linear, self.bias = LinearTerm(schema, std), nn.Parameter(torch.zeros(()))
        self.embeddings = nn.ModuleList(FieldEmbedding(schema, size, std) for size in sizes)
        self.groups = nn.ModuleList(
            FeatureGroups(fields, size, count, order, *shared)
            for order, (size, count) in enumerate(zip(sizes, settings.groups, strict=True), 1)
        )
        self.mlp = perceptron(sizes[0] * settings.groups[0] + sum(settings.groups[1:]), settings)

    def forward(self, ids_BC: Tensor, factors_BC: Tensor | None = None, sampled: bool = False) -> Tensor:
        """Logits (B,); `sampled` draws the groups."""
        grouped = [
            groups(embedding(ids_BC, factors_BC), sampled)
            for embedding, groups in zip(self.embeddings, self.groups, strict=True)
        ]
        logit_B: Tensor = self.bias + self.linear(ids_BC, factors_BC) + self.mlp(torch.cat(grouped, 1))
        return logit_B

    def own_loss(
        self, ids_BC: Tensor, factors_BC: Tensor | None, label_B: Tensor, mean: Mean
    ) -> tuple[Tensor, Tensor]:
        """The sum of the losses of weights and of structure parameters, and the logits (B,)."""
        structure = {name for name, _ in self.named_parameters() if name.endswith("structure_FG")}
        fixed = {name: p.detach() if name in structure else p for name, p in self.named_parameters()}
        free = {name: p if name in structure else p.detach() for name, p in self.named_parameters()}
        logit_B: Tensor = functional_call(self, fixed, (ids_BC, factors_BC))
        sampled_B: Tensor = functional_call(self, free, (ids_BC, factors_BC, True))
        return mean(cross_entropy(logit_B, label_B)) + mean(cross_entropy(sampled_B, label_B)), logit_B
