"""Text to encoded rows: ctrloom compared with Polars on the same file, and in less memory than the file.

    python benchmarks/ingest.py --peer-python ~/peers/bin/python [--rows 2000000] [--rounds 3] [--limit 1024]

The text has the shape of the Criteo logs; `--text` reads a file of that shape (tab separated,
without a header) instead of generating one, and only prints the results. ctrloom's file also has malformed
lines, which are quarantined (Polars would stop at them). `--limit` runs ctrloom again on a file of `--times`
the rows in a control group of that many MiB, including page cache; it needs permission to create one.
Finally, crosses of pairs of fields are counted on the encoded rows.
"""

import argparse
import datetime
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path
from typing import Any

from ingest_memory import MIN_COUNT, generate, measure
from machine import describe

CROSSED = 30  # pairs
CROSS_MIN_COUNT = 20  # OptInter's on Criteo
MALFORMED = b"0\tno number" + b"\t" * 38 + b"\nfar too short\n"


def crosses(store: Path) -> dict[str, Any]:
    """Pair-rows per second of building cross vocabularies."""
    from ctrloom import storage
    from ctrloom.config import Crosses
    from ctrloom.data.dataset import Dataset
    from ctrloom.data.engines import EMBEDDED
    from ctrloom.data.vocabulary.crosses import build_crosses

    dataset = Dataset.open(next(store.glob("encoded-*/manifest.json")))
    every = list(combinations(dataset.schema.names, 2))
    config = Crosses(pairs=tuple(every[:: len(every) // CROSSED]), min_count=CROSS_MIN_COUNT)
    train = dataset.manifest.paths(dataset.base, "train")
    began = time.perf_counter()
    built, _ = build_crosses(config, dataset.schema, train, storage.place(store / "crosses"), EMBEDDED)
    seconds = time.perf_counter() - began
    pair_rows = len(built) * dataset.rows_in("train")
    return {"pairs": len(built), "kept": sum(each.size for each in built), "rate": pair_rows / seconds}


def child(*arguments: object, python: str = sys.executable) -> dict[str, Any]:
    """The figures that a child process prints, with its CPU seconds."""
    before = os.times()
    done = subprocess.run([python, *map(str, arguments)], check=True, stdout=subprocess.PIPE, text=True)
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return {**json.loads(done.stdout.splitlines()[-1]), "processor_seconds": used}


@contextmanager
def group(mebibytes: int) -> Iterator[Path]:
    """A control group with a memory limit; a process joins it by writing its PID to the file."""
    version1 = Path("/sys/fs/cgroup/memory")
    root = version1 if version1.is_dir() else Path("/sys/fs/cgroup")
    here = root / f"ctrloom-{os.getpid()}"
    here.mkdir()
    try:
        limit = here / ("memory.limit_in_bytes" if root == version1 else "memory.max")
        limit.write_text(str(mebibytes << 20))
        yield here / "cgroup.procs"
    finally:
        here.rmdir()


def damaged(path: Path) -> int:
    """Append malformed lines; returns how many."""
    with open(path, "ab") as file:
        file.write(MALFORMED * 100)
    return 200


def report(runs: list[dict[str, Any]], peers: list[dict[str, Any]], extra: list[str]) -> str:
    """The results as Markdown."""
    rows = runs[0]["rows"]
    lines = [
        "# Text to encoded rows",
        "",
        f"`python benchmarks/ingest.py`, {datetime.date.today().isoformat()}. "
        f"{describe('pyarrow', 'duckdb', 'ibis-framework', 'numpy')}"
        f"{', polars ' + peers[0]['version'] + ' (streaming)' if peers else ''}.",
        "",
        f"{rows:,} rows of text, {runs[0]['megabytes']:,.0f} MB: label, 13 integers, 26 tokens; "
        f"min_count {MIN_COUNT}. Runs in turns; the middle one of {len(runs)}. "
        f"Load average {os.getloadavg()[1]:.1f} at the end.",
        "",
        "| | seconds | rows/s | processor, s | peak memory |",
        "|---|--:|--:|--:|--:|",
    ]
    for name, each in (
        ("ctrloom: ingest, profile, vocabulary, encode", runs),
        ("Polars: count, encode", peers),
    ):
        if each:
            seconds, used, peak = (
                statistics.median(run[key] for run in each)
                for key in ("seconds", "processor_seconds", "peak_mib")
            )
            lines.append(f"| {name} | {seconds:.1f} | {rows / seconds:,.0f} | {used:.1f} | {peak:,.0f} MiB |")
    if peers:
        ratio = statistics.median(p["seconds"] / r["seconds"] for r, p in zip(runs, peers, strict=True))
        lines += ["", f"**{ratio:.2f} times Polars' speed** (median of neighbouring runs)."]
    return "\n".join([*lines, "", *extra]) + "\n"


def _parts(run: dict[str, Any], malformed: int) -> str:
    return (
        f"Ingest with its profile took {run['ingest_seconds']:.1f} s, vocabulary and encoding "
        f"{run['vocabulary_seconds']:.1f} s. {malformed} malformed lines went to quarantine."
    )


def _crossed(built: dict[str, Any]) -> str:
    return (
        f"Crosses of {built['pairs']} pairs, min_count {CROSS_MIN_COUNT}: "
        f"**{built['rate'] / 1e6:.0f} million pair-rows/s**, {built['kept']:,} keys kept."
    )


def _limited(run: dict[str, Any], limit: int) -> str:
    seconds = run["ingest_seconds"] + run["vocabulary_seconds"]
    return (
        f"In a control group of {limit:,} MiB, page cache included: a file of {run['megabytes']:,.0f} MB, "
        f"{run['rows']:,} rows, in {seconds:.1f} s; peak of the process {run['peak_mib']:,.0f} MiB."
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--text", type=Path, help="a file to measure, instead of a generated one")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer-python", help="an interpreter that has polars")
    parser.add_argument("--limit", type=int, help="MiB")
    parser.add_argument("--times", type=int, default=3, help="how much larger the file under --limit is")
    parser.add_argument("--folder", type=Path, default=Path("/tmp/ingest-benchmark"))
    parser.add_argument("--child", nargs=2, type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--crosses", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--group", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.text and given.limit:
        parser.error("--limit generates its own text and cannot be combined with --text")
    if given.group:
        given.group.write_text(str(os.getpid()))
    if given.child or given.crosses:
        found = measure(*given.child) if given.child else crosses(given.crosses)
        print(json.dumps(found))
        return
    shutil.rmtree(given.folder, ignore_errors=True)
    given.folder.mkdir(parents=True)
    clean, dirty, store = (given.folder / name for name in ("clean.tsv", "dirty.tsv", "store"))
    if given.text:
        clean.symlink_to(given.text.resolve())
    else:
        generate(clean, given.rows)
    shutil.copy(clean, dirty)
    malformed, runs, peers = damaged(dirty), [], []
    peer = Path(__file__).with_name("ingest_polars.py")
    for _ in range(given.rounds):
        shutil.rmtree(store, ignore_errors=True)
        run = child(__file__, "--child", dirty, store)
        assert run["quarantined"] == malformed
        runs.append({**run, "seconds": run["ingest_seconds"] + run["vocabulary_seconds"]})
        if given.peer_python:
            out = given.folder / "ids.parquet"
            peers.append(child(peer, clean, out, MIN_COUNT, python=given.peer_python))
    built = child(__file__, "--crosses", store)
    extra = [_parts(runs[-1], malformed), "", _crossed(built)]
    if given.limit:
        generate(clean, given.times * given.rows)
        shutil.rmtree(store, ignore_errors=True)
        with group(given.limit) as member:
            large = child(__file__, "--group", member, "--child", clean, store)
        extra += ["", _limited(large, given.limit)]
    text = report(runs, peers, extra)
    if not given.text:
        name = f"ingest-{datetime.date.today().isoformat()}.md"
        (Path(__file__).parent / "results" / name).write_text(text)
    print(text)
    shutil.rmtree(given.folder)


if __name__ == "__main__":
    main()
