"""Profile of ingested rows: statistics per split and per field.

Sums are exact before rounding, so they do not depend on the order of addition.
"""

import math
from collections import Counter
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import pyarrow.compute as pc

from ctrloom.config import SPLITS
from ctrloom.config.engine import EngineConfig
from ctrloom.data.engines import opened
from ctrloom.data.ingest.cast import RawField, raw_fields
from ctrloom.data.manifest import IngestedManifest
from ctrloom.data.threads import map_in_threads
from ctrloom.data.vocabulary.field_counts import FieldCounts, field_counts
from ctrloom.data.vocabulary.multivalued import Lists, lists_in
from ctrloom.progress import progress
from ctrloom.storage import Place

TOP = 10
_BY_COUNT = [("count", "descending"), ("value", "ascending")]
_LARGE = 1e250  # the sum of more than 1e50 of them could overflow
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


def profile(
    manifest: IngestedManifest, base: Place, faults: Counter[str], config: EngineConfig
) -> dict[str, Any]:
    """Statistics over all splits of the ingested data in `base`, JSON-serialisable.

    `faults` counts the malformed rows by reason.
    """
    fields, every = raw_fields(manifest.source), sum(manifest.rows.values())
    report: dict[str, Any] = {
        "splits": {s: _split(manifest.rows[s], manifest.positives[s]) for s in SPLITS},
        "dropped": manifest.dropped,
        "quarantined": dict(faults.most_common()),
        "fields": {},
    }
    counts = field_counts(manifest, base)
    files = [path for split in SPLITS for path in manifest.paths(base, split)]
    lists = lists_in(files, fields, config, base)
    with progress("profile", len(fields), "fields") as advance:
        found = map_in_threads(lambda f: _field(counts[f.name], lists.get(f.name), every, f), fields)
        for field, known in zip(fields, found, strict=True):
            report["fields"][field.name] = known
            advance(1)
    if manifest.source.named("weight"):
        low, high = _range(counts["weight"])
        report["weight"] = {"min": low, "max": high, "sum": _sum(counts["weight"])}
    if manifest.source.named("timestamp"):
        with opened(config, base) as engine:
            instants = engine.rows(files).timestamp
            ends = instants.as_table().agg(first=instants.min(), last=instants.max())
            (report["timestamp"],) = ends.to_pyarrow().to_pylist()
    return report


def quantiles(counts: FieldCounts, count: str, total: int, probabilities: Sequence[float]) -> list[float]:
    """Exact quantiles of `total` numbers, weighted by one count: the smallest value with that share."""
    wanted, before = [p * total for p in probabilities], 0
    found: list[float] = []
    for values, numbers in counts.chunks(count):
        upto = before + np.cumsum(numbers)
        while len(found) < len(wanted) and wanted[len(found)] <= upto[-1]:
            found.append(float(values[np.searchsorted(upto, wanted[len(found)])]))
        before = int(upto[-1])
    return found


def _split(rows: int, positives: int) -> dict[str, Any]:
    return {"rows": rows, "positives": positives, "label_rate": positives / rows if rows else None}


def _range(counts: FieldCounts) -> tuple[float | None, float | None]:
    """Minimum and maximum of the numbers; None if there are none."""
    low = high = None
    for values, _ in counts.chunks("count"):
        low, high = float(values[0]) if low is None else low, float(values[-1])
    return low, high


def _sum(counts: FieldCounts, scale: float = 1.0) -> float:
    """Sum of the numbers, each times `scale`."""
    products = (values * scale * numbers for values, numbers in counts.chunks("count"))
    return math.fsum(chain.from_iterable(products))


def _mean(counts: FieldCounts, total: int, low: float, high: float) -> float:
    """Mean of `total` numbers; a sum of large ones is scaled by a power of two, so that it is finite."""
    scale = 1.0 if max(-low, high) < _LARGE else 2.0**-500
    return min(max(_sum(counts, scale) / total / scale, low), high)


def _field(counts: FieldCounts, lists: Lists | None, every: int, field: RawField) -> dict[str, Any]:
    """Statistics of one field of `every` rows."""
    top, distinct, total = _top(counts)
    found: dict[str, Any] = {}
    if field.kind == "numeric":
        low, high = _range(counts)
        values = quantiles(counts, "count", total, QUANTILES)
        mean = None if low is None or high is None else _mean(counts, total, low, high)
        found = {"min": low, "max": high, "mean": mean}
        found["quantiles"] = dict(zip(map(str, QUANTILES), values, strict=False))
    missing = {"missing": lists.empty, "most_values": lists.longest} if lists else {"missing": every - total}
    return {
        "kind": field.kind,
        "distinct": distinct,
        **missing,
        **found,
        "top": [
            {"value": t["value"], "count": t["count"], "label_rate": t["positives"] / t["count"]} for t in top
        ],
    }


def _top(counts: FieldCounts) -> tuple[list[dict[str, Any]], int, int]:
    """The most frequent values, the number of distinct values, and the sum of their counts."""
    distinct = total = 0
    # The largest counts, ascending; ties are resolved below.
    largest = np.zeros(0, dtype=np.int64)
    for numbers in counts.numbers("count"):
        distinct, total = distinct + len(numbers), total + int(numbers.sum())
        floor = largest[0] if len(largest) == TOP else 0
        largest = np.sort(np.concatenate([largest, numbers[numbers > floor]]))[-TOP:]
    least = int(largest[0]) if len(largest) else 1
    top: list[dict[str, Any]] = []
    for batch in counts.where("count", least, ["value", "count", "positives"]):
        top += pc.take(batch, pc.select_k_unstable(batch, TOP, _BY_COUNT)).to_pylist()
        top = sorted(top, key=lambda row: (-row["count"], row["value"]))[:TOP]
    return top, distinct, total
