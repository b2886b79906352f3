"""Permutation importance of fields and of gated interactions, on validation rows.

N rows, P interactions of one order.
Reference: Breiman, Random forests, Machine Learning 2001, section 10.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ctrloom.architecture import Architecture
from ctrloom.config.base import StrictModel
from ctrloom.data.batches.batch import Batch, BatchSource
from ctrloom.metrics.measure import auc, row_logloss, with_weight
from ctrloom.models.shallow import AutoFM
from ctrloom.nn.interactions import Gates
from ctrloom.schema import Schema
from ctrloom.training.loop import score

INTERACTIONS = 100  # that are shuffled: those of the largest |gate|


class Effect(StrictModel):
    """What shuffling one field or interaction costs: means over the repeats, and their deviation."""

    fields: tuple[str, ...]
    auc_drop: float
    auc_drop_sd: float | None
    logloss_rise: float
    logloss_rise_sd: float | None


class Importance(StrictModel):
    """Permutation importance in the model of the first seed; effects are sorted, the largest first.

    A field's column is shuffled over the rows in everything that the model makes of it. Of an interaction,
    only its gated, normalised product is shuffled, so its fields keep their other effects.
    """

    rows: int
    repeats: int
    auc: float  # of the same rows, not shuffled
    logloss: float
    fields: tuple[Effect, ...]
    interactions: tuple[Effect, ...] = ()


def importance(
    model: nn.Module,
    rows: BatchSource,
    schema: Schema,
    architecture: Architecture,
    repeats: int,
    most: int,
    seed: int,
) -> Importance:
    """Shuffle every field, and every kept interaction of a model with gates, `repeats` times each.

    At most `most` rows are used, drawn at random; rows of weight 0 are left out.

    Raises:
        EvaluationError: the rows have a single label.
    """
    batch = _sample(rows, most, seed)
    measure = _Measure(batch)
    logit_N = score(model, batch).astype(np.float64)
    plain = measure(logit_N)
    fields = [
        measure.effect((field.name,), plain, (score(model, each) for each in shuffled))
        for field, shuffled in zip(schema.fields, _shuffled(batch, schema, repeats, seed), strict=True)
    ]
    terms = _terms(model, batch, architecture) if isinstance(model, AutoFM) else []
    interactions = [
        measure.effect(names, plain, (logit_N - term_N + term_N[order_N] for order_N in orders))
        for (names, term_N), orders in zip(terms, _orders(len(batch), len(terms), repeats, seed), strict=True)
    ]
    return Importance(
        rows=len(batch),
        repeats=repeats,
        auc=plain[0],
        logloss=plain[1],
        fields=_sorted(fields),
        interactions=_sorted(interactions),
    )


class _Measure:
    """AUC and logloss of logits on fixed rows."""

    def __init__(self, rows: Batch) -> None:
        self.label_N = rows.label_N.cpu().numpy().astype(np.float64)
        self.weight_N = None if rows.weight_N is None else rows.weight_N.cpu().numpy().astype(np.float64)

    def __call__(self, logit_N: NDArray) -> tuple[float, float]:
        loss_N = row_logloss(logit_N.astype(np.float64), self.label_N)
        return auc(logit_N, self.label_N, self.weight_N), float(np.average(loss_N, weights=self.weight_N))

    def effect(
        self, fields: tuple[str, ...], plain: tuple[float, float], shuffled: Iterator[NDArray]
    ) -> Effect:
        """The change by shuffling, given the logits of each repeat."""
        found_R2 = np.array([self(logit_N) for logit_N in shuffled])
        mean = found_R2.mean(0)
        sd = found_R2.std(0, ddof=1).tolist() if len(found_R2) > 1 else (None, None)
        return Effect(
            fields=fields,
            auc_drop=plain[0] - float(mean[0]),
            auc_drop_sd=sd[0],
            logloss_rise=float(mean[1]) - plain[1],
            logloss_rise_sd=sd[1],
        )


def _sample(rows: BatchSource, most: int, seed: int) -> Batch:
    """At most `most` of the rows that count, in memory."""
    weight_N = None if rows.weight_N is None else rows.weight_N.cpu().numpy()
    there = np.arange(len(rows))[with_weight(weight_N)]
    if len(there) > most:
        there = np.sort(np.random.default_rng(seed).choice(there, most, replace=False))
    (batch,) = rows.take(torch.from_numpy(there)).batches(max(1, len(there)))
    return batch


def _orders(rows: int, things: int, repeats: int, seed: int) -> Iterator[Iterator[NDArray]]:
    """For each thing, a random order of the rows per repeat."""
    for thing in range(things):
        yield (np.random.default_rng([seed, thing, repeat]).permutation(rows) for repeat in range(repeats))


def _shuffled(batch: Batch, schema: Schema, repeats: int, seed: int) -> Iterator[Iterator[Batch]]:
    """For each field, the rows with the columns of this field shuffled, once per repeat."""
    column = 0
    for field, orders in zip(
        schema.fields, _orders(len(batch), len(schema.fields), repeats, seed), strict=True
    ):
        at = slice(column, column + field.width)
        column += field.width
        yield (_with_shuffled(batch, at, torch.from_numpy(order_N)) for order_N in orders)


def _with_shuffled(batch: Batch, at: slice, order_N: torch.Tensor) -> Batch:
    changed = dict(batch.tensors())
    for name in ("ids_NC", "factors_NC"):
        if name in changed:
            value_NC = changed[name].clone()
            value_NC[:, at] = value_NC[order_N.to(value_NC.device)][:, at]
            changed[name] = value_NC
    return Batch(**changed)


def _terms(
    model: AutoFM, batch: Batch, architecture: Architecture
) -> list[tuple[tuple[str, ...], NDArray[np.float64]]]:
    """The part of the logit of each of the strongest interactions: gate * BN(product)."""
    gates = {group: gates for group, gates in model.gates.items() if isinstance(gates, Gates)}
    every = [
        (gate, group, p)
        for group, its in gates.items()
        for p, gate in enumerate(its.gate_P.detach().abs().tolist())
    ]
    chosen = sorted(every, key=lambda each: -each[0])[:INTERACTIONS]
    columns = {group: sorted(p for _, of, p in chosen if of == group) for group in gates}
    values = _gated(model, batch, gates, columns)
    return [
        (architecture.groups[group][p], values[group][:, number])
        for group, places in columns.items()
        for number, p in enumerate(places)
    ]


def _gated(
    model: nn.Module, batch: Batch, gates: dict[str, Gates], columns: dict[str, list[int]]
) -> dict[str, NDArray[np.float64]]:
    """The gated values of some interactions of each group."""
    kept: dict[str, list[NDArray[np.float64]]] = {group: [] for group in gates}

    def keep(group: str, module: Gates, x_BP: torch.Tensor) -> None:
        term_BP = module.norm(x_BP) * module.gate_P
        kept[group].append(term_BP[:, columns[group]].double().cpu().numpy())

    hooks = [
        module.register_forward_hook(lambda m, inputs, _, group=group: keep(group, m, inputs[0]))
        for group, module in gates.items()
    ]
    try:
        score(model, batch)
    finally:
        for hook in hooks:
            hook.remove()
    return {group: np.concatenate(parts) for group, parts in kept.items()}


def _sorted(effects: Sequence[Effect]) -> tuple[Effect, ...]:
    return tuple(sorted(effects, key=lambda effect: -effect.auc_drop))
