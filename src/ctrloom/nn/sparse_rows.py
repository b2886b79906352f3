"""Table lookups with sparse gradients.

On a GPU with Triton, gradients are left unsorted with repeated rows, and the optimizer sums them while it
updates the rows (`kernels.embedding`).

N lookups, R rows of the table, U distinct rows in a batch, D width of a row.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, NamedTuple, TypeVar, cast

import torch
from torch import Tensor
from torch.nn.functional import embedding, embedding_bag
from torch.utils.weak import WeakTensorKeyDictionary

from ctrloom import kernels

Made = TypeVar("Made")


def lookup_sparse_gradient(weight_RD: Tensor, row: Tensor, keep_duplicates: bool = False) -> Tensor:
    """Look up rows of a table, (*row.shape, D), with a sparse gradient.

    On a CPU the gradient has each row once, ascending, or with `keep_duplicates` one entry per lookup, in
    order.
    """
    rows: Tensor = _TouchedRows.apply(weight_RD, row, keep_duplicates)
    return rows


def lookup_dense_gradient(weight_RD: Tensor, row: Tensor) -> Tensor:
    """Look up rows of a table, (*row.shape, D), with a dense gradient."""
    if not kernels.usable(weight_RD):
        return embedding(row, weight_RD)
    rows: Tensor = _AllRows.apply(weight_RD, row)
    return rows


def rows_of(table: Tensor, row_N: Tensor) -> Tensor:
    """Look up rows of a table; rows of width 1 are read from a vector, several times faster on a CPU."""
    if table.dim() == 2 and kernels.usable(table):
        from ctrloom.kernels.embedding import gathered

        return gathered(table, row_N)
    if table.shape[1:] == (1,):
        return table.view(-1).index_select(0, row_N).unsqueeze(1)
    return table.index_select(0, row_N)


def put_rows(table: Tensor, row_U: Tensor, put: Tensor) -> None:
    """Overwrite distinct rows of a table."""
    with _in_any_order():
        table.index_copy_(0, row_U, put)


@contextmanager
def _in_any_order() -> Iterator[None]:
    """Disable deterministic algorithms: index_copy_ is then multi-threaded, and distinct rows are safe."""
    before = torch.get_deterministic_debug_mode()
    torch.set_deterministic_debug_mode("default")
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(before)


def summed_rows(row_N: Tensor, grad_ND: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Distinct rows, ascending, the sums of their gradients, and their counts."""
    return _summed(_grouped(row_N), grad_ND)


class _Groups(NamedTuple):
    """Lookups grouped by row with one sort."""

    row_U: Tensor
    from_N: Tensor  # indices of lookups, ordered within a row
    start_U: Tensor  # offset of each row in from_N


def _grouped(row_N: Tensor) -> _Groups:
    sorted_N, from_N = row_N.sort(stable=True)
    first_N = torch.ones_like(sorted_N, dtype=torch.bool)
    torch.ne(sorted_N[1:], sorted_N[:-1], out=first_N[1:])
    start_U = first_N.nonzero().squeeze(1)
    return _Groups(sorted_N.index_select(0, start_U).long(), from_N, start_U)


def _summed(groups: _Groups, grad_ND: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sum the gradients of equal rows in one pass."""
    row_U, from_N, start_U = groups
    grad_UD = embedding_bag(from_N, grad_ND, start_U, mode="sum")
    return row_U, grad_UD, torch.diff(start_U, append=start_U.new_full((1,), len(from_N)))


class _Shared(Generic[Made]):
    """Caches a value computed from a step's rows, shared by all tables that look them up.

    The value must not hold the rows themselves, or they would never be freed.
    """

    def __init__(self, make: Callable[[Tensor], Made]) -> None:
        self.make, self.known = make, WeakTensorKeyDictionary()

    def __call__(self, row: Tensor) -> Made:
        version, made = self.known.get(row, (None, None))
        if version != row._version:
            made = self.make(row.flatten())
            self.known[row] = row._version, made
        return cast(Made, made)


_widened = _Shared(Tensor.long)
_groups = {  # by whether row indices fit into 32 bits, which are faster to sort
    True: _Shared(lambda row_N: _grouped(row_N.int())),
    False: _Shared(lambda row_N: _grouped(row_N)),
}


class _AllRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight_RD: Tensor, row: Tensor) -> Tensor:
        ctx.save_for_backward(row)
        ctx.count = len(weight_RD)
        return rows_of(weight_RD, row.flatten()).view(*row.shape, weight_RD.shape[1])

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return torch.ops.aten.embedding_dense_backward(
            grads[0], ctx.saved_tensors[0], ctx.count, -1, False
        ), None


class _TouchedRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight_RD: Tensor, row: Tensor, keep_duplicates: bool) -> Tensor:
        ctx.save_for_backward(row)
        ctx.shape, ctx.summed_later = weight_RD.shape, keep_duplicates or kernels.usable(weight_RD)
        return rows_of(weight_RD, row.flatten()).view(*row.shape, ctx.shape[1])

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (row,), grad_ND = ctx.saved_tensors, grads[0].reshape(-1, ctx.shape[1])
        if ctx.summed_later:
            row_N = row.flatten() if row.dtype == torch.long else _widened(row)
            return _sparse(row_N, grad_ND, ctx.shape, False), None, None
        row_U, grad_UD, _ = _summed(_groups[ctx.shape[0] < 2**31](row), grad_ND)
        return _sparse(row_U, grad_UD, ctx.shape, True), None, None


def _sparse(row: Tensor, grad: Tensor, shape: torch.Size, unique: bool) -> Tensor:
    return torch.sparse_coo_tensor(row[None], grad, shape, is_coalesced=unique, check_invariants=False)
