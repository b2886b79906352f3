"""Score every trained model on the same rows, compare them, and write the report."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ctrloom import storage
from ctrloom.config import MODELS, SPLITS, EvaluationConfig, Split
from ctrloom.config.extras import training_packages
from ctrloom.config.version import code_version
from ctrloom.data.batches.batch import BatchSource
from ctrloom.data.dataset import Dataset
from ctrloom.evaluation.compare import Labels, ModelScores, compare_models
from ctrloom.evaluation.importance import Importance, importance
from ctrloom.evaluation.results import DataSummary, FieldSummary, Results
from ctrloom.evaluation.search_analysis import analyse
from ctrloom.evaluation.seeds import require_same_seeds
from ctrloom.metrics.measure import EvaluationError
from ctrloom.models.left_out import left_out
from ctrloom.models.size import ModelSize, size_of
from ctrloom.progress import progress
from ctrloom.report.markdown import markdown
from ctrloom.search_trace import SearchTrace
from ctrloom.stages.attention import attention_of
from ctrloom.stages.details import require_columns, with_groups, with_segments, write_predictions
from ctrloom.stages.nothing_found import base_of, notes_on
from ctrloom.stages.search_stage import TRACE
from ctrloom.storage import Place
from ctrloom.training.batch_sources import BatchSources
from ctrloom.training.loop import pick_device, score
from ctrloom.training.runs import Run, TrainedSeed, open_by_name, seeds_of
from ctrloom.training.torch_state import restored_torch_state
from ctrloom.tuning.record import Tuning

METRICS, REPORT, PREDICTIONS = "metrics.json", "report.html", "predictions.parquet"
SUMMARY = "summary.md"
FILES = METRICS, PREDICTIONS, SUMMARY, REPORT


@restored_torch_state()
def evaluate(
    manifest: str | Place,
    search_folder: Path,
    run_folders: Sequence[Path],
    seeds: Sequence[int],
    evaluation: EvaluationConfig,
    name: str,
    config: dict[str, Any],
    output: Path,
    tuned: Path | None = None,
) -> Results:
    """Write `metrics.json`, `predictions.parquet`, `summary.md` and `report.html` into the folder `output`.

    This is the only stage of a pipeline that reads the test split, and nothing is chosen on it. `run_folders`
    are the folders that retrain, transfer and baselines wrote, one for all seeds or one for each; `config` is
    what the report shows as the configuration of the whole run, and `tuned` the folder that tune wrote. After
    a search that kept nothing, all models are compared with the searched model without interactions instead
    of `evaluation.base`.

    Raises:
        EvaluationError: a model was trained with other seeds than `seeds`, or cannot be compared.
    """
    storage.require_own(output, *FILES)
    dataset = Dataset.open(manifest)
    require_columns(dataset, evaluation)
    sources = BatchSources(dataset, "valid", "test")
    every = open_by_name(run_folders)
    require_same_seeds(seeds_of(every), seeds)
    with progress("evaluate", len(every), "models") as advance:
        scores = []
        for first, *others in every.values():
            seeds_of_one = [scored(first, dataset, sources, evaluation)]
            seeds_of_one += [scored(run, dataset, sources) for run in others]
            whole = merged_seeds(seeds_of_one)
            scores.append(with_draws(whole, _all_draws(whole, first.record.draws)))
            advance(1)
    valid, test = labels_of(dataset, "valid"), labels_of(dataset, "test")
    summary, tuning = described(dataset, name), Tuning.load(tuned)
    scores = with_tuned_limits(scores, tuning)
    trace = SearchTrace.load(search_folder / TRACE).model_copy(update={"planted": planted(evaluation)})
    given = evaluation.model_copy(update={"base": base_of(trace, scores, evaluation.base)})
    results = compare_models(scores, valid, test, summary, given, code_version(), config)
    notes = notes_on(trace, scores, evaluation.base, config)
    analysis = analyse(trace.base, [trace], summary.sizes)
    update = {"notes": notes, "tuning": tuning.summary([*every]), "searches": (analysis,)}
    results = results.model_copy(update=update)
    results = with_groups(results, scores, dataset, valid, test)
    results = with_segments(results, scores, [results.shown.name, results.base], dataset, test)
    with training_packages():
        from ctrloom.report.render import render  # loads matplotlib

    with storage.atomic_directory(output, *FILES) as temporary:
        results.save(temporary / METRICS)
        write_predictions(dataset, scores, evaluation.columns, temporary / PREDICTIONS)
        storage.write_text(temporary / SUMMARY, markdown(results, trace))
        render(results, trace, temporary / REPORT)
    return results


def planted(evaluation: EvaluationConfig) -> tuple[tuple[str, ...], ...] | None:
    """The interactions planted in synthetic clicks; None if they are unknown."""
    if evaluation.truth is None:
        return None
    truth = storage.read_json(evaluation.truth)
    found = truth.get("interactions") if isinstance(truth, dict) else None
    if not isinstance(found, list) or not all(isinstance(names, list) for names in found):
        raise storage.StorageError(
            f"{evaluation.truth}: has no interactions; expected the truth.json that `synth` writes"
        )
    return tuple(tuple(map(str, names)) for names in found)


def scored(
    run: Run, dataset: Dataset, sources: BatchSources, evaluation: EvaluationConfig | None = None
) -> ModelScores:
    """Score the models of a run on the validation and test rows of `sources`.

    With `evaluation`, the importance of the fields of a retrained model is measured, too, for its first seed.
    """
    settings = run.record.hyperparameters
    valid, test = (rows.to(pick_device(settings.device)) for rows in sources.of(settings))
    valid_logits, test_logits, architectures, seconds, attention = [], [], [], 0.0, None
    sizes: list[ModelSize] = []
    effects: Importance | None = None
    for trained in run.trained(dataset):
        valid_logits.append(score(trained.model, valid))
        began = time.perf_counter()
        test_logits.append(score(trained.model, test))
        seconds += time.perf_counter() - began
        architectures.append(trained.architecture)
        attention = attention or attention_of(trained.model, dataset, valid, valid_logits[0])
        if evaluation and evaluation.permutations and run.record.kind == "retrained" and not effects:
            effects = _importance(trained, dataset, valid, evaluation)
        sizes.append(size_of(trained.model.cpu(), dataset.schema))
    histories = [entry.history for entry in run.record.seeds]
    return ModelScores(
        name=run.record.name,
        title=run.record.title,
        kind=run.record.kind,
        architectures=tuple(architectures) if MODELS[run.record.model].selects else (),
        parameters=round(np.mean([size.parameters for size in sizes])),
        hyperparameters=run.record.hyperparameters.model_dump(mode="json"),
        seeds=tuple(entry.seed for entry in run.record.seeds),
        valid_logit_SN=np.stack(valid_logits),
        test_logit_SN=np.stack(test_logits),
        train_rows_per_second=float(np.median([history.rows_per_second for history in histories])),
        inference_rows_per_second=len(test) * len(test_logits) / seconds,
        train_seconds=sum(history.seconds for history in histories),
        curves=tuple(history.epochs for history in histories),
        counterpart=run.record.counterpart,
        attention=attention,
        limited_by=run.record.limited_by,
        deterministic=run.record.deterministic,
        size=sizes[0],
        importance=effects,
        note=next(filter(None, (left_out(run.record.model, found) for found in architectures)), None),
        draws=tuple(entry.draw for entry in run.record.seeds),
    )


def _importance(
    trained: TrainedSeed, dataset: Dataset, valid: BatchSource, evaluation: EvaluationConfig
) -> Importance:
    return importance(
        trained.model,
        valid,
        dataset.schema,
        trained.architecture,
        evaluation.permutations,
        evaluation.permutation_rows,
        evaluation.seed,
    )


def merged_seeds(seeds: Sequence[ModelScores]) -> ModelScores:
    """Join the scores of one model whose seeds were trained separately."""
    return replace(
        seeds[0],
        architectures=tuple(a for each in seeds for a in each.architectures),
        parameters=round(np.mean([each.parameters for each in seeds])),
        seeds=tuple(seed for each in seeds for seed in each.seeds),
        valid_logit_SN=np.concatenate([each.valid_logit_SN for each in seeds]),
        test_logit_SN=np.concatenate([each.test_logit_SN for each in seeds]),
        train_rows_per_second=float(np.median([each.train_rows_per_second for each in seeds])),
        inference_rows_per_second=float(np.median([each.inference_rows_per_second for each in seeds])),
        train_seconds=sum(each.train_seconds for each in seeds),
        search_seconds=sum(each.search_seconds for each in seeds),
        curves=tuple(curve for each in seeds for curve in each.curves),
        limited_by=next((each.limited_by for each in seeds if each.limited_by), None),
        note=next((each.note for each in seeds if each.note), None),
        draws=tuple(draw for each in seeds for draw in each.draws),
    )


def _all_draws(model: ModelScores, draws: int) -> int:
    """The number of random selections of a control; raises EvaluationError unless all were trained."""
    trained = {draw for draw in model.draws if draw is not None}
    if trained and (missing := set(range(draws)) - trained):
        raise EvaluationError(
            f"{model.name}: draw {min(missing)} of {draws} was not trained; give draw_seeds the list of seeds"
        )
    return len(trained)


def with_draws(model: ModelScores, draws: int) -> ModelScores:
    """Note that the figures of a control are means over a number of random selections."""
    mean = f"mean of {draws} draws" if draws > 1 else None
    return replace(model, note="; ".join(filter(None, (mean, model.note))) or None)


def with_tuned_limits(scores: Sequence[ModelScores], tuning: Tuning) -> list[ModelScores]:
    """Name what to raise where tuning chose the setting that ended a training."""
    names = [model.counterpart if model.kind == "control" else model.name for model in scores]
    return [
        replace(model, limited_by=tuning.limit(name or model.name, model.limited_by))
        for name, model in zip(names, scores, strict=True)
    ]


def labels_of(dataset: Dataset, split: Split) -> Labels:
    """Labels and weights of a split."""
    rows = dataset.stream(split)
    return Labels(rows.label_N.numpy(), None if rows.weight_N is None else rows.weight_N.numpy())


def described(dataset: Dataset, name: str) -> DataSummary:
    """Summary of the data set for the results."""
    counted = {split: dataset.counted(split) for split in SPLITS}
    fields = (FieldSummary(name=f.name, kind=f.kind, size=f.size) for f in dataset.schema.fields)
    return DataSummary(
        name=name,
        data_fingerprint=dataset.data_fingerprint,
        schema_fingerprint=dataset.schema.fingerprint,
        rows={split: found.rows for split, found in counted.items()},
        clicks={split: found.clicks for split, found in counted.items()},
        label_rate={split: found.label_rate for split, found in counted.items()},
        fields=tuple(fields),
    )
