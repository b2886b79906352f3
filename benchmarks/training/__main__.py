"""Speed of training and searching compared with peers: `python benchmarks/training --help`.

Each case and its peer run in separate processes. Both prepare and then alternate, and the limits of the
machine are measured in every turn too, so that other load affects all equally: the table has median ratios of
adjacent turns.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from functools import cached_property, partial
from operator import itemgetter
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parent.parent))

import numpy as np
import torch
from cases import CASES, ON_GPU, Case, tiny
from limits import Machine, limit, measure
from result import write
from shapes import draw, sizes_of

HERE = Path(__file__).parent


class Process:
    """A worker process that runs calls on request."""

    def __init__(self, command: list[str], threads: int, device: str) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONWARNINGS": "ignore"}
        environment["CTRLOOM_DEVICE"] = device
        paths = [str(HERE), str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment["PYTHONPATH"] = os.pathsep.join(paths)
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  # open while the process is
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            env=environment,
        )

    @cached_property
    def facts(self) -> dict[str, Any]:
        """Its answer after preparation; ours starts to prepare on this call, a peer at once."""
        return self.call("prepare")

    def call(self, name: str) -> dict[str, Any]:
        """Run one call and return its timing."""
        assert self.process.stdin
        with suppress(BrokenPipeError):  # it exited; its error output is read below
            print(name, file=self.process.stdin, flush=True)
        return self._answer()

    def end(self) -> None:
        """Close its input and wait for it to exit."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()
        self.errors.close()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout
        for line in self.process.stdout:
            if line.startswith("{"):  # skip other output of a peer
                answer: dict[str, Any] = json.loads(line)
                return answer
        self.process.wait()
        self.errors.seek(0)
        raise RuntimeError("\n".join(self.errors.read().splitlines()[-15:]))


def ready(case: Case, arguments: argparse.Namespace, home: Path) -> dict[str, Process]:
    """Start the processes of a case."""
    sizes = sizes_of(case.shape, None if case.search == "optinter" else case.ids)
    task = asdict(case) | {
        "sizes": sizes,
        "rows": arguments.steps * case.batch,
        "steps": arguments.steps,
        "threads": arguments.threads,
        "data": str(home / "rows.npz"),
    }
    if case.peer:
        ids_NF, label_N = draw(sizes, task["rows"])
        np.savez(task["data"], ids=ids_NF, label=label_N)
    start = partial(Process, threads=arguments.threads, device=arguments.device)
    processes = {"ours": start([sys.executable, str(HERE / "ours.py"), json.dumps(task)])}
    clone = getattr(arguments, case.peer, None) if case.peer else None
    if case.peer == "gather":
        processes["peer"] = start([sys.executable, str(HERE / "peers/gather.py"), json.dumps(task)])
    elif case.peer and arguments.peer_python and (clone or case.peer == "deepctr"):
        command = [arguments.peer_python, str(HERE / f"peers/{case.peer}.py"), json.dumps(task)]
        processes["peer"] = start([*command, *([str(clone)] if clone else [])])
    return processes


