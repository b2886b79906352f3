"""What libraries alone need for each part of ingest and encoding, per row, on one thread.

    python benchmarks/ingest_parts.py [--rows 300000]

The parts are those that ctrloom's stages are made of, called by themselves on rows that are in memory: what
is left of the time of `benchmarks/ingest.py` beyond their sum is ctrloom's own.
"""

import argparse
import datetime
import hashlib
import io
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from ingest_memory import MIN_COUNT, generate
from machine import describe
from pyarrow import csv

BLOCK = 4 << 20
GROUP = 32_768
NUMBERS, TOKENS = [f"I{i}" for i in range(1, 14)], [f"C{i}" for i in range(1, 27)]
NAMES = ["label", *NUMBERS, *TOKENS]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=300_000)
    given = parser.parse_args()
    pa.set_cpu_count(1)
    lines: list[str] = []

    def timed(what: str, work: Callable[[], object], rows: int) -> object:
        """Best of three, after one to warm up."""
        found, best = work(), float("inf")
        for _ in range(3):
            began = time.process_time()
            found = work()
            best = min(best, time.process_time() - began)
        lines.append(f"| {what} | {1e6 * best / rows:.2f} |")
        print(lines[-1], flush=True)
        return found

    with tempfile.TemporaryDirectory() as folder:
        path, typed_file = Path(folder) / "rows.tsv", Path(folder) / "typed.parquet"
        generate(path, given.rows)
        data = path.read_bytes()
        blocks = _blocks(data)
        timed("checksum of the text", lambda: hashlib.sha256(data).digest(), given.rows)
        cells = timed("lines to cells (Arrow)", lambda: [_cells(block) for block in blocks], given.rows)
        typed = timed(
            "cells to text and numbers, missing ones found", lambda: [_typed(t) for t in cells], given.rows
        )
        whole = pa.concat_tables(typed).combine_chunks()
        train = pa.array(np.random.default_rng(0).random(given.rows) < 0.8)
        timed(
            "rows to their splits", lambda: (whole.filter(train), whole.filter(pc.invert(train))), given.rows
        )
        timed("typed Parquet written (zstd)", lambda: _written(whole, typed_file), given.rows)
        connection = duckdb.connect()
        connection.execute("SET threads = 1")
        timed(
            "values counted, over all rows and over those to train (DuckDB)",
            lambda: [_counted(connection, typed_file, name) for name in NUMBERS + TOKENS for _ in range(2)],
            given.rows,
        )
        read = lambda: pq.ParquetFile(typed_file, read_dictionary=TOKENS).read(use_threads=False)  # noqa: E731
        again = timed("typed Parquet read", read, given.rows).unify_dictionaries().combine_chunks()  # type: ignore[attr-defined]
        known = {name: _frequent(again[name]) for name in TOKENS}
        ids = timed("tokens to ids", lambda: [_ids(again[name], known[name]) for name in TOKENS], given.rows)
        encoded = pa.table([*ids, *ids[: len(NUMBERS)]], TOKENS + NUMBERS)  # type: ignore[index]
        timed("encoded Parquet written (zstd)", lambda: _ids_written(encoded), given.rows)
    total = sum(float(line.split("|")[2]) for line in lines)
    text = [
        "# What each part of ingest costs by itself",
        "",
        f"`python benchmarks/ingest_parts.py`, {datetime.date.today().isoformat()}. "
        f"{describe('pyarrow', 'duckdb', 'numpy')}; "
        f"one thread, {given.rows:,} rows of `benchmarks/ingest.py`.",
        "",
        "| part | microseconds a row |",
        "|---|--:|",
        *lines,
        f"| **sum** | **{total:.2f}** |",
    ]
    name = f"ingest-parts-{datetime.date.today().isoformat()}.md"
    (Path(__file__).parent / "results" / name).write_text("\n".join(text) + "\n")


def _blocks(data: bytes) -> list[bytes]:
    found, start = [], 0
    while start < len(data):
        stop = data.rfind(b"\n", start, start + BLOCK) + 1
        found.append(data[start:stop])
        start = stop
    return found


def _cells(block: bytes) -> pa.Table:
    return csv.read_csv(
        pa.BufferReader(block),
        csv.ReadOptions(column_names=NAMES, use_threads=False, block_size=len(block) + 1),
        csv.ParseOptions(delimiter="\t"),
        csv.ConvertOptions(column_types=dict.fromkeys(NAMES, pa.binary()), strings_can_be_null=False),
    )


def _typed(cells: pa.Table) -> pa.Table:
    missing, columns = pa.array([""]), {}
    for name in NAMES:
        text = cells[name].combine_chunks().cast(pa.string())
        known = pc.if_else(pc.is_in(text, missing), None, text)
        columns[name] = known if name in TOKENS else known.cast(pa.float64())
    return pa.table(columns)


def _written(rows: pa.Table, path: Path) -> None:
    pq.write_table(rows, path, row_group_size=GROUP, compression="zstd", write_page_checksum=True)


def _counted(connection: duckdb.DuckDBPyConnection, path: Path, name: str) -> int:
    counts = f"SELECT {name}, count(*) AS n, sum(label) FROM '{path}' WHERE {name} IS NOT NULL GROUP BY 1"
    (found,) = connection.execute(f"SELECT count(*) FROM ({counts}) WHERE n >= {MIN_COUNT}").fetchone() or (
        0,
    )
    return int(found)


def _frequent(column: pa.ChunkedArray) -> pa.Array:
    counts = pc.value_counts(column.combine_chunks().cast(pa.string()))
    return counts.field("values").filter(pc.greater_equal(counts.field("counts"), MIN_COUNT))


def _ids(column: pa.ChunkedArray, known: pa.Array) -> pa.Array:
    coded = column.combine_chunks()
    coded = coded.chunk(0) if isinstance(coded, pa.ChunkedArray) else coded
    return pc.fill_null(pc.index_in(coded.dictionary, value_set=known).take(coded.indices), -1)


def _ids_written(rows: pa.Table) -> None:
    options = {"use_byte_stream_split": rows.schema.names, "use_dictionary": False, "compression": "zstd"}
    pq.write_table(rows, io.BytesIO(), row_group_size=GROUP, write_page_checksum=True, **options)


if __name__ == "__main__":
    main()
