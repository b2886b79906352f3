"""Minimum cost of an FM step on a CPU: separate tables, as implemented, and one wide table.

    python benchmarks/training/row_layout.py [--threads 2]

A row of the wide table has the embedding, the linear weight, and both moments of each. Only the indispensable
parts of a step are timed, with PyTorch operations and without autograd: grouping equal rows, lookups, FM's
equation and its gradient, sums for equal rows, Adam, and writing rows back.
"""

import argparse
import datetime
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))

import fast  # noqa: F401
import torch
from cases import CASES, Case
from limits import limit, measure
from machine import describe
from ours import train
from shapes import encoded, sizes_of
from torch import Tensor
from torch.nn.functional import embedding_bag

from ctrloom.nn.sparse_rows import put_rows, rows_of

WARM, TIMES = 5, 40  # distinct batches
PARTS = ("rows together", "looked up", "model", "sums", "Adam, written")
WIDE = 64  # floats: 3 * 21, and one to fill the cache line


class Floor:
    """The parts of a step, each for the i-th batch.

    B batch, F fields, N = B * F, R rows of a table, U rows that a batch touches, D embedding size.
    """

    def __init__(self, case: Case) -> None:
        sizes = sizes_of(case.shape, case.ids)
        _, rows = encoded(sizes, case.batch * (WARM + TIMES))
        self.row_N = [ids.flatten() for ids in rows.ids_NC.split(case.batch)]
        self.groups = [self._together(row_N) for row_N in self.row_N]
        count, size = sum(sizes), case.embedding
        self.size = size
        # Initialized, so that their pages are mapped.
        self.tables = [torch.randn(count, width) for width in (size, size, size, 1, 1, 1)]
        self.wide = torch.randn(count, WIDE)
        self.emb_BFD = torch.randn(case.batch, len(sizes), size)
        self.grad_N = torch.randn(self.emb_BFD[..., 0].numel(), size + 1)
        self.got_N = torch.empty_like(self.grad_N)
        self.grad_ND, self.grad_N1 = self.grad_N[:, :size].contiguous(), self.grad_N[:, size:].contiguous()

    @staticmethod
    def _together(row_N: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        sorted_N, from_N = row_N.sort(stable=True)
        first_N = torch.ones_like(sorted_N, dtype=torch.bool)
        torch.ne(sorted_N[1:], sorted_N[:-1], out=first_N[1:])
        start_U = first_N.nonzero().squeeze(1)
        return sorted_N.index_select(0, start_U).long(), from_N, start_U, first_N

    def together(self, i: int) -> None:
        """Group equal rows."""
        self._together(self.row_N[i])

    def look_up(self, i: int) -> None:
        """Rows of two tables, including duplicates."""
        for table in self.tables[0], self.tables[3]:
            rows_of(table, self.row_N[i])

    def look_up_wide(self, i: int) -> None:
        """Distinct wide rows; then the part that the model needs, including duplicates."""
        row_U, from_N, _, first_N = self.groups[i]
        got_U = rows_of(self.wide, row_U)[:, : self.size + 1].contiguous()
        place_N = torch.empty_like(from_N).scatter_(0, from_N, first_N.long().cumsum(0) - 1)
        # Into preallocated memory: blocks above 32 MB are requested from the system each time.
        torch.index_select(got_U, 0, place_N, out=self.got_N)

    def sums(self, i: int) -> None:
        """Sums for equal rows of both tables."""
        for grad in self.grad_ND, self.grad_N1:
            embedding_bag(self.groups[i][1], grad, self.groups[i][2], mode="sum")

    def sums_wide(self, i: int) -> None:
        """Sums for equal rows of the wide table."""
        embedding_bag(self.groups[i][1], self.grad_N, self.groups[i][2], mode="sum")

    def write(self, i: int) -> None:
        """Read weights and moments, update them by Adam and write them back."""
        row_U = self.groups[i][0]
        for of in (0, 3):
            w, m, v = (rows_of(table, row_U) for table in self.tables[of : of + 3])
            self._adam(w, m, v)
            for table, rows in zip(self.tables[of : of + 3], (w, m, v), strict=True):
                put_rows(table, row_U, rows)

    def write_wide(self, i: int) -> None:
        """The same for rows that were already read."""
        row_U = self.groups[i][0]
        rows_U, width = self.wide[: len(row_U)].clone(), self.size + 1
        self._adam(*(rows_U[:, at * width : (at + 1) * width] for at in range(3)))
        put_rows(self.wide, row_U, rows_U)

    @staticmethod
    def _adam(w: Tensor, m: Tensor, v: Tensor) -> None:
        grad = w
        m.lerp_(grad, 0.1)
        v.mul_(0.999).addcmul_(grad, grad, value=0.001)
        w.addcdiv_(m, v.abs().sqrt_().add_(1e-8), value=-1e-3)

    def model(self, i: int) -> None:
        """FM's equation and its gradient."""
        sum_BD = self.emb_BFD.sum(1)
        sum_BD.square().sum(1) - self.emb_BFD.square().sum((1, 2))
        (sum_BD[:, None] - self.emb_BFD).mul_(0.5)

    def layouts(self) -> dict[str, list[Callable[[int], None]]]:
        """The parts in the order of PARTS."""
        return {
            "separate": [self.together, self.look_up, self.model, self.sums, self.write],
            "wide": [self.together, self.look_up_wide, self.model, self.sums_wide, self.write_wide],
        }


def milliseconds(work: Callable[[int], object]) -> float:
    """Median time per batch."""
    taken = []
    for i in range(WARM + TIMES):
        began = time.perf_counter()
        work(i)
        taken.append(time.perf_counter() - began)
    return 1000 * statistics.median(taken[WARM:])


def whole_step(case: Case, threads: int) -> float:
    """Milliseconds of a real training step."""
    task = asdict(case) | {"steps": TIMES, "rows": TIMES * case.batch, "threads": threads}
    _, calls, _ = train(task | {"sizes": sizes_of(case.shape, case.ids)})
    calls["step"]()
    taken = []
    for _ in range(3):
        began = time.perf_counter()
        calls["step"]()
        taken.append(time.perf_counter() - began)
    return 1000 * min(taken) / TIMES


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    lines = [
        "# Minimum cost of an FM step: separate tables, and one wide table",
        "",
        f"`python benchmarks/training/row_layout.py`, {datetime.date.today().isoformat()}. "
        f"{describe('torch', 'numpy')}; {given.threads} thread(s). Milliseconds.",
        "",
        f"| work | tables | {' | '.join(PARTS)} | sum | step as trained | half of the memory limit |",
        "|---|---|" + "--:|" * (len(PARTS) + 3),
    ]
    for case in (case for case in CASES if case.name in ("FM, batch 2,000", "FM, batch 10,000")):
        step, floor = whole_step(case, given.threads), Floor(case)
        rate = limit(case, measure(given.threads))["rows_per_second"]
        assert isinstance(rate, float)
        for name, works in floor.layouts().items():
            taken = [milliseconds(work) for work in works]
            cells = [*taken, sum(taken), step, 2000 * case.batch / rate]
            lines.append(f"| {case.name} | {name} | {' | '.join(f'{cell:.1f}' for cell in cells)} |")
            print(lines[-1], flush=True)
    name = f"row-layout-{datetime.date.today().isoformat()}.md"
    (Path(__file__).parents[1] / "results" / name).write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
