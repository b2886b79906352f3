"""Selection by residuals: the interactions that explain what main effects leave over, by a calibrated test.

Nothing is trained but an additive logistic regression. Orders are searched one after the other. Within an
order, the strongest candidates are kept first, and the others are tested again given those, so that an effect
is not credited twice. For prediction an effect may be credited twice, and weak ones help together though none
is significant: as many of the strongest are kept as lower the logloss of validation rows.

Related: FAST ranks pairs by what they add to main effects, without a test (Lou, Caruana, Gehrke and Hooker,
KDD 2013).
"""

import time
from collections.abc import Collection, Mapping
from math import comb

from ctrloom.config import Hyperparameters, ResidualConfig
from ctrloom.config.combinations import combinations_of
from ctrloom.methods.candidate_pool import extend
from ctrloom.methods.interface import SearchData, SearchResult, require_fields
from ctrloom.methods.scored import scored_result
from ctrloom.methods.statistics.evidence import Evidence, Fields, discoveries, p_values, random_blocks
from ctrloom.methods.statistics.field_codes import CodedRows, Coder
from ctrloom.methods.statistics.forward_selection import select
from ctrloom.methods.statistics.number_to_keep import best_number
from ctrloom.schema import Schema
from ctrloom.training.loop import pick_device

BLOCKS = 8  # of rows; see `statistics.residual_test`
EVERY = 5_000  # candidates of an order that are all tested, without a pool


def require(schema: Schema, config: ResidualConfig, settings: Hyperparameters) -> None:
    """Raise ConfigError if there are fewer fields than the order."""
    require_fields(schema, config.order)


def search(data: SearchData, config: ResidualConfig, settings: Hyperparameters) -> SearchResult:
    """Keep the interactions that are significant at the false discovery rate, or those that predict best.

    A candidate's score is its t value on training rows.

    Raises:
        ConfigError: fewer fields than the order.
    """
    names = data.schema.names
    require(data.schema, config, settings)
    began = time.perf_counter()
    train, valid = data.every()
    coder, device = Coder.fit(data.schema, train), pick_device(settings.device)
    rows = CodedRows.of(coder, train)
    evidence = Evidence(rows, random_blocks(len(rows), BLOCKS, config.seed), device)
    if config.keep == "significant":
        scores, kept = _significant_ones(evidence, len(names), config)
    else:
        scores, kept = _predictive_ones(evidence, CodedRows.of(coder, train, valid), len(names), config)
    significant = {
        fields for order in range(2, config.order + 1) for fields in _significant(scores, order, config)
    }
    named = {fields: tuple(names[field] for field in fields) for fields in scores}
    return scored_result(
        data,
        config,
        {named[fields]: t for fields, t in scores.items()},
        {named[fields] for fields in kept},
        time.perf_counter() - began,
        {named[fields]: p for fields, p in p_values(scores).items()},
        {named[fields] for fields in kept if fields not in significant},
    )


Scores = dict[Fields, float]


def _significant_ones(evidence: Evidence, fields: int, config: ResidualConfig) -> tuple[Scores, Scores]:
    """T values of all candidates, and of those that are significant given the others."""
    scores: Scores = {}
    kept: Scores = {}
    for order in range(2, config.order + 1):
        candidates = _candidates(order, fields, scores, config.pool)
        title = f"search, order {order}"
        found, chosen = select(evidence, candidates, kept, config.false_discovery, title)
        scores |= found
        kept |= chosen
        for part in [each for each in kept if any({*each} < {*whole} for whole in chosen)]:
            # A part may have been significant only because its whole was not known yet
            others = {other: t for other, t in kept.items() if other != part}
            scores |= evidence.t_values([part], others, title)
        still = {each for lower in range(2, order + 1) for each in _significant(scores, lower, config)}
        kept = {each: scores[each] for each in kept if each in still}
    return scores, kept


def _predictive_ones(
    evidence: Evidence, rows: CodedRows, fields: int, config: ResidualConfig
) -> tuple[Scores, Scores]:
    """T values of all candidates, and of the strongest of each order, as many as predict best."""
    scores: Scores = {}
    kept: Scores = {}
    for order in range(2, config.order + 1):
        candidates = _candidates(order, fields, scores, config.pool)
        found = evidence.t_values(candidates, kept, f"search, order {order}")
        ranked = sorted(candidates, key=lambda each: -found[each])
        count = best_number(rows, ranked, kept, evidence.device, f"number to keep, order {order}")
        scores |= found
        kept |= {each: found[each] for each in ranked[:count]}
    return scores, kept


def _candidates(order: int, fields: int, scores: Mapping[Fields, float], pool: int | None) -> list[Fields]:
    """All interactions of an order, or extensions of the strongest ones of the order below."""
    if order == 2 or (pool is None and comb(fields, order) <= EVERY):
        return combinations_of(range(fields), order)
    below = {each: max(t, 0.0) for each, t in scores.items() if len(each) == order - 1}
    return extend(below, range(fields), pool)


def _significant(scores: Scores, order: int, config: ResidualConfig) -> Collection[Fields]:
    of_order = {fields: t for fields, t in scores.items() if len(fields) == order}
    return discoveries(p_values(of_order), config.false_discovery)
