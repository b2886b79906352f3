"""Search for the interactions that a model needs."""

from pathlib import Path
from typing import Any

from ctrloom import storage
from ctrloom.architecture import Architecture, Provenance
from ctrloom.config import Hyperparameters, SearchConfig
from ctrloom.data.dataset import Dataset
from ctrloom.evaluation.statistics_auc import statistics_auc
from ctrloom.search import autofis
from ctrloom.search.controls import best_by_score, random_like
from ctrloom.search.trace import SearchTrace
from ctrloom.version import code_version

ARCHITECTURE, TRACE, CONTROLS = "architecture.json", "search.json", "controls"


def search(manifest: Path, config: SearchConfig, models: dict[Any, Any], output: Path) -> Architecture:
    """Write `architecture.json`, `search.json` and the control selections into the folder `output`.

    Gates are trained on the train split; statistics-AUC is read off the validation split.
    """
    dataset = Dataset.open(manifest)
    train = dataset.rows("train")
    hyper = Hyperparameters.of(models, config.base)
    found, trace = autofis.search(train, dataset.schema, config, hyper)
    provenance = Provenance(
        data_fingerprint=dataset.data_fingerprint,
        schema_fingerprint=dataset.schema.fingerprint,
        code_version=code_version(),
        seed=config.seed,
        config={"search": config.model_dump(mode="json"), "model": hyper.model_dump(mode="json")},
        search_seconds=trace.seconds,
    )
    found = found.model_copy(update={"provenance": provenance})
    trace = _with_statistics(trace, dataset)
    scores = {c.fields: c.statistics_auc for c in trace.candidates if c.statistics_auc is not None}
    with storage.atomic_directory(output) as aside:
        found.save(aside / ARCHITECTURE)
        trace.save(aside / TRACE)
        controls = aside / CONTROLS
        Architecture.complete(found.fields, trace.orders).save(controls / "unpruned" / "0.json")
        best_by_score(found, scores).save(controls / "statistics-auc" / "0.json")
        for draw in range(config.random_draws):
            random_like(found, config.seed + draw).save(controls / "random" / f"{draw}.json")
    return found


def _with_statistics(trace: SearchTrace, dataset: Dataset) -> SearchTrace:
    """Add to each candidate what its fields alone say about the label (AutoFIS, section 4.6)."""
    train, valid = dataset.rows("train"), dataset.rows("valid")
    tuples = [dataset.schema.first_columns(candidate.fields) for candidate in trace.candidates]
    aucs = statistics_auc(
        train.ids_NC.numpy(), train.label_N.numpy(), valid.ids_NC.numpy(), valid.label_N.numpy(), tuples
    )
    scored = zip(trace.candidates, aucs, strict=True)
    candidates = tuple(c.model_copy(update={"statistics_auc": float(auc)}) for c, auc in scored)
    return trace.model_copy(update={"candidates": candidates})
