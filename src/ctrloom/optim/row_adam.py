"""Adam for tables of which a batch touches few rows.

R rows of a table, U rows that a batch touches, D width of a row.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class RowAdam(torch.optim.Adam):
    """Adam that moves, of a parameter with a sparse gradient, the rows of that gradient alone.

    Dense Adam moves every row at every step: by what is left of its first moment, and by the L2 of
    `weight_decay`. Here a row's moments and its L2 wait until a batch touches it. Bias is corrected by the
    number of steps, not of touches, so that a row which every batch touches moves as in dense Adam.
    Parameters with dense gradients are torch's Adam's.

    Reference: Kingma and Ba, Adam, ICLR 2015, Algorithm 1.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Take one step; sparse gradients are used up."""
        assert closure is None, "RowAdam needs no closure"
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None and parameter.grad.is_sparse:
                    self._step_rows(parameter, group, *_unique(parameter.grad))
                    parameter.grad = None  # nothing is left for the dense step
        super().step()

    def _step_rows(self, parameter: Tensor, group: dict[str, Any], row_U: Tensor, grad_UD: Tensor) -> None:
        state, (beta1, beta2) = self.state[parameter], group["betas"]
        if not state:
            state["step"] = torch.zeros(())
            # Both moments of a row side by side: memory is read once for both.
            state["moments"] = parameter.new_zeros(parameter.shape[0], 2, *parameter.shape[1:])
        state["step"] += 1
        steps = float(state["step"])
        weight_UD, moments_U2D = parameter.index_select(0, row_U), state["moments"].index_select(0, row_U)
        if group["weight_decay"]:
            grad_UD = grad_UD.add(weight_UD, alpha=group["weight_decay"])
        first_UD, second_UD = moments_U2D.unbind(1)
        first_UD.lerp_(grad_UD, 1 - beta1)
        second_UD.mul_(beta2).addcmul_(grad_UD, grad_UD, value=1 - beta2)
        state["moments"].index_copy_(0, row_U, moments_U2D)
        scale_UD = (second_UD / (1 - beta2**steps)).sqrt_().add_(group["eps"])
        weight_UD.addcdiv_(first_UD, scale_UD, value=-group["lr"] / (1 - beta1**steps))
        parameter.index_copy_(0, row_U, weight_UD)


def _unique(grad: Tensor) -> tuple[Tensor, Tensor]:
    """Rows that a sparse gradient names, each once, and what it says of them."""
    row_N = grad._indices()[0]
    if not (row_N[1:] > row_N[:-1]).all():  # torch forgets that a gradient was made of unique rows
        grad = grad.coalesce()
    return grad._indices()[0], grad._values()
