"""Row-wise optimizers compared with dense Adam and with loops over rows, plain and by kernel."""

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from conftest import Way

from ctrloom.optim.row_wise import RowWise

# Entries of a gradient: more than five chunks of lookups, the last one incomplete.
NAMED = 300 if torch.cuda.is_available() else 85


@pytest.fixture(autouse=True)
def moved(way: Way) -> Iterator[None]:
    """Check that kernels updated the rows if they were requested."""
    yield
    way.ran("_within")


def sparse(rows: list[int], values: torch.Tensor, size: int) -> torch.Tensor:
    shape = (size, values.shape[1])
    index = torch.tensor([rows], device=values.device)
    return torch.sparse_coo_tensor(index, values, shape, check_invariants=True)


def numbers(way: Way, *shape: int) -> torch.Tensor:
    return torch.randn(shape, dtype=way.dtype).to(way.device)


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_lazy_adam_matches_dense_adam_if_all_rows_are_used(decay: float, way: Way) -> None:
    torch.manual_seed(0)
    start = numbers(way, 5, 3)
    rows, dense = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone())
    settings = {"lr": 0.05, "weight_decay": decay}
    optimizer, reference = RowWise([rows], **settings), torch.optim.Adam([dense], **settings)
    for _ in range(8):
        dense.grad = numbers(way, 5, 3)
        rows.grad = sparse([4, 0, 2, 3, 1], dense.grad[[4, 0, 2, 3, 1]], 5)
        optimizer.step()
        reference.step()
        assert rows.grad is None
    torch.testing.assert_close(rows.detach(), dense.detach(), rtol=0, atol=way.near)


def test_unused_rows_keep_moments_and_l2_unchanged(way: Way) -> None:
    rng = np.random.default_rng(0)
    start = rng.normal(size=(6, 2))
    lr, l2, b1, b2, eps = 0.1, 0.3, 0.9, 0.999, 1e-8
    table = torch.nn.Parameter(torch.from_numpy(start).to(way.device, way.dtype))
    dense = torch.nn.Parameter(torch.ones(3, dtype=torch.double))
    optimizer = RowWise([{"params": [table], "weight_decay": l2}, {"params": [dense]}], lr=lr)
    weight, first, second = start.copy(), np.zeros((6, 2)), np.zeros((6, 2))
    for t in range(1, 7):
        batch = [int(r) for r in rng.integers(0, 5, 4)]  # with repetitions; row 5 never
        grads = rng.normal(size=(4, 2))
        table.grad = sparse(batch, torch.from_numpy(grads).to(way.device, way.dtype), 6)
        dense.grad = torch.ones(3, dtype=torch.double)
        optimizer.step()
        for r in set(batch):
            for d in range(2):
                g = sum(grads[n, d] for n in range(4) if batch[n] == r) + l2 * weight[r, d]
                first[r, d] = b1 * first[r, d] + (1 - b1) * g
                second[r, d] = b2 * second[r, d] + (1 - b2) * g * g
                scale = math.sqrt(second[r, d] / (1 - b2**t)) + eps
                weight[r, d] -= lr * first[r, d] / (1 - b1**t) / scale
    np.testing.assert_allclose(table.detach().cpu().numpy(), weight, rtol=0, atol=way.near)
    assert (table.detach().cpu().numpy()[5] == start[5].astype(table.detach().cpu().numpy().dtype)).all()
    torch.testing.assert_close(dense.detach(), torch.full((3,), 1 - 6 * lr, dtype=torch.double))


def test_training_resumes_from_state_dict() -> None:
    torch.manual_seed(1)
    grads = [torch.randn(2, 3) for _ in range(6)]
    once, first = (torch.nn.Parameter(torch.ones(4, 3)) for _ in range(2))
    whole, half = RowWise([once], lr=0.1), RowWise([first], lr=0.1)

    def step(table: torch.nn.Parameter, optimizer: RowWise, t: int) -> None:
        table.grad = sparse([t % 4, (t + 1) % 4], grads[t], 4)
        optimizer.step()

    for t in range(6):
        step(once, whole, t)
    for t in range(3):
        step(first, half, t)
    second = torch.nn.Parameter(first.detach().clone())
    resumed = RowWise([second], lr=0.1)
    resumed.load_state_dict(half.state_dict())
    for t in range(3, 6):
        step(second, resumed, t)
    assert torch.equal(once, second)


