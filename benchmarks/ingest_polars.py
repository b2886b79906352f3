"""The work of benchmarks/ingest.py with Polars: count every column's values, then write their ids.

    python benchmarks/ingest_polars.py ROWS.tsv IDS.parquet MIN_COUNT

Two streaming passes over the text. Only the frequent values are kept between them; there is no split and no
validation, and a malformed line is an error.
"""

import json
import sys
import time

import polars as pl
from memory import peak_mib

NUMBERS = [f"I{i}" for i in range(1, 14)]
TOKENS = [f"C{i}" for i in range(1, 27)]
TYPES = {"label": pl.Int8, **dict.fromkeys(NUMBERS, pl.Float64), **dict.fromkeys(TOKENS, pl.String)}


def values(path: str) -> pl.LazyFrame:
    """Tokens, and numbers in log-squared buckets."""
    raw = pl.scan_csv(path, separator="\t", has_header=False, schema=TYPES)
    large = [pl.when(pl.col(n) > 2).then(pl.col(n).log().pow(2)).otherwise(pl.col(n)) for n in NUMBERS]
    return raw.with_columns(bucket.floor().cast(pl.Int32) for bucket in large)


def main() -> None:
    path, out, min_count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    began = time.perf_counter()
    counts = [
        values(path).filter(pl.col(n).is_not_null()).group_by(n).len().filter(pl.col("len") >= min_count)
        for n in NUMBERS + TOKENS
    ]
    found = pl.collect_all(counts, engine="streaming")
    ordered = {
        n: each.sort("len", n, descending=[True, False])[n]
        for n, each in zip(NUMBERS + TOKENS, found, strict=True)
    }
    ids = [
        pl.when(pl.col(n).is_null())
        .then(0)
        .otherwise(
            pl.col(n).replace_strict(
                known,
                pl.int_range(2, len(known) + 2, dtype=pl.Int32, eager=True),
                default=1,
                return_dtype=pl.Int32,
            )
        )
        .alias(n)
        for n, known in ordered.items()
    ]
    values(path).select("label", *ids).sink_parquet(out)
    seconds = time.perf_counter() - began
    figures = {
        "version": pl.__version__,
        "threads": pl.thread_pool_size(),
        "seconds": seconds,
        "tokens": sum(map(len, ordered.values())),
        "peak_mib": peak_mib(),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
