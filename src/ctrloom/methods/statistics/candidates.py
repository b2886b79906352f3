"""Statistics of candidates, to compare with their gates (AutoFIS, section 4.6).

N training rows, M validation rows, F fields, C columns of the id matrix.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ctrloom import distributed
from ctrloom.data.batches.batch import Batch
from ctrloom.methods.interface import SearchData
from ctrloom.methods.statistics.mutual_information import mutual_information
from ctrloom.methods.statistics.statistics_auc import statistics_auc
from ctrloom.schema import MISSING_ID, Field, Schema
from ctrloom.search_trace import SearchTrace

BUCKETS = 20  # quantile buckets of a numeric field


def with_statistics(trace: SearchTrace, data: SearchData) -> SearchTrace:
    """Add to each candidate its statistics-AUC and its mutual information with the label.

    With several processes, only rank 0 does, after reading all rows.
    """
    if not trace.candidates or not distributed.is_rank_zero():
        return trace
    data = data.whole()
    every = list(dict.fromkeys(candidate.fields for candidate in trace.candidates))
    aucs, nats = statistics_aucs(every, data), information(every, data)
    candidates = tuple(
        c.model_copy(update={"statistics_auc": aucs[c.fields], "mutual_information": nats[c.fields]})
        for c in trace.candidates
    )
    return trace.model_copy(update={"candidates": candidates})


def statistics_aucs(tuples: Sequence[tuple[str, ...]], data: SearchData) -> dict[tuple[str, ...], float]:
    """Statistics-AUC per tuple: click rates of training rows, evaluated on validation rows."""
    (train, valid), schema = _held(data), data.schema
    train_NF, valid_MF = field_codes(train, valid, schema)
    aucs = statistics_auc(
        train_NF,
        train.label_N.numpy(),
        valid_MF,
        valid.label_N.numpy(),
        [schema.indices(names) for names in tuples],
        train_weight_N=None if train.weight_N is None else train.weight_N.numpy(),
        valid_weight_M=None if valid.weight_N is None else valid.weight_N.numpy(),
    )
    return dict(zip(tuples, aucs.tolist(), strict=True))


def information(
    tuples: Sequence[tuple[str, ...]], data: SearchData, corrected: bool = False
) -> dict[tuple[str, ...], float]:
    """Mutual information with the label on training rows, in nats; `corrected` subtracts its bias."""
    (train, valid), schema = _held(data), data.schema
    train_NF, _ = field_codes(train, valid, schema)
    nats = mutual_information(
        train_NF,
        train.label_N.numpy(),
        [schema.indices(names) for names in tuples],
        weight_N=None if train.weight_N is None else train.weight_N.numpy(),
        corrected=corrected,
    )
    return dict(zip(tuples, nats.tolist(), strict=True))


def _held(data: SearchData) -> tuple[Batch, Batch]:
    assert isinstance(data.train, Batch), "training rows must be in memory: see `SearchData.whole`"
    assert isinstance(data.valid, Batch), "validation rows must be in memory: see `SearchData.whole`"
    return data.train, data.valid


def field_codes(train: Batch, valid: Batch, schema: Schema) -> tuple[NDArray, NDArray]:
    """One code per row and field: an id, the bucket of a number, or the set of values (multivalued)."""
    codes, column = [], 0
    both_ids, both_factors = (
        np.concatenate([getattr(rows, name).numpy() for rows in (train, valid)])
        if getattr(train, name) is not None
        else None
        for name in ("ids_NC", "factors_NC")
    )
    assert both_ids is not None, "rows without ids"
    for field, offset in zip(schema.fields, schema.offsets, strict=True):
        here = slice(column, column + field.width)
        factors = None if both_factors is None else both_factors[:, here]
        codes.append(_codes(field, both_ids[:, here] - offset, factors, len(train)))
        column += field.width
    coded = np.stack(codes, 1)
    return coded[: len(train)], coded[len(train) :]


def _codes(field: Field, ids_AC: NDArray, factors_AC: NDArray | None, train: int) -> NDArray:
    if field.kind == "categorical" or factors_AC is None:
        return ids_AC[:, 0].astype(np.int64)
    if field.kind == "multivalued":
        present = np.sort(np.where(factors_AC > 0, ids_AC, -1), axis=1)
        return np.unique(present, axis=0, return_inverse=True)[1].ravel().astype(np.int64)
    value_A, missing_A = factors_AC[:, 0], ids_AC[:, 0] == MISSING_ID
    known = value_A[:train][~missing_A[:train]]
    shares = np.linspace(0, 1, BUCKETS + 1)[1:-1]
    edges = np.unique(np.quantile(known, shares)) if len(known) else np.empty(0)
    return np.where(missing_A, -1, np.digitize(value_A, edges)).astype(np.int64)
