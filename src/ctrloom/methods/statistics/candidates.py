"""Statistics of candidates, to compare with their gates (AutoFIS, section 4.5.1).

N training rows, M validation rows, F fields.
"""

from collections.abc import Sequence

from ctrloom import distributed
from ctrloom.data.batches.batch import Batch
from ctrloom.methods.interface import SearchData
from ctrloom.methods.statistics.field_codes import Coder
from ctrloom.methods.statistics.mutual_information import mutual_information
from ctrloom.methods.statistics.statistics_auc import statistics_auc
from ctrloom.search_trace import SearchTrace
from ctrloom.training.checkpoints import Stopwatch


def with_statistics(trace: SearchTrace, data: SearchData) -> SearchTrace:
    """Add to each candidate its statistics-AUC and its mutual information with the label.

    With several processes, only rank 0 does, after reading all rows.
    """
    if not trace.candidates or not distributed.is_rank_zero():
        return trace
    stopwatch, data = Stopwatch(), data.whole()
    every = list(dict.fromkeys(candidate.fields for candidate in trace.candidates))
    aucs, nats = statistics_aucs(every, data), information(every, data)
    candidates = tuple(
        c.model_copy(update={"statistics_auc": aucs[c.fields], "mutual_information": nats[c.fields]})
        for c in trace.candidates
    )
    trace = trace.model_copy(update={"candidates": candidates})
    return trace.with_stage("statistics", stopwatch.seconds)


def statistics_aucs(tuples: Sequence[tuple[str, ...]], data: SearchData) -> dict[tuple[str, ...], float]:
    """Statistics-AUC per tuple: click rates of training rows, evaluated on validation rows."""
    (train, valid), schema = _held(data), data.schema
    coder = Coder.fit(schema, train)
    train_NF, valid_MF = coder.codes(train), coder.codes(valid)
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
    (train, _), schema = _held(data), data.schema
    train_NF = Coder.fit(schema, train).codes(train)
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
