"""Row-wise optimizers for embedding tables with sparse gradients.

R rows of a table, U distinct rows in a batch, D width of a row.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ctrloom import kernels
from ctrloom.nn.sparse_rows import put_rows, rows_of, summed_rows
from ctrloom.optim.cowclip import FLOOR, RATIO, cowclip
from ctrloom.optim.cuda_stream import side_stream


class RowWise(torch.optim.Adam):
    """Adam that updates only the rows of a sparse gradient.

    Dense Adam updates every row at every step, through its first moment and the L2 of `weight_decay`. Here
    a row's state and L2 are applied only in steps whose batch contains it. A group's `rows` selects the
    update:

    - `adam` (the default): bias correction uses the number of steps, not of updates of the row, so that a
      row in every batch is updated as in dense Adam (Kingma and Ba, Adam, ICLR 2015, Algorithm 1).
    - `adagrad`: w -= lr g / (sqrt(s) + eps), with s the sum over the steps of the mean of g^2 over the row:
      one scalar of state per row (Duchi et al., JMLR 2011, with one rate per row).

    If a group's `cowclip` is set, gradients are clipped per row before L2 is added (`optim.cowclip`); they
    must have one entry per lookup.

    Parameters with dense gradients use torch's Adam. On a GPU with Triton, `kernels.embedding` updates the
    rows: a step then needs no host sync, and can be captured if its learning rates are tensors.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Take one step; sets sparse gradients to None."""
        assert closure is None, "RowWise does not support a closure"
        sparse: list[tuple[Tensor, Tensor, dict[str, Any]]] = []
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None and parameter.grad.is_sparse:
                    sparse.append((parameter, parameter.grad, group))
                    parameter.grad = None  # so that the dense step skips it
        orders: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
        with side_stream(sparse[0][0].device if sparse else None) as dense:
            with dense:
                super().step()
            for table, grad, group in sparse:
                adagrad = group.get("rows") == "adagrad"
                if not self._fused(table, grad, group, adagrad, orders):
                    self._plain(table, grad, group, adagrad)

    def _plain(self, table: Tensor, grad: Tensor, group: dict[str, Any], adagrad: bool) -> None:
        row_U, grad_UD, count_U = _unique(grad)
        weight_UD = rows_of(table, row_U)
        if group.get("cowclip"):
            grad_UD = cowclip(grad_UD, weight_UD, count_U)
        if group["weight_decay"]:
            grad_UD = grad_UD.add(weight_UD, alpha=group["weight_decay"])
        move = self._adagrad if adagrad else self._adam
        move(table, group, row_U, weight_UD, grad_UD)
        put_rows(table, row_U, weight_UD)

    def _adam(
        self, table: Tensor, group: dict[str, Any], row_U: Tensor, weight_UD: Tensor, grad_UD: Tensor
    ) -> None:
        state, (beta1, beta2) = self._state(table, adagrad=False), group["betas"]
        state["step"] += 1
        steps = float(state["step"])
        moments_U2D = state["moments"].index_select(0, row_U)
        first_UD, second_UD = moments_U2D.unbind(1)
        first_UD.lerp_(grad_UD, 1 - beta1)
        second_UD.mul_(beta2).addcmul_(grad_UD, grad_UD, value=1 - beta2)
        put_rows(state["moments"], row_U, moments_U2D)
        scale_UD = (second_UD / (1 - beta2**steps)).sqrt_().add_(group["eps"])
        weight_UD.addcdiv_(first_UD, scale_UD, value=-group["lr"] / (1 - beta1**steps))

    def _adagrad(
        self, table: Tensor, group: dict[str, Any], row_U: Tensor, weight_UD: Tensor, grad_UD: Tensor
    ) -> None:
        state = self._state(table, adagrad=True)
        square_U = state["squares"].index_select(0, row_U).add_(grad_UD.square().mean(1))
        put_rows(state["squares"], row_U, square_U)
        weight_UD.addcdiv_(grad_UD, square_U.sqrt_().add_(group["eps"]).unsqueeze(1), value=-group["lr"])

    def _fused(
        self,
        table: Tensor,
        grad: Tensor,
        group: dict[str, Any],
        adagrad: bool,
        orders: dict[tuple[int, int], tuple[Tensor, Tensor]],
    ) -> bool:
        """Update rows with a kernel if it supports the table; tables with the same rows share their order."""
        if not kernels.usable(table):
            return False
        from ctrloom.kernels.embedding import fits, in_order, move_rows

        if not fits(table):
            return False
        state, rate = self._state(table, adagrad), group["lr"]
        if not isinstance(rate, Tensor):
            rate = torch.full((), rate, device=table.device)
        same = grad._indices().data_ptr(), len(grad._values())  # unique, as all gradients of a step are alive
        if same not in orders:
            orders[same] = in_order(grad)
        moving = state["squares" if adagrad else "moments"], state["step"], rate, group, adagrad
        bound = (RATIO, FLOOR) if group.get("cowclip") else None
        move_rows(table.detach(), grad, orders[same], *moving, bound)
        return True

    def _state(self, table: Tensor, adagrad: bool) -> dict[str, Any]:
        state: dict[str, Any] = self.state[table]
        if not state:
            # The step counter is read on the host by the plain update, and on the device by a kernel.
            state["step"] = torch.zeros((), device=table.device if kernels.usable(table) else None)
            if adagrad:
                state["squares"] = table.new_zeros(table.shape[0])
            else:  # interleave both moments of a row, so that one read gets both
                state["moments"] = table.new_zeros(table.shape[0], 2, *table.shape[1:])
        return state


def _unique(grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Distinct rows of a sparse gradient, the sums of their gradients, and their counts."""
    row_N, grad_ND = grad._indices()[0], grad._values()
    if (row_N[1:] > row_N[:-1]).all():  # torch drops the is_coalesced flag
        return row_N, grad_ND, torch.ones_like(row_N)
    return summed_rows(row_N, grad_ND)
