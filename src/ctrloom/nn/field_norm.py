"""Normalisation over the fields.

B batch, E edges, F fields, D embedding size, K = F D.
"""

import torch
from torch import Tensor, nn

from ctrloom import world
from ctrloom.nn.norm import moments


class FieldNorm(nn.Module):
    """Batch norm without scale over the fields, times the strength of an edge: x_BEFD -> (B, E, F, D).

    It is what `BatchNorm1d(F, affine=False)` does for each edge, which takes twice the time on a CPU when
    embeddings are short.

    Args:
        edges: E, or 1 where all edges have the same input.
        fields: F.
        momentum: share of the last batch in the running statistics.
        eps: added to the variance.
    """

    mean_EF: Tensor
    variance_EF: Tensor

    def __init__(self, edges: int, fields: int, momentum: float = 0.1, eps: float = 1e-5) -> None:
        super().__init__()
        self.momentum, self.eps = momentum, eps
        self.register_buffer("mean_EF", torch.zeros(edges, fields))
        self.register_buffer("variance_EF", torch.ones(edges, fields))

    def forward(self, x_BEFD: Tensor, strength_E: Tensor | None = None) -> Tensor:
        """Normalise by the batch in training, by running statistics otherwise (Eq. 8)."""
        mean_EF, variance_EF = self._of(x_BEFD) if self.training else (self.mean_EF, self.variance_EF)
        scale_EF = (variance_EF + self.eps).rsqrt()
        if strength_E is not None:
            scale_EF = scale_EF * strength_E.unsqueeze(1)
        # With one factor per entry a product takes half the time that it takes with factors (E, F, 1).
        both_2EK = torch.stack([scale_EF, -scale_EF * mean_EF]).repeat_interleave(x_BEFD.shape[3], 2)
        scale_EK, shift_EK = both_2EK.to(x_BEFD.dtype)
        return torch.addcmul(shift_EK, x_BEFD.flatten(2), scale_EK).unflatten(2, x_BEFD.shape[2:])

    def _of(self, x_BEFD: Tensor) -> tuple[Tensor, Tensor]:
        count: Tensor | int
        if world.alone():
            whole = torch.promote_types(
                x_BEFD.dtype, torch.float32
            )  # half precision does not hold a variance
            mean_EF = x_BEFD.mean(0, dtype=whole).mean(-1)
            square_EF = x_BEFD.square().mean(0, dtype=whole).mean(-1)
            variance_EF = (square_EF - mean_EF.square()).clamp_min(0)
            count = x_BEFD.shape[0] * x_BEFD.shape[3]
        else:
            mean_EF, variance_EF, count = moments(x_BEFD, (0, 3))
        with torch.no_grad():
            self.mean_EF.lerp_(mean_EF, self.momentum)
            self.variance_EF.lerp_(variance_EF * (count / (count - 1)), self.momentum)
        return mean_EF, variance_EF
