"""Sparse gradients compared with torch's dense ones."""

import gc
import weakref

import pytest
import torch
from conftest import Way
from hypothesis import given
from hypothesis import strategies as st

from ctrloom.nn import sparse_rows
from ctrloom.nn.sparse_rows import lookup_dense_gradient, lookup_sparse_gradient


@given(
    rows=st.lists(st.lists(st.integers(0, 8), min_size=3, max_size=3), min_size=0, max_size=12),
    width=st.integers(1, 4),
    dtype=st.sampled_from([torch.int32, torch.int64]),
)
def test_sparse_gradient_matches_dense_with_distinct_rows(
    rows: list[list[int]], width: int, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    table = torch.randn(9, width, requires_grad=True)
    ids_BC = torch.tensor(rows, dtype=dtype).view(-1, 3)
    weight_BCD = torch.randn(len(ids_BC), 3, width)
    (dense,) = torch.autograd.grad((torch.nn.functional.embedding(ids_BC, table) * weight_BCD).sum(), table)
    found = lookup_sparse_gradient(table, ids_BC)
    assert torch.equal(found, table[ids_BC.long()])
    (sparse,) = torch.autograd.grad((found * weight_BCD).sum(), table)
    assert sparse.is_sparse
    torch.testing.assert_close(sparse.to_dense(), dense)
    assert sparse._indices()[0].tolist() == sorted({i for row in rows for i in row})


@pytest.mark.parametrize("width", [1, 3, 20, 700, 1500])
@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_lookup_of_any_row_width(width: int, dtype: torch.dtype, way: Way) -> None:
    generator = torch.Generator().manual_seed(width)
    table = torch.randn(30, width, generator=generator).to(way.device, way.dtype).requires_grad_()
    row = torch.randint(30, (7, 5), generator=generator)
    weight = torch.randn(7, 5, width, generator=generator).to(way.device, way.dtype)
    expected = torch.zeros(30, width, dtype=torch.float64)
    for b in range(7):
        for c in range(5):
            expected[row[b, c]] += weight[b, c].cpu().double()
    for look_up in (lookup_dense_gradient, lookup_sparse_gradient):
        found = look_up(table, row.to(way.device, dtype))
        assert torch.equal(found.cpu(), table.detach().cpu()[row])
        (grad,) = torch.autograd.grad((found * weight).sum(), table)
        grad = grad.to_dense() if grad.is_sparse else grad
        torch.testing.assert_close(grad.cpu().double(), expected, rtol=0, atol=way.near)
    assert look_up(table, row[:0].to(way.device, dtype)).shape == (0, 5, width)
    way.ran("_gather")


def test_gradients_of_two_lookups_add_up(way: Way) -> None:
    table = torch.nn.Parameter(torch.ones(4, 2, dtype=way.dtype, device=way.device))
    first, second = (torch.tensor(rows, device=way.device) for rows in ([1, 2], [2]))
    (lookup_sparse_gradient(table, first).sum() + 3 * lookup_sparse_gradient(table, second).sum()).backward()
    assert table.grad is not None
    assert table.grad.to_dense()[:, 0].tolist() == pytest.approx([0, 1, 4, 0])


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_cached_rows_are_freed(dtype: torch.dtype, way: Way) -> None:
    table = torch.nn.Parameter(torch.ones(5, 2, dtype=way.dtype, device=way.device))
    kept = []
    for keep_duplicates in (False, True):
        row = torch.tensor([[1, 2], [2, 4]], dtype=dtype, device=way.device)
        lookup_sparse_gradient(table, row, keep_duplicates).sum().backward()
        kept.append(weakref.ref(row))
        table.grad = None
        del row
    gc.collect()
    assert [each() for each in kept] == [None, None]


def test_dense_and_sparse_tables_can_share_rows() -> None:
    one, other = (torch.nn.Parameter(torch.ones(5, 2)) for _ in range(2))
    row = torch.tensor([3, 1, 3], dtype=torch.int32)
    (
        lookup_sparse_gradient(one, row, True).sum() + lookup_sparse_gradient(other, row, False).sum()
    ).backward()
    assert one.grad is not None
    assert other.grad is not None
    assert one.grad._indices()[0].tolist() == [3, 1, 3]
    assert other.grad._indices()[0].tolist() == [1, 3]


def test_tables_with_the_same_rows_share_one_sort(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, sorts = sparse_rows._grouped, []
    monkeypatch.setattr(sparse_rows, "_grouped", lambda row_N: sorts.append(row_N.tolist()) or plain(row_N))
    tables = [torch.nn.Parameter(torch.ones(5, width)) for width in (1, 3)]
    ids_BC = torch.tensor([[1, 2], [2, 4]], dtype=torch.int32)

    def touched_by_both() -> list[list[int]]:
        for table in tables:
            table.grad = None
        sum(lookup_sparse_gradient(table, ids_BC).sum() for table in tables).backward()
        return [table.grad._indices()[0].tolist() for table in tables if table.grad is not None]

    assert touched_by_both() == [[1, 2, 4]] * 2
    assert sorts == [[1, 2, 2, 4]]
    ids_BC[0, 0] = 3  # as if the next batch were copied into the buffer
    assert touched_by_both() == [[2, 3, 4]] * 2
    assert sorts == [[1, 2, 2, 4], [3, 2, 2, 4]]


@pytest.mark.parametrize("warns", [False, True])
def test_put_rows_restores_determinism(warns: bool) -> None:
    table, generator = torch.zeros(50_000, 3), torch.Generator().manual_seed(0)
    row_U = torch.randperm(len(table), generator=generator)[:40_000]
    put = torch.randn(len(row_U), 3, generator=generator)
    try:
        torch.use_deterministic_algorithms(True, warn_only=warns)
        sparse_rows.put_rows(table, row_U, put)
        with pytest.raises(IndexError):
            sparse_rows.put_rows(table, torch.tensor([50_000]), put[:1])
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled() == warns
    finally:
        torch.use_deterministic_algorithms(False)
    expected = torch.zeros(50_000, 3).numpy()
    expected[row_U.numpy()] = put.numpy()
    assert (table.numpy() == expected).all()
