"""Graphs of operators that are compared by training each: AutoPI-R's random ones, or a search's finalists."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ctrloom.architecture import Architecture, CellGraph
from ctrloom.config import AutoPIConfig, AutoPISettings
from ctrloom.models import build
from ctrloom.search.task import Task
from ctrloom.search.trace import SampledGraph
from ctrloom.training.loop import History, seed_everything


@dataclass(frozen=True)
class Trial:
    """A graph that was trained, and what came of it."""

    sample: SampledGraph
    history: History
    score: float


def architecture(task: Task, method: str, graph: CellGraph) -> Architecture:
    """What a model is built from when it is that graph."""
    return Architecture(method=method, fields=task.schema.names, interactions=(), cells=graph)


def trials(
    graphs: Sequence[CellGraph],
    train: Callable[..., History],
    task: Task,
    config: AutoPIConfig,
    hyper: AutoPISettings,
) -> list[Trial]:
    """Every graph trained from scratch, all with one seed."""
    done = []
    for number, graph in enumerate(graphs, 1):
        seed_everything(config.seed)
        model = build(config.base, architecture(task, "random", graph), task.schema, hyper)
        title = f"search, graph {number} of {len(graphs)}"
        history = train(model, task.train, task.valid, hyper, config.seed, title)
        epoch = history.best_epoch
        sample = SampledGraph(
            cells=graph, valid_auc=epoch.valid_auc, valid_logloss=epoch.valid_logloss, seconds=history.seconds
        )
        done.append(Trial(sample, history, epoch.score(hyper.monitor)))
    return done


def best_of(tried: Sequence[Trial]) -> CellGraph:
    """The graph that reached most; of equals the first."""
    return max(tried, key=lambda trial: trial.score).sample.cells