def run(
    case: Case, processes: dict[str, Process], rounds: int, measured: Callable[[], Machine]
) -> dict[str, Any]:
    """One line of the table."""
    answers: dict[str, dict[str, list[dict[str, Any]]]] = {}
    bounds: list[dict[str, Any]] = []
    for _ in range(rounds):
        for who, process in processes.items():
            for call in process.facts["calls"]:
                answers.setdefault(call, {}).setdefault(who, []).append(process.call(call))
        bounds.append(limit(case, measured(), processes["ours"].facts.get("kernels")))
    for process in processes.values():
        process.end()
    line: dict[str, Any] = {
        "case": asdict(case),
        "parameters": processes["ours"].facts["parameters"],
        "kernels": processes["ours"].facts.get("kernels"),
        "calls": {},
        "limit": sorted(bounds, key=itemgetter("rows_per_second"))[len(bounds) // 2],
    }
    limits = [bound["rows_per_second"] for bound in bounds]
    for call, by in answers.items():
        rates = {who: [a["rows"] / a["seconds"] for a in found] for who, found in by.items()}
        line["calls"][call] = {who: statistics.median(rate) for who, rate in rates.items()} | {
            "cpu": {who: statistics.median(a["rows"] / a["cpu_seconds"] for a in f) for who, f in by.items()},
            "of_limit": statistics.median(a / b for a, b in zip(rates["ours"], limits, strict=True)),
        }
        if "peer" in rates:
            ratios = [mine / theirs for mine, theirs in zip(rates["ours"], rates["peer"], strict=True)]
            line["calls"][call]["ratio"] = statistics.median(ratios)
    line["peak_mib"] = {
        who: max(a["peak_mib"] for f in answers.values() for a in f.get(who, [])) for who in processes
    }
    return line


def run_scripts(arguments: argparse.Namespace) -> None:
    """Further GPU benchmarks: growth.py and whole.py."""
    for name, sizes in (("growth", ["--rows", "1", "--ids", "1"]), ("whole", ["--rows", "20000"])):
        if arguments.only.lower() in name:
            command = [sys.executable, str(HERE.parent / f"{name}.py"), "--device", arguments.device]
            command += ["--output", str(arguments.output), "--threads", str(arguments.threads)]
            subprocess.run([*command, *(sizes if arguments.tiny else [])], check=True)


def main() -> None:
    """Measure the machine, then the cases, and write the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="only cases whose name contains this")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="by default a GPU if there is one")
    parser.add_argument("--cases", choices=("cpu", "cuda"), help="by default those of the device")
    parser.add_argument("--tiny", action="store_true", help="smoke test: hardly any work")
    parser.add_argument("--steps", type=int, help="steps per measured call; by default 10, on a GPU 300")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each process")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--peer-python", help="an interpreter with the packages that peers need")
    parser.add_argument("--fuxictr", type=Path, help="a clone of github.com/reczoo/FuxiCTR")
    parser.add_argument("--vega", type=Path, help="a clone of github.com/huawei-noah/vega")
    parser.add_argument("--optinter", type=Path, help="a clone of github.com/fuyuanlyu/OptInter")
    parser.add_argument("--output", type=Path, default=HERE.parent / "results")
    arguments = parser.parse_args()
    arguments.device = arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")
    arguments.cases = arguments.cases or arguments.device
    arguments.steps = arguments.steps or (300 if arguments.device == "cuda" else 10)
    arguments.output.mkdir(parents=True, exist_ok=True)
    size = 2**16 if arguments.tiny else 2**28 if arguments.device == "cuda" else 2**26
    measured = partial(measure, arguments.threads, torch.device(arguments.device), size)
    machine = measured()
    print(machine, flush=True)
    lines = []
    with tempfile.TemporaryDirectory() as home:
        every = CASES if arguments.cases == "cpu" else ON_GPU
        chosen = [case for case in every if arguments.only.lower() in case.name.lower()]
        chosen = [tiny(case) for case in chosen] if arguments.tiny else chosen
        start = partial(ready, arguments=arguments, home=Path(home))
        # GPU cases start together: loading libraries takes longer than measuring.
        begun = [start(case) for case in chosen] if arguments.cases == "cuda" else map(start, chosen)
        for case, processes in zip(chosen, begun, strict=True):
            try:
                line = run(case, processes, arguments.rounds, measured)
            except RuntimeError as error:
                print(f"{case.name}: failed\n{error}", file=sys.stderr, flush=True)
                continue
            lines.append(line)
            print(case.name, json.dumps({k: line[k] for k in ("calls", "limit", "peak_mib")}), flush=True)
            write(lines, machine, arguments)  # after each case, so that an interrupted run keeps its results
    if arguments.cases == "cuda":
        run_scripts(arguments)


if __name__ == "__main__":
    main()
