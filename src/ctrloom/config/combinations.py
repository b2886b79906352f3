"""Combinations of fields, as long as they can be listed."""

import math
from collections.abc import Sequence
from itertools import combinations
from typing import TypeVar

from ctrloom.config.base import ConfigError

MOST = 1_000_000
Item = TypeVar("Item")


def combinations_of(fields: Sequence[Item], order: int) -> list[tuple[Item, ...]]:
    """All combinations of so many fields, in the order of the fields.

    Raises:
        ConfigError: there are too many.
    """
    if (count := math.comb(len(fields), order)) > MOST:
        raise ConfigError(
            f"{len(fields):,} fields have {count:,} combinations of {order}, but at most {MOST:,} can be "
            "listed: give fewer columns (kind ignored), or a lower order"
        )
    return list(combinations(fields, order))
