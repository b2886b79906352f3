"""Trainings and searches that give the same results in one process and, under torchrun, in several.

`torchrun --nproc-per-node 2 distributed_cases.py <folder> <case> ...` writes the results of rank 0 to the
folder.
"""

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from small import categorical_schema, crossed, planting, rows_of, schema_of
from torch import nn

from ctrloom import distributed
from ctrloom.architecture import Architecture
from ctrloom.config import (
    MODELS,
    AIMConfig,
    AIMSettings,
    AutoFISConfig,
    AutoPIConfig,
    AutoPISettings,
    Hyperparameters,
    ModelName,
    ModelsConfig,
    OptInterConfig,
    OptInterSettings,
    ResidualConfig,
)
from ctrloom.data.batches.batch import Batch, Shard
from ctrloom.methods import aim, autofis, autopi, optinter, residual
from ctrloom.methods.interface import SearchData, SearchResult
from ctrloom.models import build
from ctrloom.nn.cross_features import fill_crosses
from ctrloom.training.loop import fit, seed_everything
from ctrloom.training.processes import data_parallel

BATCH = 64
LAST = 2  # rows of the last batch: sometimes one of two processes has none of them
SETTINGS = {"embedding_size": 4, "hidden": (8,), "batch_size": BATCH, "learning_rate": 0.01, "epochs": 2}
MIXED = schema_of(("categorical", 9), ("numeric", 2), ("multivalued", 5, 3), ("categorical", 7))
CROSSED, KEYS = crossed(categorical_schema(4, 6))


