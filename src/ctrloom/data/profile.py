"""What the ingested rows look like: counts per split and per field."""

from collections import Counter
from pathlib import Path
from typing import Any

import ibis
import numpy as np
from ibis.backends.duckdb import Backend
from ibis.expr.types import Column, Table

from ctrloom.config import SPLITS
from ctrloom.data.engine import batches, engine, kept, parquet
from ctrloom.data.manifest import IngestedManifest
from ctrloom.data.typed import RawField, raw_fields
from ctrloom.progress import progress

TOP = 10
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


def profile(manifest: IngestedManifest, base: Path, faults: Counter[str]) -> dict[str, Any]:
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
    """`value`, `count` and `positives` of a field's values, or of its tokens where it has many; no null."""
    column = rows[name]
    values: Table = rows.select(value=column.unnest() if column.type().is_array() else column, label="label")
    known = values.filter(values["value"].notnull())
    return known.group_by("value").agg(count=known.count(), positives=known["label"].sum())


def quantiles(backend: Backend, counts: Table, probabilities: tuple[float, ...]) -> list[float]:
    """Smallest value that each share of the rows does not exceed, from counts of values; exact."""
    total = counts["count"].sum().to_pyarrow().as_py() or 0
    wanted, before = [p * total for p in probabilities], 0
    found: list[float] = []
    for batch in batches(backend, counts.select("value", "count").order_by("value")):
        upto = before + np.cumsum(batch["count"].to_numpy())
        while len(found) < len(wanted) and len(upto) and wanted[len(found)] <= upto[-1]:
            found.append(float(batch["value"][int(np.searchsorted(upto, wanted[len(found)]))].as_py()))
        before = int(upto[-1]) if len(upto) else before
    return found


def _split(rows: int, positives: int) -> dict[str, Any]:
    return {"rows": rows, "positives": positives, "label_rate": positives / rows if rows else None}


def _field(backend: Backend, rows: Table, field: RawField, spill: Path) -> dict[str, Any]:
    column = rows[field.name]
    counts = kept(backend, value_counts(rows, field.name), spill / "counts.parquet")
    top = counts.order_by([ibis.desc("count"), "value"]).limit(TOP).to_pyarrow().to_pylist()
    report = {
        "kind": field.kind,
        "missing": _missing(column).sum().to_pyarrow().as_py() or 0,
        "distinct": counts.count().to_pyarrow().as_py(),
        "top": [
            {"value": t["value"], "count": t["count"], "label_rate": t["positives"] / t["count"]} for t in top
        ],
    }
    if field.kind == "numeric":
        report |= _only_row(rows.agg(min=column.min(), max=column.max(), mean=column.mean()))
        found = quantiles(backend, counts, QUANTILES)
        report["quantiles"] = dict(zip(map(str, QUANTILES), found, strict=False))
    if field.kind == "multivalued":
        report |= _only_row(rows.agg(most_values=column.length().max()))
    return report


def _missing(column: Column) -> Any:
    return column.length() == 0 if column.type().is_array() else column.isnull()


def _only_row(table: Table) -> dict[str, Any]:
    row: dict[str, Any] = table.to_pyarrow().to_pylist()[0]
    return row
