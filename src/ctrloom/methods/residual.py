"""Selection by residuals: the interactions that explain what main effects leave over, by a calibrated test.

Nothing is trained but an additive logistic regression. Orders are searched one after the other. Within an
order, the strongest candidates are kept first, and the others are tested again given those, so that an effect
is not credited twice.

Related: FAST ranks pairs by what they add to main effects, without a test (Lou, Caruana, Gehrke and Hooker,
KDD 2013).
"""

import time
from collections.abc import Collection, Mapping
from itertools import combinations
from math import comb

from ctrloom.config import Hyperparameters, ResidualConfig
from ctrloom.config.base import ConfigError
from ctrloom.methods.candidate_pool import extend
from ctrloom.methods.interface import SearchData, SearchResult
from ctrloom.methods.scored import scored_result
from ctrloom.methods.statistics.evidence import Evidence, Fields, discoveries, p_values, random_blocks
from ctrloom.methods.statistics.field_codes import CodedRows, Coder
from ctrloom.methods.statistics.forward_selection import select
from ctrloom.training.loop import pick_device

BLOCKS = 8  # of rows; see `statistics.residual_test`
EVERY = 5_000  # candidates of an order that are all tested, without a pool


def search(data: SearchData, config: ResidualConfig, settings: Hyperparameters) -> SearchResult:
    """Keep the interactions that are significant at the false discovery rate `config.false_discovery`.

    A candidate's score is its t value on training rows.

    Raises:
        ConfigError: fewer fields than the order.
    """
    names, rate = data.schema.names, config.false_discovery
    if len(names) < config.order:
        raise ConfigError(
            f"search.order: needs at least {config.order} fields, but the data has {len(names)}"
        )
    began = time.perf_counter()
    train, _ = data.every()
    rows = CodedRows.of(Coder.fit(data.schema, train), train)
    blocks = random_blocks(len(rows), BLOCKS, config.seed)
    evidence = Evidence(rows, blocks, pick_device(settings.device))
    scores: dict[Fields, float] = {}
    kept: dict[Fields, float] = {}
    for order in range(2, config.order + 1):
        candidates = _candidates(order, len(names), scores, config.pool)
        title = f"search, order {order}"
        found, chosen = select(evidence, candidates, kept, rate, title)
        scores |= found
        kept |= chosen
        for fields in [each for each in kept if any({*each} < {*whole} for whole in chosen)]:
            # A part may have been significant only because its whole was not known yet
            others = {other: t for other, t in kept.items() if other != fields}
            scores |= evidence.t_values([fields], others, title)
        still = {fields for each in range(2, order + 1) for fields in _significant(scores, each, rate)}
        kept = {fields: scores[fields] for fields in kept if fields in still}
    named = {fields: tuple(names[field] for field in fields) for fields in scores}
    return scored_result(
        data,
        config,
        {named[fields]: t for fields, t in scores.items()},
        {named[fields] for fields in kept},
        time.perf_counter() - began,
        {named[fields]: p for fields, p in p_values(scores).items()},
    )


def _candidates(order: int, fields: int, scores: Mapping[Fields, float], pool: int | None) -> list[Fields]:
    """All interactions of an order, or extensions of the strongest ones of the order below."""
    if order == 2 or (pool is None and comb(fields, order) <= EVERY):
        return list(combinations(range(fields), order))
    below = {each: max(t, 0.0) for each, t in scores.items() if len(each) == order - 1}
    return extend(below, range(fields), pool)


def _significant(scores: Mapping[Fields, float], order: int, rate: float) -> Collection[Fields]:
    return discoveries(p_values({fields: t for fields, t in scores.items() if len(fields) == order}), rate)