def own(rows: Batch) -> Batch:
    """This process's shard of the rows."""
    number, count = distributed.rank_and_world_size()
    start, stop = (len(rows) * at // count for at in (number, number + 1))
    return rows if count == 1 else Shard.of(rows[start:stop], start, len(rows))


def trained(name: ModelName, weighted: bool = False, **settings: Any) -> dict[str, Any]:
    """Train a model on rows of every kind of field, or with cross features if it memorizes."""
    hyper = ModelsConfig({name: SETTINGS | settings}).of(name)
    schema = CROSSED if name in ("optinter", "poly2") else MIXED
    rows = rows_of(schema, 4 * BATCH + LAST + 201)
    if weighted:
        weight_N = torch.linspace(0.1, 3, len(rows))
        rows = Batch(rows.ids_NC, rows.label_N, rows.factors_NC, weight_N)
    train, valid = own(rows[201:]), own(rows[:201])
    seed_everything(5)
    model = build(name, architecture_of(name, schema), schema, hyper)
    fill_crosses(model, KEYS)
    history = fit(model, train, valid, hyper, 5, name)
    return result(model, [list(epoch.model_dump().values()) for epoch in history.epochs])


def architecture_of(name: ModelName, schema: Any) -> Architecture:
    every = Architecture.complete(schema.names)
    if name == "autopi":
        return autopi.architecture(SearchData(None, None, schema), "random", autopi.random_graph(2, 0))  # type: ignore[arg-type]
    if name == "optinter":
        kinds = ("memorize", "hadamard")
        pairs = [i.model_copy(update={"function": kinds[n % 2]}) for n, i in enumerate(every.interactions)]
        return every.model_copy(update={"interactions": tuple(pairs)})
    return every


def result(model: nn.Module, numbers: Any) -> dict[str, Any]:
    weights = {key: value.double().flatten().tolist() for key, value in model.state_dict().items()}
    return {"weights": weights, "numbers": numbers}


def searched(run: Callable[[SearchData], SearchResult], crosses: bool = False) -> dict[str, Any]:
    """Search on planted clicks: the kept interactions and the path of the gates."""
    made = planting(rows=1000 + LAST, fields=5, sizes=(8,), pairs=3, strength=2.0)
    schema, keys = crossed(made.schema) if crosses else (made.schema, {})
    train, valid = made.rows[301:], made.rows[:301]
    found = run(
        SearchData(
            own(train),
            own(valid),
            schema,
            keys,
            None if distributed.is_single_process() else lambda: (train, valid),
        )
    )
    trace = found.trace
    operators = [o.strength for o in trace.operators]
    statistics = [c.statistics_auc for c in trace.candidates]
    cells = found.architecture.cells
    edges = (*cells.interaction, *cells.ensemble) if cells else ()
    return {
        "kept": [[*i.fields, i.function] for i in found.architecture.interactions]
        + [[edge.source, edge.target, edge.operator] for edge in edges],
        "controls": {n: [a.fingerprint for a in each] for n, each in found.controls.items()},
        "numbers": [trace.path_scores, [c.score for c in trace.candidates], operators, statistics],
        "weights": {},
    }


QUICK = {"epochs": 2, "random_draws": 1, "batch_size": BATCH}
DEEP = {"dropout": 0.0, "batch_norm": True}
CASES: dict[str, Callable[[], dict[str, Any]]] = {
    "fm": lambda: trained("fm", embedding_l2=1e-3),
    "fm, row by row": lambda: trained("fm", embedding_optimizer="lazy_adam", embedding_l2=1e-3),
    "fm, weighted": lambda: trained("fm", weighted=True, embedding_optimizer="rowwise_adagrad"),
    "autodeepfm, batch norm": lambda: trained("autodeepfm", **DEEP),
    "optinter, memorizing": lambda: trained("optinter", cross_hiding=0.0, cross_l2=1e-3, dropout=0.0),
    "search: autofis": lambda: searched(
        lambda task: autofis.search(
            task, AutoFISConfig(**QUICK, threshold=0.5), Hyperparameters(**SETTINGS, **DEEP)
        )
    ),
    "search: residual": lambda: searched(
        lambda task: residual.search(
            task, ResidualConfig(random_draws=1, false_discovery=0.99), Hyperparameters(**SETTINGS)
        )
    ),
    "search: residual, predictive": lambda: searched(
        lambda task: residual.search(
            task, ResidualConfig(random_draws=1, keep="predictive"), Hyperparameters(**SETTINGS)
        )
    ),
    "search: optinter, halves": lambda: searched(
        lambda task: optinter.search(
            task,
            OptInterConfig(**QUICK, bi_level=True),
            OptInterSettings(**SETTINGS, cross_hiding=0.0, dropout=0.0),
        ),
        crosses=True,
    ),
}
MORE: dict[str, Callable[[], dict[str, Any]]] = {
    **{
        f"model: {name}": lambda name=name: trained(name, **DEEP | EXTRA.get(name, {}))  # type: ignore[misc]
        for name in MODELS
        if not MODELS[name].trees
    },
    "search: autofis, halves, triples": lambda: searched(
        lambda task: autofis.search(
            task,
            AutoFISConfig(**QUICK, threshold=0.5, bi_level=True, order=3),
            Hyperparameters(**SETTINGS, **DEEP),
        )
    ),
    "search: aim": lambda: searched(
        lambda task: aim.search(
            task,
            AIMConfig(**QUICK, threshold=0.5, embedding_epochs=2, embedding_threshold=0.5),
            AIMSettings(**SETTINGS, dropout=0.0),
        )
    ),
    "search: autopi": lambda: searched(
        lambda task: autopi.search(
            task, AutoPIConfig(**QUICK, nodes=2, noisy_skip=False), AutoPISettings(**SETTINGS, dropout=0.0)
        )
    ),
    "search: autopi, perturbed": lambda: searched(
        lambda task: autopi.search(
            task,
            AutoPIConfig(**QUICK, nodes=2, choose_by="perturbation"),
            AutoPISettings(**SETTINGS, dropout=0.0),
        )
    ),
    "search: autopi, one shot": lambda: searched(
        lambda task: autopi.search(
            task,
            AutoPIConfig(**QUICK, nodes=2, strategy="one_shot", candidates=9, finalists=2, finalist_epochs=1),
            AutoPISettings(**SETTINGS, dropout=0.0),
        )
    ),
}
EXTRA: dict[str, dict[str, Any]] = {
    "optinter": {"cross_hiding": 0.0, "batch_norm": True, "layer_norm": False},
    "poly2": {"cross_hiding": 0.0},
    "autointplus": {"attention_dropout": 0.0},
    "autoint": {"attention_dropout": 0.0},
    "masknet": {"batch_norm": False, "dropout": 0.0},
    "dcnv3": {"batch_norm": False, "dropout": 0.0, "linear_dropout": 0.0, "embedding_std": 0.1},
    "finalnet": {"second_hidden": (4,)},
    "autogroup": {"structure_learning_rate": 1e-12},  # each process samples its own groups
}


@contextmanager
def exact() -> Iterator[None]:
    """Compute in float64, as Adam amplifies rounding errors."""
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


def results(names: list[str]) -> dict[str, dict[str, Any]]:
    with exact():
        return {name: {**CASES, **MORE}[name]() for name in names}


@data_parallel
def dying(how: str) -> None:
    """A stage whose second process dies."""
    if distributed.rank_and_world_size()[0] == 1:
        if how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        raise TypeError(how)
    distributed.all_reduce(torch.zeros(3))


if __name__ == "__main__":
    torch.set_num_threads(1)
    found = data_parallel(results)(sys.argv[2:])
    if os.environ["RANK"] == "0":
        (Path(sys.argv[1]) / "results.json").write_text(json.dumps(found))
    np.savetxt(Path(sys.argv[1]) / f"{os.environ['RANK']}.txt", [])
