"""What the ingested rows look like: counts per split and per field."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import ibis
import numpy as np
from ibis.backends.duckdb import Backend
from ibis.expr.types import Table

from ctrloom.config import SPLITS
from ctrloom.data.engine import engine, kept, parquet
from ctrloom.data.manifest import IngestedManifest
from ctrloom.data.parts import read_parts
from ctrloom.data.typed import RawField, raw_fields
from ctrloom.progress import progress
from ctrloom.storage import Place

TOP = 10
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


def profile(manifest: IngestedManifest, base: Place, faults: Counter[str]) -> dict[str, Any]:
    """Counts over all splits of the ingested data in `base`, ready for JSON.

    `faults` says what was wrong with the malformed rows, and how often.
    """
    fields = raw_fields(manifest.source)
    report: dict[str, Any] = {
        "splits": {s: _split(manifest.rows[s], manifest.positives[s]) for s in SPLITS},
        "dropped": manifest.dropped,
        "quarantined": dict(faults.most_common()),
        "fields": {},
    }
    with engine(base) as (backend, spill), progress("profile", len(fields), "fields") as advance:
        rows = parquet(backend, [path for split in SPLITS for path in manifest.paths(base, split)])
        for field in fields:
            report["fields"][field.name] = _field(backend, rows, field, spill)
            advance(1)
        if manifest.source.named("weight"):
            weight = rows.weight.cast("float64")
            report["weight"] = _only_row(rows.agg(min=weight.min(), max=weight.max(), sum=weight.sum()))
        if manifest.source.named("timestamp"):
            report["timestamp"] = _only_row(rows.agg(first=rows.timestamp.min(), last=rows.timestamp.max()))
    return report


def value_counts(rows: Table, name: str) -> Table:
    """`value`, `count` and `positives` of each value or token of a field, without null; numbers ascend."""
    column = rows[name]
    values: Table = rows.select(value=column.unnest() if column.type().is_array() else column, label="label")
    known = values.filter(values["value"].notnull())
    counts: Table = known.group_by("value").agg(count=known.count(), positives=known["label"].sum())
    return counts.order_by("value") if column.type().is_numeric() else counts


def ascending_counts(file: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Chunks of the values of a field that has numbers and of their counts, from a file sorted by value."""
    for batch in read_parts([file]):
        yield batch["value"].to_numpy(), batch["count"].to_numpy()


def quantiles(file: Path, total: int, probabilities: Sequence[float]) -> list[float]:
    """Exact quantiles of `total` numbers: the least value that each share of them does not exceed."""
    wanted, before = [p * total for p in probabilities], 0
    found: list[float] = []
    for values, counts in ascending_counts(file):
        upto = before + np.cumsum(counts)
        while len(found) < len(wanted) and wanted[len(found)] <= upto[-1]:
            found.append(float(values[np.searchsorted(upto, wanted[len(found)])]))
        before = int(upto[-1])
    return found


def _split(rows: int, positives: int) -> dict[str, Any]:
    return {"rows": rows, "positives": positives, "label_rate": positives / rows if rows else None}


def _field(backend: Backend, rows: Table, field: RawField, spill: Path) -> dict[str, Any]:
    column = rows[field.name]
    counts, file = kept(backend, value_counts(rows, field.name), spill)
    top = counts.order_by([ibis.desc("count"), "value"]).limit(TOP).to_pyarrow().to_pylist()
    missing = column.length() == 0 if column.type().is_array() else column.isnull()
    summary = {"rows": rows.count(), "missing": missing.sum()}
    if field.kind == "numeric":
        summary |= {"min": column.min(), "max": column.max(), "mean": column.mean()}
    if field.kind == "multivalued":
        summary |= {"most_values": column.length().max()}
    found = _only_row(rows.agg(**summary))
    total = found.pop("rows") - found["missing"]
    if field.kind == "numeric":
        values = quantiles(file, total, QUANTILES)
        found["quantiles"] = dict(zip(map(str, QUANTILES), values, strict=False))
    return {
        "kind": field.kind,
        "distinct": counts.count().to_pyarrow().as_py(),
        **found,
        "top": [
            {"value": t["value"], "count": t["count"], "label_rate": t["positives"] / t["count"]} for t in top
        ],
    }


def _only_row(table: Table) -> dict[str, Any]:
    row: dict[str, Any] = table.to_pyarrow().to_pylist()[0]
    return row
