"""Permuted copies of candidates: how strong the gate of an interaction becomes that is certainly none.

A copy of the interaction (a, b) is (a, b'), where b' is the field b with its training rows in random order:
as many values, as rare, without any relation to the label.

N rows, C columns of the id matrix.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ctrloom import distributed
from ctrloom.architecture import Architecture, Interaction
from ctrloom.data.batches.batch import Batch, Shard
from ctrloom.methods.interface import SearchData
from ctrloom.schema import Schema

SUFFIX = " (permuted)"


def with_copies(
    data: SearchData, whole: Architecture, order: int, count: int, seed: int
) -> tuple[SearchData, Architecture]:
    """Rows with permuted fields, and the architecture with permuted copies of candidates of one order.

    Of each function there are `count` copies of candidates drawn at random, or as many as candidates if they
    are fewer. Streamed rows cannot be permuted: nothing is added.
    """
    if not count or not isinstance(data.train, Batch):
        return data, whole
    rng = np.random.default_rng(seed)
    copies: list[Interaction] = []
    for function in whole.functions(order):
        candidates = [each for each in whole.interactions if (each.order, each.function) == (order, function)]
        drawn = rng.permutation(len(candidates))[:count]
        copies += [_copy(candidates[place]) for place in sorted(drawn.tolist())]
    names = list(dict.fromkeys(copy.fields[-1].removesuffix(SUFFIX) for copy in copies))
    schema, train = _with_permuted(data.schema, data.train, names, seed)
    interactions = (*whole.interactions, *copies)
    with_them = whole.model_copy(update={"fields": schema.names, "interactions": interactions})
    return replace(data, schema=schema, train=train), with_them


def is_copy(interaction: Sequence[str]) -> bool:
    """Whether an interaction has a permuted field."""
    return interaction[-1].endswith(SUFFIX)


def above_noise(
    scored: Sequence[Interaction], sizes: Mapping[str, int], level: Callable[[list[float]], float]
) -> tuple[Interaction, ...]:
    """The candidates with a nonzero gate that is above the `level` of comparable permuted copies.

    Comparable are copies of the same order and function with at most as many combinations of values: the more
    there are, the better they fit noise.
    """

    def cells(interaction: Interaction) -> int:
        return math.prod(sizes.get(field, 1) for field in interaction.fields)

    copies = [(each, cells(each)) for each in scored if is_copy(each.fields)]
    kept = []
    for each in scored:
        kind, most = (each.order, each.function), cells(each)
        noise = [abs(c.score or 0.0) for c, n in copies if (c.order, c.function) == kind and n <= most]
        if not is_copy(each.fields) and abs(each.score or 0.0) > (level(noise) if noise else 0.0):
            kept.append(each)
    return tuple(kept)


def sizes_of(schema: Schema) -> dict[str, int]:
    """Number of values of each field."""
    return {field.name: field.size for field in schema.fields}


def _with_permuted(schema: Schema, rows: Batch, names: Sequence[str], seed: int) -> tuple[Schema, Batch]:
    """Schema and rows with permuted copies of the named fields after the real ones.

    With several processes, the rows of all are permuted, as in a single one.
    """
    order_T = torch.randperm(rows.total, generator=torch.Generator().manual_seed(seed))
    if isinstance(rows, Shard):
        assert rows.here_T is not None, "the rows of a process"
        order_T = order_T[rows.here_T >= 0]
    order_T = order_T.to(rows.device)
    fields, ids, factors = list(schema.fields), [rows.ids_NC.int()], [rows.factors_NC]
    free = schema.ids
    for name in names:
        (place,) = schema.indices([name])
        column = sum(field.width for field in schema.fields[:place])
        field, here = schema.fields[place], slice(column, column + schema.fields[place].width)
        fields.append(field.model_copy(update={"name": name + SUFFIX}))
        ids.append(_everywhere(rows.ids_NC[:, here].int())[order_T] - schema.offsets[place] + free)
        factors.append(None if rows.factors_NC is None else _everywhere(rows.factors_NC[:, here])[order_T])
        free += field.ids
    wider = replace(rows, ids_NC=torch.cat(ids, 1), factors_NC=_joined(factors))
    return schema.model_copy(update={"fields": tuple(fields)}), wider


def _everywhere(column_NC: Tensor) -> Tensor:
    """The rows of all processes."""
    (every_TC,) = distributed.all_gather(column_NC.contiguous())
    return every_TC


def _copy(interaction: Interaction) -> Interaction:
    *others, last = interaction.fields
    return interaction.model_copy(update={"fields": (*others, last + SUFFIX)})


def _joined(parts: Sequence[Tensor | None]) -> Tensor | None:
    held = [part for part in parts if part is not None]
    return torch.cat(held, 1) if held else None
