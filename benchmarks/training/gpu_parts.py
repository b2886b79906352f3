"""Time of a training step on a GPU, by kernel.

    python benchmarks/training/gpu_parts.py [--only IPNN] [--steps 60]

PyTorch's profiler records the start and end of each kernel while captured steps are replayed, which does not
slow them down. `busy` is the sum over the kernels of a step, `step` the wall time of a step without the
profiler: the difference is the gaps between kernels, minus the time in which kernels overlap.
"""

import argparse
import datetime
import gc
import re
import sys
import time
from dataclasses import asdict
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))

import torch
from cases import ON_GPU, Case
from machine import describe, on
from ours import search, train, wait
from shapes import sizes_of
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

KINDS = {  # by names of kernels; the first that matches
    "rows looked up": "^_gather|gather_kernel|scatter_gather|^_cross_rows",
    "order of rows": "RadixSort|fill_reverse_indices",
    "rows updated": "^_within|^_across|^_begin",
    "products of fields": "^_values|^_gradients|^_pair_sum|^_mixture",
    "gates": "^_gate",
    "matrix products": "gemm|nvjet|gemv|splitK|^_widen",
    "dense Adam": "Optimizer",
    "norms and sums": "reduce_kernel|[Nn]orm|GammaBeta",
}


def explain(case: Case, steps: int) -> str:
    """A line of the table."""
    sizes = sizes_of(case.shape, None if case.search == "optinter" else case.ids)
    task = asdict(case) | {"sizes": sizes, "steps": steps, "rows": steps * case.batch, "threads": 1}
    _, calls, _ = (search if case.search else train)(task)
    call, device = calls.get("step", calls["loop"]), torch.device("cuda")
    call()  # captures
    wait(device)
    began = time.perf_counter()
    call()
    wait(device)
    took = 1e6 * (time.perf_counter() - began) / steps
    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        call()
        wait(device)
    times, kernels = dict.fromkeys([*KINDS, "everything else"], 0.0), 0
    for event in seen.events() or ():
        if event.device_type == DeviceType.CUDA:
            times[kind_of(event.name)] += event.device_time / steps
            kernels += 1
    parts = " | ".join(f"{taken:.0f}" for taken in times.values())
    rate, busy = case.batch / took * 1e6, sum(times.values())
    return f"| {case.name} | {rate:,.0f} | {took:.0f} | {busy:.0f} | {kernels / steps:.0f} | {parts} |"


def kind_of(kernel: str) -> str:
    """The kind of a kernel."""
    return next((kind for kind, names in KINDS.items() if re.search(names, kernel)), "everything else")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="cases with this in their name")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--output", type=Path, default=Path(__file__).parents[1] / "results")
    given = parser.parse_args()
    lines = [
        "# What a step on a GPU goes into",
        "",
        f"`python benchmarks/training/gpu_parts.py --steps {given.steps}`, {datetime.date.today()}, "
        f"{on('cuda')}. {describe('torch', 'triton')}. Microseconds of a step.",
        "",
        f"| work | rows/s | step | busy | kernels | {' | '.join([*KINDS, 'everything else'])} |",
        "|---|" + "--:|" * (len(KINDS) + 5),
    ]
    for case in ON_GPU:
        if given.only.lower() in case.name.lower():
            lines.append(explain(case, given.steps))
            print(lines[-1], flush=True)
            gc.collect()
            torch.cuda.empty_cache()
    target = given.output / f"step-parts-cuda-{datetime.date.today()}.md"
    target.write_text("\n".join([*lines, ""]))
    print(target)


if __name__ == "__main__":
    main()
