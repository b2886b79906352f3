"""Peak memory and speed of ingest and vocabulary on a text file and on one that is ten times larger.

    python benchmarks/ingest_memory.py [--rows 1000000] [--folder /tmp/ingest-memory]

Each run is a separate process, to measure its peak resident size. The data have the shape of the Criteo
display-advertising logs: a label, 13 skewed integers with missing values, 26 tokens with frequencies
proportional to 1/rank.
"""

import argparse
import datetime
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import fast  # noqa: F401
import numpy as np
from machine import describe
from memory import peak_mib

TOKENS = [1460, 583, 10_131_227, 2_202_608, 305, 24, 12_517, 633, 3, 93_145, 5683, 8_351_593, 3194]
TOKENS += [27, 14_992, 5_461_306, 10, 5652, 2173, 4, 7_046_547, 18, 15, 286_181, 105, 142_572]
MISSING = [0.45, 0, 0.21, 0.22, 0.03, 0.22, 0.04, 0, 0.04, 0.45, 0.04, 0.77, 0.22]
CHUNK = 100_000
CONFIG = {
    "format": "tsv",
    "header": False,
    "columns": {"label": "label", "I1..I13": "numeric", "C1..C26": "categorical"},
}
MIN_COUNT = 10


def generate(path: Path, rows: int) -> None:
    """Write a file of `rows` rows."""
    import pyarrow as pa  # late: ctrloom, imported first, selects Arrow's allocator
    from pyarrow import csv

    rng = np.random.default_rng(7)
    with open(path, "wb") as file:
        for start in range(0, rows, CHUNK):
            n = min(CHUNK, rows - start)
            columns = [pa.array((rng.random(n) < 0.25).astype(np.int8))]
            for i, share in enumerate(MISSING):
                numbers = np.floor(np.exp(rng.normal(1 + i % 4, 1.6, n))).astype(np.int64)
                columns.append(pa.array(numbers, mask=rng.random(n) < share))
            for field, size in enumerate(TOKENS):
                rank = np.exp(rng.random(n) * np.log(size + 1)).astype(np.int64) - 1
                hashed = (rank * 2_654_435_761 + field * 97_561) % 2**32
                hexadecimal = np.frombuffer(hashed.astype(">u4").tobytes().hex().encode(), "S8").astype("U8")
                columns.append(pa.array(hexadecimal))
            table = pa.table(columns, names=[str(i) for i in range(40)])
            options = csv.WriteOptions(include_header=False, delimiter="\t", quoting_style="none")
            csv.write_csv(table, file, options)


def measure(path: Path, store: Path) -> dict[str, float]:
    """Ingest and encode one file in this process."""
    from ctrloom.config import DataConfig, VocabularyConfig
    from ctrloom.data.ingest.run import ingest
    from ctrloom.data.manifest import EncodedManifest, IngestedManifest
    from ctrloom.data.vocabulary.build import build_vocabulary

    config = DataConfig.parse({**CONFIG, "files": str(path)}, "benchmark")
    began = time.perf_counter()
    ingested = ingest(config, store)
    middle, peak = time.perf_counter(), peak_mib()
    encoded = build_vocabulary(ingested, VocabularyConfig(min_count=MIN_COUNT), store)
    ended = time.perf_counter()
    manifest, _ = EncodedManifest.load(encoded)
    before, _ = IngestedManifest.load(ingested)
    return {
        "megabytes": path.stat().st_size / 1e6,
        "rows": sum(manifest.rows.values()),
        "quarantined": before.quarantined,
        "tokens": sum(part.rows for part in manifest.encoder),
        "ingest_seconds": middle - began,
        "vocabulary_seconds": ended - middle,
        "ingest_peak_mib": peak,
        "peak_mib": peak_mib(),
    }


def in_child(path: Path, store: Path, counts: int) -> dict[str, float]:
    """Run `measure` in a child process, with at most `counts` MiB of value counts in memory."""
    command = [sys.executable, __file__, "--child", str(path), str(store), "--counts", str(counts)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(done.stdout))


def report(results: list[dict[str, float]]) -> str:
    """The results as Markdown."""
    small, large = results
    growth = large["peak_mib"] / small["peak_mib"] - 1
    lines = [
        "# Peak memory of ingest and vocabulary",
        "",
        f"`python benchmarks/ingest_memory.py`, {datetime.date.today().isoformat()}. "
        f"{describe('pyarrow', 'duckdb', 'ibis-framework', 'numpy')}.",
        "",
        f"Generated text: label, 13 integers, 26 tokens; min_count {MIN_COUNT}, random split.",
        "Peak is the largest resident size of the process, libraries included. One run each; "
        f"load average {os.getloadavg()[1]:.1f} from this and other work.",
        "",
        "| file | rows | tokens kept | ingest | vocabulary and encoding | peak after ingest | peak |",
        "|--:|--:|--:|--:|--:|--:|--:|",
    ]
    lines += [
        f"| {r['megabytes']:,.0f} MB | {r['rows']:,} | {r['tokens']:,} "
        f"| {r['ingest_seconds']:.1f} s ({r['rows'] / r['ingest_seconds']:,.0f} rows/s) "
        f"| {r['vocabulary_seconds']:.1f} s ({r['rows'] / r['vocabulary_seconds']:,.0f} rows/s) "
        f"| {r['ingest_peak_mib']:,.0f} MiB | {r['peak_mib']:,.0f} MiB |"
        for r in results
    ]
    return "\n".join([*lines, "", f"Ten times the input takes {growth:+.0%} memory."]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the smaller file")
    parser.add_argument("--folder", type=Path, default=Path("/tmp/ingest-memory"))
    parser.add_argument("--child", nargs=2, type=Path, help=argparse.SUPPRESS)
    parser.add_argument(
        "--counts", type=int, default=32, help="MiB of value counts in memory: the smaller file fills it"
    )
    arguments = parser.parse_args()
    if arguments.child:
        from ctrloom.data.vocabulary import count_writer

        count_writer.MOST_BYTES = arguments.counts << 20
        print(json.dumps(measure(*arguments.child)))
        return
    arguments.folder.mkdir(parents=True, exist_ok=True)
    results = []
    for times in (1, 10):
        path = arguments.folder / f"{times}.tsv"
        generate(path, times * arguments.rows)
        results.append(in_child(path, arguments.folder / f"store-{times}", arguments.counts))
        path.unlink()
    text = report(results)
    name = f"ingest-memory-{datetime.date.today().isoformat()}.md"
    (Path(__file__).parent / "results" / name).write_text(text)
    print(text)
    if results[1]["peak_mib"] > 1.3 * results[0]["peak_mib"]:
        sys.exit("ten times the input took more than 30% more memory")


if __name__ == "__main__":
    main()
