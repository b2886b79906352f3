"""CPU seconds until a command or a pipeline step can begin its work, next to the import of torch.

    python benchmarks/startup.py [--runs 7] [--output benchmarks/results/startup-<date>.md]

A step is a process as KFP starts it: KFP's executor, and the stage that the component calls. All cases are
measured in turn, `--runs` times, and the median of each is reported: machines are noisy.
"""

import argparse
import datetime
import os
import statistics
import subprocess
import sys
from pathlib import Path

from machine import describe

STEPS = (
    "ingest",
    "vocabulary",
    "search",
    "aim_search_embeddings",
    "retrain",
    "bundle",
    "evaluate",
    "run_job",
    "tabulate",
    "champion",
    "grow",
    "drift",
    "refresh",
    "gate",
    "promote",
    "regression",
)
LIMIT = 1.0  # CPU seconds of a step, beyond those of torch
HELP_LIMIT = 0.4
EXECUTOR = "import os; os.environ['_KFP_RUNTIME'] = 'true'; from kfp.dsl import executor_main"
MORE = {"search": "; import ctrloom.methods.autofis"}  # the method is loaded when the search begins
CASES = {
    "python": ["-c", ""],
    "import torch": ["-c", "import torch"],
    "import ctrloom": ["-c", "import ctrloom"],
    "ctrloom --help": ["-m", "ctrloom", "--help"],
    **{
        f"step {step}": ["-c", f"{EXECUTOR}; from ctrloom import stages; stages.{step}{MORE.get(step, '')}"]
        for step in STEPS
    },
}


def seconds(arguments: list[str]) -> float:
    """CPU seconds, of the user and of the system, of one process."""
    before = os.times()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def report(measured: dict[str, list[float]], runs: int) -> str:
    """A Markdown table; the last column is what a step needs beyond torch."""
    median = {case: statistics.median(values) for case, values in measured.items()}
    torch = median["import torch"]
    beyond = {case: value - torch for case, value in median.items() if case.startswith("step")}
    lines = [
        f"# Start-up, {datetime.date.today().isoformat()}",
        "",
        describe("torch", "kfp", "pyarrow", "scipy"),
        "",
        f"`python benchmarks/startup.py --runs {runs}`: CPU seconds (user and system), median and range.",
        "",
        "| process | CPU seconds | lowest and highest | beyond torch |",
        "|---|---|---|---|",
    ]
    for case, values in measured.items():
        extra = f"{beyond[case]:.2f}" if case in beyond else ""
        lines.append(f"| {case} | {median[case]:.2f} | {min(values):.2f} to {max(values):.2f} | {extra} |")
    slowest = max(beyond, key=beyond.__getitem__)
    lines += [
        "",
        f"`ctrloom --help`: {median['ctrloom --help']:.2f} s (the aim is {HELP_LIMIT} s). "
        f"The slowest step is {slowest.removeprefix('step ')}: {beyond[slowest]:.2f} s beyond torch "
        f"(the aim is {LIMIT:.0f} s).",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    measured: dict[str, list[float]] = {case: [] for case in CASES}
    for _ in range(given.runs):
        for case, arguments in CASES.items():
            measured[case].append(seconds(arguments))
    text = report(measured, given.runs)
    print(text)
    if given.output:
        given.output.write_text(text)


if __name__ == "__main__":
    main()
