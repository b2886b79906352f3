"""Figures by group and segment, and the predictions of all models: what needs more than scores and labels."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa

from ctrloom.config import EvaluationConfig
from ctrloom.data.dataset import Dataset
from ctrloom.data.parquet.writer import sealed_writer
from ctrloom.data.row_values import require_readable, row_values, texts
from ctrloom.evaluation.compare import Labels, ModelScores, spread
from ctrloom.evaluation.results import Results
from ctrloom.evaluation.segments import Grouping, coverage, grouped_aucs, segment_table
from ctrloom.metrics.logistic import expit


def require_columns(dataset: Dataset, evaluation: EvaluationConfig) -> None:
    """Raise ConfigError for a group, segment or column that the data set has no values of."""
    if evaluation.group is not None:
        require_readable(dataset.schema, [evaluation.group], "evaluation.group")
    for key in ("segments", "columns"):
        require_readable(dataset.schema, getattr(evaluation, key), f"evaluation.{key}")


def with_groups(
    results: Results, scores: Sequence[ModelScores], dataset: Dataset, valid: Labels, test: Labels
) -> Results:
    """Add GAUC of every model, if `evaluation.group` is set."""
    group = results.evaluation.group
    if group is None:
        return results
    labels: dict[Literal["valid", "test"], Labels] = {"valid": valid, "test": test}
    given = {s: (row_values(dataset, s, group), its.label_N, its.weight_N) for s, its in labels.items()}
    covered = {split: coverage(*its) for split, its in given.items()}
    models = []
    for model, its in zip(results.models, scores, strict=True):
        logits = {"valid": its.valid_logit_SN, "test": its.test_logit_SN}
        found = {split: grouped_aucs(logits[split], *here) for split, here in given.items()}
        gauc = {split: spread(np.array(aucs)) for split, aucs in found.items() if aucs}
        models.append(model.model_copy(update={"gauc": gauc}))
    grouping = Grouping(column=group, covered=covered)
    return results.model_copy(update={"models": tuple(models), "grouping": grouping})


def with_segments(
    results: Results, scores: Sequence[ModelScores], names: Sequence[str], dataset: Dataset, test: Labels
) -> Results:
    """Add the metrics of the models `names` per value of every column in `evaluation.segments`."""
    every = {model.name: model.test_logit_SN for model in scores}
    logits, most = {name: every[name] for name in names}, results.evaluation.segment_values
    tables = tuple(
        segment_table(row_values(dataset, "test", column), test.label_N, test.weight_N, logits, most)
        for column in results.evaluation.segments
    )
    return results.model_copy(update={"segments": tables})


def write_predictions(
    dataset: Dataset, models: Sequence[ModelScores], columns: Sequence[str], output: Path
) -> None:
    """Write the test rows: row number in the split, chosen columns, label, weight, all probabilities.

    Each model has one column per seed, `<model>_seed_<seed>`; one without seeds has a column `<model>`, and
    one of several random selections a column for each, `<model>_seed_<seed>_draw_<number>`.
    """
    kinds = ["label", *(["weight"] if dataset.schema.source.named("weight") else [])]
    schema = _schema(dataset, models, columns, kinds)
    with sealed_writer(output, schema, compression="zstd") as (writer, _):
        start = 0
        for values in texts(dataset, "test", columns):
            here = slice(start, start + len(values[0]))
            start = here.stop
            row = np.arange(here.start, here.stop)
            arrays = [row, *values[len(kinds) :], *values[: len(kinds)], *_probabilities(models, here)]
            writer.write_batch(pa.record_batch([pa.array(a) for a in arrays], schema=writer.schema))


def _probabilities(models: Sequence[ModelScores], here: slice) -> Iterator[np.ndarray]:
    for model in models:
        for logit_N in model.test_logit_SN:
            yield expit(logit_N[here].astype(np.float64)).astype(np.float32)


def _schema(
    dataset: Dataset, models: Sequence[ModelScores], columns: Sequence[str], kinds: Sequence[str]
) -> pa.Schema:
    probabilities = [name for model in models for name in _columns(model)]
    own = [(name, _type(dataset, name)) for name in columns]
    types = {"label": pa.int8(), "weight": pa.float32()}
    return pa.schema(
        [
            ("row", pa.int64()),
            *own,
            *((kind, types[kind]) for kind in kinds),
            *((name, pa.float32()) for name in probabilities),
        ]
    )


def _columns(model: ModelScores) -> list[str]:
    if model.deterministic:
        return [model.name]
    draws = model.draws or (None,) * len(model.seeds)
    names = ((f"{model.name}_seed_{seed}", draw) for seed, draw in zip(model.seeds, draws, strict=True))
    return [name if draw is None else f"{name}_draw_{draw}" for name, draw in names]


def _type(dataset: Dataset, name: str) -> pa.DataType:
    known = (*dataset.schema.names, *dataset.schema.source.named("context"))
    return pa.string() if name in known else pa.date32()
