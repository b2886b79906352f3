"""Comparison of graphs by training each: AutoPI-R's random graphs, or the finalists of a search."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from ctrloom import distributed
from ctrloom.architecture import Architecture, CellGraph
from ctrloom.config import AutoPIConfig, AutoPISettings
from ctrloom.data.batches.batch import Batch
from ctrloom.methods.cell_graphs import random_graph
from ctrloom.methods.interface import SearchData
from ctrloom.models import build
from ctrloom.search_trace import SampledGraph, SearchTrace
from ctrloom.training.history import History
from ctrloom.training.loop import seed_everything
from ctrloom.training.step import loss_of


class Trial(NamedTuple):
    """A trained graph and its result."""

    sample: SampledGraph
    history: History
    score: float


def trials(
    graphs: Sequence[CellGraph],
    train: Callable[..., History],
    data: SearchData,
    config: AutoPIConfig,
    settings: AutoPISettings,
) -> list[Trial]:
    """Train every graph from scratch with the same seed."""
    done = []
    for number, graph in enumerate(graphs, 1):
        seed_everything(config.seed)
        model = build(config.base, architecture(data, "random", graph), data.schema, settings)
        title = f"search, graph {number} of {len(graphs)}"
        history = train(model, data.train, data.valid, settings, config.seed, title)
        epoch = history.best_epoch
        sample = SampledGraph(
            cells=graph, valid_auc=epoch.valid_auc, valid_logloss=epoch.valid_logloss, seconds=history.seconds
        )
        done.append(Trial(sample, history, epoch.score(settings.monitor)))
    return done


def best_of(tried: Sequence[Trial]) -> CellGraph:
    """The graph with the highest score; the first one of ties."""
    return max(tried, key=lambda trial: trial.score).sample.cells


def architecture(data: SearchData, method: str, graph: CellGraph) -> Architecture:
    """The architecture of a graph."""
    return Architecture(method=method, fields=data.schema.names, interactions=(), cells=graph)


def random_controls(data: SearchData, config: AutoPIConfig) -> dict[str, list[Architecture]]:
    """Random graphs of the same size, as controls."""
    graphs = (random_graph(config.nodes, seed, config.operators) for seed in config.draw_seeds)
    drawn = [architecture(data, "random", graph) for graph in graphs]
    return {"random": drawn} if drawn else {}


@torch.no_grad()
def mean_loss(model: nn.Module, batches: Sequence[Batch]) -> float:
    """Mean loss over the batches of all processes; does not change the model's mode."""
    losses = [loss_of(model, batch) * batch.total for batch in batches]
    return float(distributed.all_reduce(torch.stack(losses).sum())) / sum(batch.total for batch in batches)


def trace_of(config: AutoPIConfig, **found: Any) -> SearchTrace:
    """A trace without candidates, as AutoPI does not select individual interactions."""
    searched_with = config.model_dump(mode="json")
    return SearchTrace(
        method="autopi", base=config.base, orders=(), candidates=(), hyperparameters=searched_with, **found
    )
