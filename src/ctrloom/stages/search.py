"""Search for the interactions that a model needs."""

from pathlib import Path
from typing import Any

from ctrloom import storage
from ctrloom.architecture import Architecture, Provenance
from ctrloom.config import Hyperparameters, SearchConfig
from ctrloom.data.dataset import Dataset
from ctrloom.search import autofis
from ctrloom.search.controls import best_by_score, random_like
from ctrloom.search.statistics import with_statistics
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
    trace = with_statistics(trace, train, dataset.rows("valid"), dataset.schema)
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
