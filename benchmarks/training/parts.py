"""Time of a training step by operation, and the rate of its matrix products on their own.

    python benchmarks/training/parts.py [--threads 2] [--only IPNN]

Every operation of a step is timed as it runs. Matrix products are then repeated individually with the same
numbers: this is the rate that their sizes allow, and the difference to the rate of large square products is
the cost of their sizes.
"""

import argparse
import datetime
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

import torch
from cases import CASES, Case
from limits import Machine, measure
from machine import describe
from ours import train
from shapes import sizes_of
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

KINDS = {
    "matrix products": ("mm", "addmm", "bmm", "baddbmm"),
    "rows of tables": (
        "embedding",
        "index_select",
        "index_copy_",
        "index_copy",
        "gather",
        "_index_put_impl_",
    ),
    "sort": ("sort", "nonzero", "unique_dim", "_unique2"),
    "sums of equal rows": ("_embedding_bag", "_embedding_bag_forward_only"),
    "dense Adam": ("_fused_adam_",),
    "casts and copies": ("_to_copy", "copy_", "clone", "cat", "fill_", "zero_", "zeros", "zeros_like"),
}
STEPS = 5


class Timed(TorchDispatchMode):
    """Sums the seconds of every operation, and records the matrix products to repeat them."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: dict[str, float] = defaultdict(float)
        self.products: list[tuple[Any, tuple[Any, ...], dict[str, Any]]] = []
        self.flops = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        began = time.perf_counter()
        out = func(*args, **kwargs)
        taken = time.perf_counter() - began
        name = func._schema.name.removeprefix("aten::")
        kind = next((kind for kind, names in KINDS.items() if name in names), "everything else")
        self.seconds[kind] += taken
        if kind == "matrix products":
            self.flops += flop_registry[func.overloadpacket](*args, **kwargs, out_val=out)
            self.products.append((func, args, kwargs))
        return out


def explain(case: Case, machine: Machine, threads: int) -> str:
    """One row of the table."""
    torch.set_num_threads(threads)
    task = asdict(case) | {"steps": STEPS, "rows": STEPS * case.batch, "threads": threads}
    _, calls, _ = train(task | {"sizes": sizes_of(case.shape, case.ids)})
    step = calls["step"]
    step()
    plain = min(_seconds(step) for _ in range(3)) / STEPS
    timed = Timed()
    with timed:
        step()
    total = sum(timed.seconds.values())
    alone = sum(
        min(_seconds(lambda f=f, a=a, k=k: f(*a, **k)) for _ in range(3)) for f, a, k in timed.products
    )
    shares = [f"{timed.seconds[kind] / total:.0%}" for kind in [*KINDS, "everything else"]]
    rate, own = (timed.flops / s / 1e9 if s else 0 for s in (timed.seconds["matrix products"], alone))
    best = machine.flops[case.precision] / 1e9
    bound = timed.flops / STEPS / plain / 1e9
    return (
        f"| {case.name} | {1000 * plain:.1f} | {' | '.join(shares)} | {rate:.0f} | {own:.0f} | {best:.0f} "
        f"| {bound / best:.0%} |"
    )


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", default="", help="cases with this in their name")
    given = parser.parse_args()
    machine = measure(given.threads)
    chosen = [case for case in CASES if not case.search and given.only in case.name]
    kinds = [*KINDS, "everything else"]
    lines = [
        "# What a training step's time goes into",
        "",
        f"`python benchmarks/training/parts.py`, {datetime.date.today().isoformat()}. "
        f"{describe('torch', 'numpy')}; {given.threads} thread(s).",
        "",
        f"{machine.copy_bytes / 1e9:.0f} GB/s copied, {machine.gathered_rows / 1e6:.0f} million rows of 20 "
        "floats gathered a second. Shares are of the time inside operations, each timed as it runs. "
        "GFLOP/s are those of the matrix products: within the step, repeated alone with the same "
        "numbers, and of large square ones; last, those of the whole step as a share of the large ones'.",
        "",
        f"| work | step, ms | {' | '.join(kinds)} | GFLOP/s in the step | alone | large | step of large |",
        "|---|" + "--:|" * (len(kinds) + 5),
    ]
    for case in chosen:
        lines.append(explain(case, machine, given.threads))
        print(lines[-1], flush=True)
    name = f"step-parts-{machine.device}-{datetime.date.today().isoformat()}.md"
    (Path(__file__).parents[1] / "results" / name).write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
