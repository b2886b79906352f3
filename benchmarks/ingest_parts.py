"""The time that libraries need for each part of ingest and encoding, per row, on one thread.

    python benchmarks/ingest_parts.py [--rows 300000]

The parts are those of ctrloom's stages, called individually on rows in memory: the difference between
their sum and the time of `benchmarks/ingest.py` is ctrloom's overhead.
"""

import argparse
import datetime
import hashlib
import io
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from ingest_memory import MIN_COUNT, generate
from machine import describe
from pyarrow import csv

PIECE, PIECES = 4 << 20, 4  # bytes parsed at once; pieces that share a dictionary
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

    def timed(what: str, work: Callable[[], Any], rows: int) -> Any:
        """Best of three, after one warm-up."""
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
        timed("text read, line feeds counted", lambda: _lines(path), given.rows)
        timed("checksum of the text", lambda: hashlib.sha256(data).digest(), given.rows)
        cells = timed("lines to cells (Arrow)", lambda: list(map(_cells, _blocks(data, PIECE))), given.rows)
        slabs = [pa.concat_tables(cells[at : at + PIECES]) for at in range(0, len(cells), PIECES)]
        coded = timed("cells to dictionaries", lambda: list(map(_coded, slabs)), given.rows)
        train = [np.random.default_rng(0).random(len(slab)) < 0.8 for slab in coded]
        timed("rows to their splits", lambda: list(map(_divided, coded, train)), given.rows)
        counted = timed("values counted", lambda: list(map(_counted, coded, train)), given.rows)
        whole = timed("counts merged", lambda: _merged(counted), given.rows)
        timed("counts written (zstd)", lambda: _counts_written(whole), given.rows)
        timed("typed Parquet written (zstd)", lambda: _written(coded, typed_file), given.rows)
        read = lambda: list(_groups(typed_file))  # noqa: E731
        again = timed("typed Parquet read", read, given.rows)
        known = {name: _frequent(*whole[name]) for name in TOKENS}
        ids = timed("tokens to ids", lambda: [_ids(rows, known) for rows in again], given.rows)
        buckets = timed("numbers to ids", lambda: list(map(_buckets, again)), given.rows)
        encoded = [pa.table({**a, **b}) for a, b in zip(ids, buckets, strict=True)]
        whole_rows = pa.concat_tables(encoded)
        written = timed("encoded Parquet written (zstd)", lambda: _ids_written(whole_rows), given.rows)
        both = typed_file.read_bytes(), written
        timed("checksums of both", lambda: [hashlib.sha256(file).digest() for file in both], given.rows)
    total = sum(float(line.split("|")[2]) for line in lines)
    text = [
        "# The cost of each part of ingest",
        "",
        f"`python benchmarks/ingest_parts.py`, {datetime.date.today().isoformat()}. "
        f"{describe('pyarrow', 'numpy')}; "
        f"one thread, {given.rows:,} rows of `benchmarks/ingest.py`.",
        "",
        "| part | microseconds a row |",
        "|---|--:|",
        *lines,
        f"| **sum** | **{total:.2f}** |",
    ]
    name = f"ingest-parts-{datetime.date.today().isoformat()}.md"
    (Path(__file__).parent / "results" / name).write_text("\n".join(text) + "\n")


def _blocks(data: bytes, size: int) -> list[bytes]:
    found, start = [], 0
    while start < len(data):
        stop = data.rfind(b"\n", start, start + size) + 1
        found.append(data[start:stop])
        start = stop
    return found


def _lines(path: Path) -> int:
    found = 0
    with open(path, "rb") as file:
        while block := file.read(4 * PIECE):
            codes = np.frombuffer(block, np.uint8)
            steps = range(0, len(codes), PIECE >> 4)
            found += sum(int(np.count_nonzero(codes[at : at + (PIECE >> 4)] == 10)) for at in steps)
    return found


def _cells(block: bytes) -> pa.Table:
    return csv.read_csv(
        pa.BufferReader(block),
        csv.ReadOptions(column_names=NAMES, use_threads=False, block_size=len(block) + 1),
        csv.ParseOptions(delimiter="\t"),
        csv.ConvertOptions(column_types=dict.fromkeys(NAMES, pa.binary()), strings_can_be_null=False),
    )


def _coded(cells: pa.Table) -> pa.RecordBatch:
    """Cells of all pieces over one dictionary for each column, of text or numbers."""
    columns = []
    for name in NAMES:
        indices, values = _factorized(cells[name], name)
        values = values.cast(pa.string())
        if name not in TOKENS:
            values = pc.if_else(pc.equal(values, ""), "0", values).cast(pa.float64())
        columns.append(pa.DictionaryArray.from_arrays(indices, values, safe=False))
    return pa.RecordBatch.from_arrays(columns, NAMES)


