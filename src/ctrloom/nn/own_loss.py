"""Models that are trained with another loss than the cross-entropy of their logits.

B batch.
"""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

Mean = Callable[[Tensor], Tensor]  # of values per row: the share of this process in the mean of the batch


@runtime_checkable
class HasOwnLoss(Protocol):
    """A model with its own training loss."""

    def own_loss(
        self, ids_BC: Tensor, factors_BC: Tensor | None, label_B: Tensor, mean: Mean
    ) -> tuple[Tensor, Tensor]:
        """The loss to minimise, and the logits (B,)."""
        ...


def cross_entropy(logit_B: Tensor, target_B: Tensor) -> Tensor:
    """Binary cross-entropy of each row (B,)."""
    return binary_cross_entropy_with_logits(logit_B, target_B, reduction="none")
