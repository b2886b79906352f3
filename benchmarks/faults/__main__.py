"""Kills, flipped bytes, scarce resources, hostile input and fuzzing, against the commands of ctrloom.

    python benchmarks/faults [--only kills containers flips resources hostile fuzz] [--kills 120]
                             [--container-kills 10] [--flips 5000] [--fuzz-seconds 300] [--seed 0]
                             [--scenarios retrain serve ...]
                             [--output benchmarks/results/faults-<date>.md] [--join part.jsonl ...]

Everything runs on the smallest data, on one core. Commands are forks of a process that has imported ctrloom;
a fault is chosen at random, from `--seed`. Next to the table, a file `.jsonl` has the counts, one by one;
`--join` makes one table of several of them, without trying anything. The exit status is 1 if anything was
silently wrong or lost, ended in a traceback, or did not end.
"""

import argparse
import datetime
import os
import random
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))
sys.path.append(str(Path(__file__).parents[2] / "tests"))

from containers import container_kills
from flips import flips
from fuzzing import fuzzing
from hostile import assets, corpus
from kills import kills
from machine import describe
from outcome import Tally, read_tally
from program import Program, program
from report import failed, report
from resources import resources
from serving_kills import serving_kills
from warm import IMPORTED
from workspace import Workspace

KINDS = ("hostile", "flips", "kills", "containers", "resources", "fuzz")
IN_WORKSPACE = {"flips", "kills", "containers", "resources"}


def tallies(chosen: argparse.Namespace, folder: Path, commands: Program) -> Iterator[Tally]:
    """What was tried, kind by kind."""
    rng = random.Random(chosen.seed)
    if "hostile" in chosen.only:
        assets.make(folder / "assets")
        yield from corpus(commands, folder, folder / "assets")
    if IN_WORKSPACE & {*chosen.only}:
        workspace = Workspace(folder / "work", commands)
        workspace.make_files()
        if "containers" in chosen.only:
            yield from container_kills(workspace, chosen.container_kills, rng)
        if IN_WORKSPACE - {"containers"} & {*chosen.only}:
            workspace.prepare(chosen.scenarios)
        if "kills" in chosen.only:
            yield from kills(workspace, chosen.kills, rng, chosen.scenarios)
            if not chosen.scenarios or "serve" in chosen.scenarios:
                yield from serving_kills(workspace, max(3, chosen.kills // 12), rng)
        if "flips" in chosen.only:
            yield from flips(workspace, chosen.flips, rng, chosen.scenarios)
        if "resources" in chosen.only:
            yield from resources(workspace, rng)
    if "fuzz" in chosen.only:
        yield from fuzzing(folder / "fuzz", chosen.fuzz_seconds, chosen.targets)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--kills", type=int, default=120)
    parser.add_argument("--container-kills", type=int, default=10, help="of a run in containers")
    parser.add_argument("--flips", type=int, default=5_000)
    parser.add_argument("--fuzz-seconds", type=float, default=300)
    parser.add_argument("--targets", nargs="+", help="parsers to fuzz; all by default")
    parser.add_argument("--scenarios", nargs="+", default=(), help="of kills and flips; all by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--join", nargs="+", type=Path, metavar="PART", help="files .jsonl of runs")
    chosen = parser.parse_args()
    day = datetime.date.today().isoformat()
    output = chosen.output or Path(__file__).parents[1] / "results" / f"faults-{day}.md"
    if chosen.join:
        found = [read_tally(line) for part in chosen.join for line in part.read_text().splitlines()]
    else:
        found = run(chosen, output.with_suffix(".jsonl"))
    command = f"python benchmarks/faults {' '.join(sys.argv[1:])}".strip()
    output.write_text(report(found, describe("torch", "pyarrow"), command), encoding="utf-8")
    print(f"{sum(each.tried for each in found)} faults, {failed(found)} failures: {output}")
    sys.exit(1 if failed(found) else 0)


def run(chosen: argparse.Namespace, record: Path) -> list[Tally]:
    """Try everything; `record` receives each count at once."""
    os.environ.update(CTRLOOM_DEVICE="cpu", OMP_NUM_THREADS="1")
    for name in IMPORTED:  # workers are forks of this process
        __import__(name)
    found = []
    with tempfile.TemporaryDirectory(prefix="ctrloom-faults-") as name, open(record, "w") as lines:
        with program(Path(name) / "warm") as commands:
            for tally in tallies(chosen, Path(name), commands):
                found.append(tally)
                lines.write(tally.as_json() + "\n")
                lines.flush()
                counts = ", ".join(f"{count} {outcome}" for outcome, count in tally.counts.items())
                print(f"{tally.kind}, {tally.what}: {counts or 'not run: ' + tally.not_run}", flush=True)
    return found


if __name__ == "__main__":
    main()
