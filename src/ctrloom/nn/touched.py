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


def touched_rows(weight_RD: Tensor, row: Tensor) -> Tensor:
    """The table's rows, (*row.shape, D); the gradient is sparse.

    On the CPU it has each touched row once, ascending.
    """
    rows: Tensor = _TouchedRows.apply(weight_RD, row)
    return rows


class _TouchedRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight_RD: Tensor, row: Tensor) -> Tensor:
        ctx.save_for_backward(row)
        ctx.shape, ctx.summed_later = weight_RD.shape, kernels.usable(weight_RD)
        return embedding(row, weight_RD)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        """One sort brings equal rows together, and one pass in that order adds their gradients up."""
        row_N = ctx.saved_tensors[0].flatten()
        if ctx.summed_later:
            grad_ND = grads[0].reshape(-1, ctx.shape[1])
            return torch.sparse_coo_tensor(
                row_N.long()[None], grad_ND, ctx.shape, check_invariants=False
            ), None
        if ctx.shape[0] < 2**31:
            row_N = row_N.int()  # half the digits to sort by
        sorted_N, from_N = row_N.sort(stable=True)
        first_N = torch.ones_like(sorted_N, dtype=torch.bool)
        torch.ne(sorted_N[1:], sorted_N[:-1], out=first_N[1:])
        start_U = first_N.nonzero().squeeze(1)
        grad_UD = embedding_bag(from_N, grads[0].reshape(-1, ctx.shape[1]), start_U, mode="sum")
        row_U = sorted_N.index_select(0, start_U).long()
        grad_RD = torch.sparse_coo_tensor(
            row_U[None], grad_UD, ctx.shape, is_coalesced=True, check_invariants=False
        )
        return grad_RD, None
