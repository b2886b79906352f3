"""The hyper-parameters of newer peers: FinalNet, GDCN, MaskNet, DCNv3, Fi-GNN and AutoGroup."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ctrloom.config.models.settings import CrossSettings, Hyperparameters, SomeWidths, Widths
from ctrloom.config.types import Few, Fraction, Positive

Groups = Annotated[tuple[Few, ...], Field(min_length=1, max_length=5)]


class FinalNetSettings(Hyperparameters):
    """FinalNet: `hidden` are the widths of the first block; two blocks teach each other."""

    hidden: SomeWidths = (200, 200)
    batch_norm: bool = True
    second_hidden: Widths = ()  # of the second block; empty: one block
    second_dropout: Fraction | None = None  # None: dropout
    field_gates: bool = False  # on the embeddings of the first block

    @model_validator(mode="after")
    def _halves(self) -> Self:
        for key, widths in (("hidden", self.hidden), ("second_hidden", self.second_hidden)):
            if odd := [width for width in widths if width % 2]:
                raise ValueError(f"{key}: {odd[0]} is odd; half of a layer is linear, so choose even widths")
        if self.second_dropout is not None and not self.second_hidden:
            raise ValueError("second_dropout: there is no second block; set second_hidden")
        return self


class GDCNSettings(CrossSettings):
    """GDCN: the MLP of `hidden` stands on the cross network (stacked), or next to it."""

    structure: Literal["stacked", "parallel"] = "stacked"


class MaskNetSettings(Hyperparameters):
    """MaskNet: serial blocks of the widths in `hidden`, or parallel blocks below an MLP of `hidden`."""

    hidden: SomeWidths = (200, 200)
    layer_norm: bool = True  # in each block
    parallel: Widths = ()  # widths of parallel blocks; empty: serial
    reduction: Annotated[float, Field(gt=0, le=100)] = 2.0  # hidden width of a mask, relative to the mask's
    embedding_norm: bool = True  # layer norm of each embedding before the blocks


class DCNv3Settings(Hyperparameters):
    """DCNv3: `dropout` is that of the exponential cross network."""

    layer_norm: bool = True  # of the masks, in both networks
    exponential_layers: Few = 3
    linear_layers: Few = 3
    linear_dropout: Fraction = 0.2  # in the linear cross network
    heads: Few = 1

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.embedding_size % (2 * self.heads):
            raise ValueError(
                f"embedding_size: {self.embedding_size} cannot be divided into two halves for each of "
                f"{self.heads} heads; choose a multiple of {2 * self.heads}"
            )
        return self


class FiGNNSettings(Hyperparameters):
    """Fi-GNN: `dropout` acts on the weights of self-attention."""

    steps: Few = 3  # of messages
    heads: Few = 1  # of the self-attention before

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.embedding_size % self.heads:
            raise ValueError(
                f"heads: {self.heads} heads cannot share {self.embedding_size} positions; choose a divisor"
            )
        return self


class AutoGroupSettings(Hyperparameters):
    """AutoGroup: groups of fields of each order from 1, which are learned with the weights."""

    groups: Groups = (10, 20, 20)  # of order 1, 2, ...
    order_sizes: Widths = (10, 10)  # embedding sizes of orders 2, 3, ...; embedding_size is that of order 1
    temperature: Positive = 0.01  # of the Gumbel softmax
    compensation: Annotated[float, Field(ge=0, le=1)] = 0.01  # of products of a field with itself
    structure_learning_rate: Positive = 1e-4

    @model_validator(mode="after")
    def _sizes(self) -> Self:
        if len(self.order_sizes) != len(self.groups) - 1:
            raise ValueError(
                f"order_sizes: {len(self.order_sizes)} sizes for the {len(self.groups) - 1} orders above 1 "
                "in groups; give each a size"
            )
        return self