def _factorized(column: pa.ChunkedArray, name: str) -> tuple[pa.Array, pa.Array]:
    """Factorize: codes and distinct values; 8-byte tokens as integers, with pandas."""
    chunks = [chunk for chunk in column.chunks if len(chunk)]
    if name not in TOKENS:
        coded = column.dictionary_encode().chunks
        return pa.concat_arrays([chunk.indices for chunk in coded]), coded[-1].dictionary
    words = [np.frombuffer(chunk.buffers()[2], np.uint64, len(chunk)) for chunk in chunks]
    places, values = pd.factorize(np.concatenate(words))
    offsets = np.arange(len(values) + 1, dtype=np.int32) * 8
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(values)]
    return pa.array(places.astype(np.int32)), pa.Array.from_buffers(column.type, len(values), buffers)


def _divided(rows: pa.RecordBatch, train: np.ndarray) -> list[pa.RecordBatch]:
    return [rows.filter(pa.array(train)), rows.filter(pa.array(~train))]


def _counted(rows: pa.RecordBatch, train: np.ndarray) -> dict[str, tuple[pa.Array, np.ndarray]]:
    """Values of each column, and their counts by split and label."""
    label = rows["label"].dictionary.to_numpy()[rows["label"].indices.to_numpy()]
    kind = label.astype(np.int64) + 2 * train
    found = {}
    for name in NUMBERS + TOKENS:
        values = rows[name].dictionary
        seen = np.bincount(rows[name].indices.to_numpy() * np.int64(4) + kind, minlength=4 * len(values))
        found[name] = values, seen.reshape(-1, 4)
    return found


def _merged(parts: list[dict[str, tuple[pa.Array, np.ndarray]]]) -> dict[str, tuple[pa.Array, np.ndarray]]:
    found = {}
    for name in NUMBERS + TOKENS:
        indices, values = _factorized(pa.chunked_array([part[name][0] for part in parts]), name)
        places = indices.to_numpy().astype(np.int64)
        counts = np.concatenate([part[name][1] for part in parts])
        sums = [np.bincount(places, counts[:, kind], len(values)).astype(np.int64) for kind in range(3)]
        found[name] = values, np.stack(sums, axis=1)
    return found


def _counts_written(counts: dict[str, tuple[pa.Array, np.ndarray]]) -> None:
    for name in NUMBERS + TOKENS:
        values, sums = counts[name]
        table = pa.table([values, *sums.T], ["value", "a", "b", "c"])
        pq.write_table(table, io.BytesIO(), use_dictionary=["a", "b", "c"], compression="zstd")


def _written(slabs: list[pa.RecordBatch], path: Path) -> None:
    """Tokens with their dictionaries, unless these are long; numbers without."""
    short = [name for name in TOKENS if 2 * len(slabs[0][name].dictionary) <= len(slabs[0])]
    tables = [
        pa.table({n: slab[n] if n in short else slab[n].dictionary.take(slab[n].indices) for n in NAMES})
        for slab in slabs
    ]
    options = {
        "compression": "zstd",
        "store_schema": False,
        "write_statistics": False,
        "use_dictionary": [name for name in NAMES if name in short or name not in TOKENS],
    }
    with pq.ParquetWriter(path, tables[0].schema, write_page_checksum=True, **options) as writer:
        for table in tables:
            writer.write_table(table, len(table))


def _groups(path: Path) -> Iterator[pa.Table]:
    footer = pq.read_metadata(path)
    columns = map(footer.row_group(0).column, range(footer.num_columns))
    short = [c.path_in_schema for c in columns if c.has_dictionary_page and c.path_in_schema in TOKENS]
    file = pq.ParquetFile(path, read_dictionary=short, page_checksum_verification=True)
    for group in range(file.num_row_groups):
        yield file.read_row_group(group, use_threads=False)


def _frequent(values: pa.Array, counts: np.ndarray) -> pa.Array:
    return values.filter(pa.array(counts.sum(1) >= MIN_COUNT))


def _ids(rows: pa.Table, known: dict[str, pa.Array]) -> dict[str, pa.Array]:
    found = {}
    for name in TOKENS:
        (column,) = rows[name].chunks
        by_dictionary = pa.types.is_dictionary(column.type)
        ids = pc.fill_null(pc.index_in(column.dictionary if by_dictionary else column, known[name]), -1)
        found[name] = ids.take(column.indices) if by_dictionary else ids
    return found


def _buckets(rows: pa.Table) -> dict[str, pa.Array]:
    found = {}
    for name in NUMBERS:
        (column,) = rows[name].dictionary_encode().chunks
        bucket = np.floor(np.log(np.maximum(column.dictionary.to_numpy(), 1.0)) ** 2).astype(np.int32)
        found[name] = pa.array(bucket).take(column.indices)
    return found


def _ids_written(rows: pa.Table) -> bytes:
    options = {"use_byte_stream_split": rows.schema.names, "use_dictionary": False, "compression": "zstd"}
    options["write_statistics"] = False
    rows = rows.cast(pa.schema([pa.field(name, pa.int32(), nullable=False) for name in rows.schema.names]))
    file = io.BytesIO()
    pq.write_table(rows, file, row_group_size=GROUP, write_page_checksum=True, **options)
    return file.getvalue()


if __name__ == "__main__":
    main()
