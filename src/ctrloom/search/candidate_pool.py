"""Which interactions of the next order are worth a gate: those that extend a strong one (AIM)."""

from collections.abc import Mapping, Sequence


def extend(
    kept: Mapping[tuple[str, ...], float], fields: Sequence[str], pool: int | None = None
) -> list[tuple[str, ...]]:
    """The strongest tuples of one order, each with one field more: the candidates of the next order.

    At most pool * len(fields) of them, in field order and each once. Strength is |score|; of equally strong
    tuples the first in field order comes first.

    Args:
        kept: tuples of field names in field order, with their scores.
        fields: names of all fields, in order.
        pool: how many tuples are extended; None is half the number of fields, rounded down.

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
