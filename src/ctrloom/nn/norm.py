"""Batch norm with statistics synchronized over processes.

B batch, K channels, R processes.
"""

import torch
from torch import Tensor, nn

from ctrloom import distributed


class BatchNorm(nn.BatchNorm1d):
    """torch's batch norm of x_BK, with the statistics of the global batch in training."""

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor
    momentum: float

    def forward(self, input: Tensor) -> Tensor:
        """Normalise by the batch in training, by running statistics otherwise."""
        if distributed.is_single_process() or not self.training:
            return super().forward(input)
        mean_K, variance_K, count = moments(input, (0,))
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean_K, self.momentum)
            self.running_var.lerp_(variance_K * (count / (count - 1)), self.momentum)
        normed_BK = (input.to(mean_K.dtype) - mean_K) * (variance_K + self.eps).rsqrt()
        if self.affine:
            normed_BK = torch.addcmul(self.bias, normed_BK, self.weight)
        return normed_BK.to(input.dtype)


def moments(x: Tensor, over: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and variance over the global batch, and the number of values per channel.

    Combines the moments of all processes (Chan, Golub and LeVeque 1979), which stays accurate if a mean is
    much larger than its deviation. A process may have no rows.
    """
    x = x.to(torch.promote_types(x.dtype, torch.float32))  # half precision is too coarse for a variance
    sum_K = x.sum(over, keepdim=True)
    count = x.numel() // sum_K.numel()
    mean_K = sum_K / max(1, count)
    square_K = (x - mean_K).square().sum(over)
    number, processes = distributed.rank_and_world_size()
    own_X = torch.cat([x.new_full((1,), count), mean_K.flatten(), square_K.flatten()])
    others_X = own_X.new_zeros(own_X.shape)
    # An all-gather as a sum of one row per process, which is differentiable.
    every_RX = distributed.all_reduce(
        torch.stack([own_X if r == number else others_X for r in range(processes)])
    )
    count_R1, mean_RK, square_RK = every_RX.split([1, mean_K.numel(), mean_K.numel()], 1)
    whole = count_R1.sum()
    mean = (count_R1 * mean_RK).sum(0) / whole
    variance = (square_RK.sum(0) + (count_R1 * (mean_RK - mean).square()).sum(0)) / whole
    return mean.view_as(square_K), variance.view_as(square_K), whole
