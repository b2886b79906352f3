"""Rows of a table whose gradient names the touched rows alone.

On a GPU with Triton the optimizer adds up the gradients of equal rows while it moves them (`kernels.rows`),
and a gradient is left as it came, unsorted.

N rows looked up in all, R rows of the table, U of them that a batch touches, D width of a row.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import embedding, embedding_bag

from ctrloom import kernels


def touched_rows(weight_RD: Tensor, row: Tensor, each_time: bool = False) -> Tensor:
    """The table's rows, (*row.shape, D); the gradient is sparse.

    On the CPU it has each touched row once, ascending; or `each_time` that it was looked up, in order.
    """
    rows: Tensor = _TouchedRows.apply(weight_RD, row, each_time)
    return rows


def summed_rows(row_N: Tensor, grad_ND: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Each row once, ascending, the sum of its gradients, and how many they are.

    One sort brings equal rows together, and one pass in that order adds their gradients up.
    """
    sorted_N, from_N = row_N.sort(stable=True)
    first_N = torch.ones_like(sorted_N, dtype=torch.bool)
    torch.ne(sorted_N[1:], sorted_N[:-1], out=first_N[1:])
    start_U = first_N.nonzero().squeeze(1)
    grad_UD = embedding_bag(from_N, grad_ND, start_U, mode="sum")
    count_U = torch.diff(start_U, append=start_U.new_full((1,), len(row_N)))
    return sorted_N.index_select(0, start_U).long(), grad_UD, count_U


class _TouchedRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight_RD: Tensor, row: Tensor, each_time: bool) -> Tensor:
        ctx.save_for_backward(row)
        ctx.shape, ctx.summed_later = weight_RD.shape, each_time or kernels.usable(weight_RD)
        return embedding(row, weight_RD)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        row_N, grad_ND = ctx.saved_tensors[0].flatten(), grads[0].reshape(-1, ctx.shape[1])
        if ctx.summed_later:
            return _sparse(row_N.long(), grad_ND, ctx.shape, False), None, None
        if ctx.shape[0] < 2**31:
            row_N = row_N.int()  # half the digits to sort by
        row_U, grad_UD, _ = summed_rows(row_N, grad_ND)
        return _sparse(row_U, grad_UD, ctx.shape, True), None, None


def _sparse(row: Tensor, grad: Tensor, shape: torch.Size, unique: bool) -> Tensor:
    return torch.sparse_coo_tensor(row[None], grad, shape, is_coalesced=unique, check_invariants=False)
