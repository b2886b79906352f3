"""Forward selection of interactions, so that no effect is credited twice."""

from collections.abc import Mapping, Sequence

from ctrloom.methods.statistics.evidence import Evidence, Fields, discoveries, p_values

HOPELESS = 0.05  # candidates with a larger p value, unadjusted, are not tested again


def select(
    evidence: Evidence,
    candidates: Sequence[Fields],
    known: Mapping[Fields, float],
    rate: float,
    title: str,
    hypotheses: int | None = None,
) -> tuple[dict[Fields, float], dict[Fields, float]]:
    """T values of all candidates, and of those that are kept at the false discovery rate `rate`.

    Every round keeps the significant candidates that overlap no stronger one, and tests the others again
    given those. If the candidates were chosen from more `hypotheses`, p values are adjusted for all of them.
    """
    kept: dict[Fields, float] = {}
    found: dict[Fields, float] = {}
    again = candidates
    while again:
        found |= evidence.t_values(again, {**known, **kept}, title)
        p = p_values(found)
        new = [fields for fields in discoveries(p, rate, hypotheses) if fields not in kept]
        for fields in sorted(new, key=lambda fields: -found[fields]):
            if not any(_overlap(fields, other) for other in new if found[other] > found[fields]):
                kept[fields] = found[fields]
        again = [fields for fields in candidates if fields not in kept and p[fields] <= HOPELESS]
        if not new:
            break
    significant = discoveries(p_values(found), rate, hypotheses)
    return found, {fields: t for fields, t in kept.items() if fields in significant}


def _overlap(one: Fields, other: Fields) -> bool:
    """Whether all fields but one are the same."""
    return len({*one} & {*other}) == len(one) - 1