def test_adagrad_has_one_rate_per_row(way: Way) -> None:
    rng = np.random.default_rng(2)
    start = rng.normal(size=(5, 3))
    lr, l2, eps = 0.2, 0.1, 1e-8
    table = torch.nn.Parameter(torch.from_numpy(start).to(way.device, way.dtype))
    optimizer = RowWise([{"params": [table], "weight_decay": l2, "rows": "adagrad"}], lr=lr)
    weight, squares = start.copy(), np.zeros(5)
    for _ in range(5):
        batch = [int(r) for r in rng.integers(0, 4, 3)]  # row 4 never
        grads = rng.normal(size=(3, 3))
        table.grad = sparse(batch, torch.from_numpy(grads).to(way.device, way.dtype), 5)
        optimizer.step()
        for r in set(batch):
            g = [sum(grads[n, d] for n in range(3) if batch[n] == r) + l2 * weight[r, d] for d in range(3)]
            squares[r] += sum(x * x for x in g) / 3
            for d in range(3):
                weight[r, d] -= lr * g[d] / (math.sqrt(squares[r]) + eps)
    np.testing.assert_allclose(table.detach().cpu().numpy(), weight, rtol=0, atol=way.near)
    assert (table.detach().cpu().numpy()[4] == start[4].astype(table.detach().cpu().numpy().dtype)).all()


@pytest.mark.parametrize(
    ("size", "rows", "width"),
    [(1, "adam", 20), (3, "adagrad", 20), (3, "adam", 70), (60, "adam", 1), (60, "adagrad", 3)],
)
def test_repeated_rows_across_chunks(
    size: int, rows: str, width: int, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that span many, few or no chunks; the reference is the plain code in float64."""
    if way.kernel:
        monkeypatch.setattr("ctrloom.kernels.embedding.TOGETHER", 2)
    rng, settings = np.random.default_rng(size), {"lr": 0.1, "weight_decay": 0.01}
    start = rng.normal(size=(size, width))
    found, expected = (
        torch.nn.Parameter(torch.from_numpy(start).to(device, dtype))
        for device, dtype in ((way.device, way.dtype), (torch.device("cpu"), torch.float64))
    )
    optimizers = [RowWise([{"params": [each], "rows": rows}], **settings) for each in (found, expected)]
    for _ in range(2):
        batch = np.minimum(np.exp(rng.random(NAMED) * np.log(size + 1)).astype(int) - 1, size - 1).tolist()
        grads = torch.from_numpy(rng.normal(size=(NAMED, width)))
        for table, optimizer in zip((found, expected), optimizers, strict=True):
            table.grad = sparse(batch, grads.to(table.device, table.dtype), size)
            optimizer.step()
    difference = (found.detach().cpu().double() - expected.detach()).abs().max()
    assert difference < 10 * way.near


@pytest.mark.parametrize(("size", "rows", "width"), [(1, "adagrad", 4), (8, "adam", 20), (60, "adagrad", 3)])
def test_cowclip_matches_a_loop_over_rows(size: int, rows: str, width: int, way: Way) -> None:
    """Compared with a loop over rows that sums, clips and updates each with its own optimizer."""
    rng, lr, l2 = np.random.default_rng(size), 0.01, 0.02
    start = rng.normal(size=(size, width)) * np.exp(-12 * rng.random((size, 1)))  # some below the floor
    table = torch.nn.Parameter(torch.from_numpy(start).to(way.device, way.dtype))
    settings = {"lr": lr, "weight_decay": l2}
    optimizer = RowWise([{"params": [table], "rows": rows, "cowclip": True}], **settings)
    single = [torch.nn.Parameter(torch.from_numpy(start[r : r + 1].copy())) for r in range(size)]
    alone = [RowWise([{"params": [row], "rows": rows}], **settings) for row in single]
    clipped = 0
    for _ in range(2):
        batch = rng.integers(0, size, NAMED).tolist()
        grads = rng.normal(size=(NAMED, width)) * 0.1
        table.grad = sparse(batch, torch.from_numpy(grads).to(way.device, way.dtype), size)
        optimizer.step()
        for r in range(size):
            named = [n for n in range(NAMED) if batch[n] == r]
            total = sum((grads[n] for n in named), np.zeros(width))
            length = math.sqrt(sum(x * x for x in single[r].detach().numpy()[0]))
            most = len(named) * max(1.0 * length, 1e-5)
            if (norm := math.sqrt(sum(x * x for x in total))) > most:
                total, clipped = total * most / norm, clipped + 1
            # A row without gradient is unchanged, but its optimizer counts the step.
            single[r].grad = sparse([0] if named else [], torch.from_numpy(total[None][: bool(named)]), 1)
            alone[r].step()
    expected = torch.cat([row.detach() for row in single])
    assert 0 < clipped < 2 * size or size == 1
    assert (table.detach().cpu().double() - expected).abs().max() < 10 * way.near
