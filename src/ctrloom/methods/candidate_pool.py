"""Candidate interactions of the next order: extensions of the strongest ones (AIM)."""

from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

Field = TypeVar("Field", bound=Hashable)


def extend(
    kept: Mapping[tuple[Field, ...], float], fields: Sequence[Field], pool: int | None = None
) -> list[tuple[Field, ...]]:
    """Candidates of the next order: the strongest tuples of one order, each extended by one field.

    At most pool * len(fields) distinct tuples, in field order. Strength is |score|; ties are broken by field
    order.

    Args:
        kept: tuples of fields (names or numbers) in field order, with their scores.
        fields: all fields, in order.
        pool: number of tuples to extend; None is half the number of fields, rounded down.

    Source: AIM, Algorithm 1; its published code ranks fourth order by the signed score.
    """
    position = {name: i for i, name in enumerate(fields)}
    placed = {tuple(position[name] for name in names): abs(score) for names, score in kept.items()}
    ranked = sorted(placed, key=lambda places: (-placed[places], places))
    strongest = ranked[: len(fields) // 2 if pool is None else pool]
    extended = {
        tuple(sorted((*places, new)))
        for places in strongest
        for new in range(len(fields))
        if new not in places
    }
    return [tuple(fields[place] for place in places) for places in sorted(extended)]
