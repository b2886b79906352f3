"""Attention between the fields of trained models, on validation rows.

L layers, N rows, F fields.
"""

import numpy as np
import pyarrow as pa
import torch
from torch import nn

from ctrloom.data.batches.batch import Batch, BatchSource
from ctrloom.data.dataset import Dataset
from ctrloom.data.vocabulary.encode import Encoder
from ctrloom.evaluation.results import Attention, AttentionMap, AttentionRow
from ctrloom.metrics.logistic import expit
from ctrloom.nn.attention import ShowsAttention
from ctrloom.schema import MISSING_ID, Field

BATCH = 4096


def attention_of(
    model: nn.Module, dataset: Dataset, valid: BatchSource, logit_N: np.ndarray
) -> Attention | None:
    """Mean maps over all validation rows, and the maps of the row with the highest probability.

    None for a model without attention. `logit_N` are the model's scores of `valid`.
    """
    if not isinstance(model, ShowsAttention) or not model.layers:
        return None
    if valid.weight_N is not None:
        there_N = valid.weight_N.cpu().numpy().nonzero()[0]
        valid, logit_N = valid.take(torch.from_numpy(there_N)), logit_N[there_N]
    total_LFF = sum(
        model.attention_maps(batch.ids_NC, batch.factors_NC).double().sum(1) for batch in valid.batches(BATCH)
    )
    assert isinstance(total_LFF, torch.Tensor), "a validation split has rows"
    best = int(np.argmax(logit_N))
    (row,) = valid.cut(torch.tensor([best]), [0, 1])
    return Attention(
        fields=dataset.schema.names,
        rows=len(valid),
        layers=_rounded(total_LFF / len(valid)),
        example=AttentionRow(
            values=values_of(dataset.encoder(), row),
            probability=float(expit(float(logit_N[best]))),
            layers=_rounded(model.attention_maps(row.ids_NC, row.factors_NC)[:, 0]),
        ),
    )


def values_of(encoder: Encoder, row: Batch) -> tuple[str, ...]:
    """The text of each field of a single row; numeric fields as their scaled value."""
    values, column = [], 0
    for field, offset in zip(encoder.schema.fields, encoder.schema.offsets, strict=True):
        at = slice(column, column + field.width)
        column += field.width
        ids = row.ids_NC[0, at].cpu().numpy() - offset
        factors = None if row.factors_NC is None else row.factors_NC[0, at].cpu().numpy()
        values.append(_text(encoder, field, ids, factors))
    return tuple(values)


def _text(encoder: Encoder, field: Field, ids: np.ndarray, factors: np.ndarray | None) -> str:
    if field.kind == "numeric":
        assert factors is not None
        return "missing" if ids[0] == MISSING_ID else f"{factors[0]:.3g}"
    held = field.common(ids if factors is None else ids[factors > 0])
    tokens = encoder.vocabularies[field.name].decode(pa.array(held)).to_pylist()
    named = [t or ("missing" if i == MISSING_ID else "unseen") for i, t in zip(held, tokens, strict=True)]
    return ", ".join(named)


def _rounded(map_LFF: torch.Tensor) -> tuple[AttentionMap, ...]:
    layers = map_LFF.double().cpu().numpy().round(4).tolist()
    return tuple(tuple(tuple(line) for line in layer) for layer in layers)
