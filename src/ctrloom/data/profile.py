"""What the ingested rows look like: counts per split and per field.

Sums are exact before they are rounded, so that they do not depend on who adds in which order.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import ibis
import numpy as np
from ibis.expr.types import Table

from ctrloom.config import SPLITS
from ctrloom.config.engine import EngineConfig
from ctrloom.data.engines import Engine, Kept, opened
from ctrloom.data.manifest import IngestedManifest
from ctrloom.data.typed import RawField, raw_fields
from ctrloom.progress import progress
from ctrloom.storage import Place

TOP = 10
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


def profile(
    manifest: IngestedManifest, base: Place, faults: Counter[str], config: EngineConfig
) -> dict[str, Any]:
    """Counts over all splits of the ingested data in `base`, ready for JSON.

    `faults` says what was wrong with the malformed rows, and how often.
    """
    fields, every = raw_fields(manifest.source), sum(manifest.rows.values())
    report: dict[str, Any] = {
        "splits": {s: _split(manifest.rows[s], manifest.positives[s]) for s in SPLITS},
        "dropped": manifest.dropped,
        "quarantined": dict(faults.most_common()),
        "fields": {},
    }
    with opened(config, base) as engine, progress("profile", len(fields), "fields") as advance:
        rows = engine.rows([path for split in SPLITS for path in manifest.paths(base, split)])
        for field in fields:
            report["fields"][field.name] = _field(engine, rows, every, field)
            advance(1)
        if manifest.source.named("weight"):
            with engine.kept(value_counts(rows, "weight")) as counts:
                low, high, total = _summed(counts)
            report["weight"] = {"min": low, "max": high, "sum": total}
        if manifest.source.named("timestamp"):
            report["timestamp"] = _only_row(rows.agg(first=rows.timestamp.min(), last=rows.timestamp.max()))
    return report


def value_counts(rows: Table, name: str) -> Table:
    """`value`, `count` and `positives` of each value or token of a field, without null; numbers ascend."""
    column = rows[name]
    if column.type().is_array():
        column = column.unnest()
    elif column.type().is_floating():
        column = (column == 0).ifelse(0.0, column)  # of -0.0 and 0.0, engines take the one they saw first
    values: Table = rows.select(value=column, label="label")
    known = values.filter(values["value"].notnull())
    counts: Table = known.group_by("value").agg(count=known.count(), positives=known["label"].sum())
    return counts.order_by("value") if column.type().is_numeric() else counts


def ascending_counts(counts: Kept) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Chunks of the values of a field that has numbers and of their counts, ascending."""
    for batch in counts.batches():
        yield batch["value"].to_numpy(), batch["count"].to_numpy()


def quantiles(counts: Kept, total: int, probabilities: Sequence[float]) -> list[float]:
    """Exact quantiles of `total` numbers: the least value that each share of them does not exceed."""
    wanted, before = [p * total for p in probabilities], 0
    found: list[float] = []
    for values, numbers in ascending_counts(counts):
        upto = before + np.cumsum(numbers)
        while len(found) < len(wanted) and wanted[len(found)] <= upto[-1]:
            found.append(float(values[np.searchsorted(upto, wanted[len(found)])]))
        before = int(upto[-1])
    return found


def _split(rows: int, positives: int) -> dict[str, Any]:
    return {"rows": rows, "positives": positives, "label_rate": positives / rows if rows else None}


def _summed(counts: Kept) -> tuple[float | None, float | None, float]:
    """Least and largest of the numbers (None where there is none), and their sum."""
    low = high = None
    ends = ((float(v[0]), float(v[-1])) for v, _ in ascending_counts(counts) if len(v))
    for first, last in ends:
        low, high = first if low is None else low, last
    products = (values.astype(np.float64) * numbers for values, numbers in ascending_counts(counts))
    return low, high, math.fsum(chain.from_iterable(products))


def _field(engine: Engine, rows: Table, every: int, field: RawField) -> dict[str, Any]:
    """What is known of one field of `every` rows."""
    counts = value_counts(rows, field.name)
    found: dict[str, Any] = {}
    if field.kind != "numeric":
        top, distinct, total = _top(counts)
    else:
        with engine.kept(counts) as kept:
            top, distinct, total = _top(kept.table)
            low, high, sum_of_all = _summed(kept)
            values = quantiles(kept, total, QUANTILES)
        found = {"min": low, "max": high, "mean": sum_of_all / total if total else None}
        found["quantiles"] = dict(zip(map(str, QUANTILES), values, strict=False))
    missing = {"missing": every - total}
    if field.kind == "multivalued":
        sizes = rows[field.name].length()
        missing = _only_row(rows.agg(missing=(sizes == 0).sum(), most_values=sizes.max()))
    return {
        "kind": field.kind,
        "distinct": distinct,
        **missing,
        **found,
        "top": [
            {"value": t["value"], "count": t["count"], "label_rate": t["positives"] / t["count"]} for t in top
        ],
    }


def _top(counts: Table) -> tuple[list[dict[str, Any]], int, int]:
    """The most frequent values, how many there are, and the sum of their counts; rows are read once."""
    first = counts.order_by([ibis.desc("count"), "value"]).limit(TOP)
    whole = counts.agg(distinct=counts.count(), total=counts["count"].sum())
    found = first.cross_join(whole).to_pyarrow().to_pylist()
    found.sort(key=lambda row: (-row["count"], row["value"]))
    return found, found[0]["distinct"] if found else 0, found[0]["total"] if found else 0


def _only_row(table: Table) -> dict[str, Any]:
    row: dict[str, Any] = table.to_pyarrow().to_pylist()[0]
    return row
