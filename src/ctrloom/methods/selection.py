"""Selection without training: the best interactions by a statistic, or random ones."""

import math
import time
from collections.abc import Sequence

import numpy as np

from ctrloom.config import Hyperparameters, SelectionConfig
from ctrloom.config.base import ConfigError
from ctrloom.config.combinations import combinations_of
from ctrloom.methods.interface import SearchData, SearchResult
from ctrloom.methods.scored import scored_result
from ctrloom.methods.statistics.candidates import information, statistics_aucs
from ctrloom.schema import Schema


def require(schema: Schema, config: SelectionConfig, settings: Hyperparameters) -> None:
    """Raise ConfigError if `keep` exceeds the number of candidates."""
    fields = len(schema.fields)
    for order, wanted in sorted(config.keep.items()):
        if wanted > (there := math.comb(fields, order)):
            raise ConfigError(
                f"search.keep: {wanted:,} interactions of order {order} were requested, "
                f"but {fields} fields have only {there:,}; use {order}: {there} or less"
            )


def search(data: SearchData, config: SelectionConfig, settings: Hyperparameters) -> SearchResult:
    """Select the `keep` best interactions of each order; also returns all scores and the controls.

    The scores are statistics-AUC (counted on training rows, scored on validation rows), mutual information
    with the label (training rows; OptInter, Eq. 21), or random numbers.

    Raises:
        ConfigError: `keep` exceeds the number of candidates.
    """
    require(data.schema, config, settings)
    orders = tuple(sorted(config.keep))
    every = {order: combinations_of(data.schema.names, order) for order in orders}
    began = time.perf_counter()
    scores = _scores([fields for order in orders for fields in every[order]], data, config)
    best = {
        fields
        for order in orders
        for fields in sorted(every[order], key=lambda t: -scores[t])[: config.keep[order]]
    }
    return scored_result(data, config, scores, best, time.perf_counter() - began)


def _scores(
    tuples: Sequence[tuple[str, ...]], data: SearchData, config: SelectionConfig
) -> dict[tuple[str, ...], float]:
    if config.method == "random":
        drawn = np.random.default_rng(config.seed).random(len(tuples))
        return dict(zip(tuples, drawn.tolist(), strict=True))
    if config.method == "mutual_information":
        return information(tuples, data, config.corrected)
    return statistics_aucs(tuples, data)
