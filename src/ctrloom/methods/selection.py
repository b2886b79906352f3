"""Selection without training: the best interactions by a statistic, or random ones."""

import time
from collections.abc import Sequence
from itertools import combinations

import numpy as np

from ctrloom.architecture import Architecture, Interaction
from ctrloom.config import Hyperparameters, SelectionConfig
from ctrloom.config.base import ConfigError
from ctrloom.methods.controls import gate_controls
from ctrloom.methods.interface import SearchData, SearchResult
from ctrloom.methods.statistics.candidates import information, statistics_aucs, with_statistics
from ctrloom.search_trace import Candidate, SearchTrace


def search(data: SearchData, config: SelectionConfig, settings: Hyperparameters) -> SearchResult:
    """Select the `keep` best interactions of each order; also returns all scores and the controls.

    The scores are statistics-AUC (counted on training rows, scored on validation rows), mutual information
    with the label (training rows; OptInter, Eq. 21), or random numbers.

    Raises:
        ConfigError: `keep` exceeds the number of candidates.
    """
    names = data.schema.names
    orders = tuple(sorted(config.keep))
    every = {order: list(combinations(names, order)) for order in orders}
    for order in orders:
        if (wanted := config.keep[order]) > (there := len(every[order])):
            raise ConfigError(
                f"search.keep: {wanted:,} interactions of order {order} were requested, "
                f"but {len(names)} fields have only {there:,}; use {order}: {there} or less"
            )
    began = time.perf_counter()
    scores = _scores([fields for order in orders for fields in every[order]], data, config)
    best = {
        order: set(sorted(every[order], key=lambda t: -scores[t])[: config.keep[order]]) for order in orders
    }
    seconds = time.perf_counter() - began
    trace = SearchTrace(
        method=config.method,
        base=config.base,
        orders=orders,
        candidates=tuple(
            Candidate(fields=fields, score=scores[fields], kept=fields in best[order])
            for order in orders
            for fields in every[order]
        ),
        seconds=seconds,
        rows_per_second=len(data.train) / seconds,
        hyperparameters=config.model_dump(mode="json"),
    )
    kept = tuple(Interaction(fields=c.fields, score=c.score) for c in trace.candidates if c.kept)
    found = Architecture(method=config.method, fields=names, interactions=kept)
    trace = with_statistics(trace, data)
    controls = gate_controls(found, trace, config.random_draws, config.seed)
    controls.pop(config.method.replace("_", "-"), None)  # identical to the result
    return SearchResult(found, trace, controls)


def _scores(
    tuples: Sequence[tuple[str, ...]], data: SearchData, config: SelectionConfig
) -> dict[tuple[str, ...], float]:
    if config.method == "random":
        drawn = np.random.default_rng(config.seed).random(len(tuples))
        return dict(zip(tuples, drawn.tolist(), strict=True))
    if config.method == "mutual_information":
        return information(tuples, data, config.corrected)
    return statistics_aucs(tuples, data)
