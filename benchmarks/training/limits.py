"""The machine's limits, measured, and what they allow each case (roofline).

B batch, F fields, D embedding size, P interactions.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import pairwise
from math import comb

import numpy as np
import torch
from cases import Case
from shapes import draw, sizes_of

from ctrloom.training.step import as_graph, matmul_precision

FLOAT = 4  # bytes
PASSES = 4  # over activations that torch keeps: written and read, forward and backward


@dataclass(frozen=True)
class Machine:
    """Measured limits of this machine."""

    device: str
    copy_bytes: float  # per second, read and written
    gathered_rows: float  # per second; rows of 20 floats from a table of a million
    flops: dict[str, float]  # of matrix products, by precision
    launch_seconds: float | None = None  # of a kernel of its own, on a GPU
    graph_seconds: float | None = None  # of a kernel in a CUDA graph


def measure(threads: int, device: torch.device | None = None, size: int = 2**26) -> Machine:
    """Bandwidth, gathers and matrix products of this machine, best of several; `size` numbers are copied."""
    torch.set_num_threads(threads)
    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    source, target = (torch.ones(size, device=device) for _ in range(2))
    copied = 2 * FLOAT * size / _best(lambda: target.copy_(source), device)
    table, row_N = torch.ones(10**6, 20, device=device), torch.randint(10**6, (10**6,), device=device)
    gathered = len(row_N) / _best(lambda: table.index_select(0, row_N), device)
    flops = {}
    n, m = size // 2**14, size // 2**15
    for precision in ("float32", "tf32", "bfloat16") if device.type == "cuda" else ("float32", "bfloat16"):
        kind = torch.bfloat16 if precision == "bfloat16" else torch.float32
        a, b = (torch.ones(rows, m, device=device, dtype=kind) for rows in (n, m))
        with matmul_precision("tf32" if precision == "tf32" else "float32", device):
            flops[precision] = 2 * n * m * m / _best(lambda a=a, b=b: a @ b, device)  # type: ignore[misc]
    launches = _launches(device) if device.type == "cuda" else ()
    return Machine(device.type, copied, gathered, flops, *launches)


def _launches(device: torch.device, count: int = 1000) -> tuple[float, float]:
    """Launch time in seconds of an empty kernel: eager, and in a graph."""
    x = torch.zeros((), device=device)

    def work() -> torch.Tensor:
        for _ in range(count):
            x.add_(1)
        return x

    alone = _best(work, device)
    return alone / count, _best(as_graph(work), device) / count


def limit(case: Case, machine: Machine, kernels: int | None = None) -> dict[str, float | str]:
    """Rows per second that memory, arithmetic and launches allow, the binding one, and their parts.

    Memory: ids; embeddings gathered, and gradients written and read; the optimizer's rows; activations four
    times. Arithmetic: three times the forward pass. Launches, on a GPU: the kernels of a step in a graph. The
    fraction of distinct rows in a batch is that of the case's data.
    """
    sizes = sizes_of(case.shape, None if case.search == "optinter" else case.ids)
    fields, size = len(sizes), case.embedding
    ids_NF, _ = draw(sizes, case.batch)
    distinct = sum(len(np.unique(ids_NF[:, f])) for f in range(fields)) / (case.batch * fields)
    pairs = [comb(fields, order) for order in case.orders]
    gated = 0 if case.model in ("fm", "deepfm") else sum(pairs)
    row = FLOAT * size
    state = {"adam": 0, "lazy_adam": 6 * row, "rowwise_adagrad": 2 * row + 2 * FLOAT}[case.optimizer]
    widths: list[int] = []
    if case.model not in ("fm", "autofm", "autoint"):
        widths = [fields * size + (sum(pairs) if case.model == "ipnn" else 0), *case.hidden, 1]
    moved = fields * (FLOAT + 4 * row + distinct * state) + FLOAT
    moved += PASSES * FLOAT * (fields * size + gated + sum(widths[1:]))
    if case.optimizer == "adam":
        moved += 8 * row * sum(sizes) / case.batch  # the whole table: w, g, m and v, each read and written
    work = 3 * 2 * sum(n * m for n, m in pairwise(widths))
    work += 3 * (
        4 * fields * size if not gated else sum(o * p * size for o, p in zip(case.orders, pairs, strict=True))
    )
    if case.search == "optinter":
        crosses, cross_size = 325, 10
        work += 3 * 2 * crosses * cross_size * (case.hidden[0] + 2)
        moved += crosses * FLOAT * cross_size * (4 + 6 * distinct + 3 * PASSES)
    if case.model == "autoint":
        dims = [size] + [128] * 6
        work = 3 * sum(2 * fields * (4 * n * m + 2 * fields * m) for n, m in pairwise(dims))
        moved += PASSES * FLOAT * 6 * (5 * fields * 128 + 2 * 4 * fields * fields)
    flops = machine.flops.get(case.precision, machine.flops["float32"])
    rates = {"memory": machine.copy_bytes / moved, "compute": flops / max(work, 1)}
    if kernels and machine.graph_seconds and machine.launch_seconds:
        rates["launch"] = case.batch / (kernels * machine.graph_seconds)
        unbound = {"launch without graphs": case.batch / (kernels * machine.launch_seconds)}
    else:
        unbound = {}
    binding = min(rates, key=rates.__getitem__)
    return {
        "binding": binding,
        "rows_per_second": rates[binding],
        **rates,
        **unbound,
        "bytes_per_row": moved,
        "flops_per_row": work,
    }


def describe(machine: Machine) -> dict[str, object]:
    """For the result file."""
    return asdict(machine)


def _best(work: Callable[[], object], device: torch.device, times: int = 7) -> float:
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    return min(seconds)
