"""Check that compared models were trained with the same seeds."""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from ctrloom.metrics.measure import EvaluationError


def require_same_seeds(trained: Mapping[str, Iterable[int]], wanted: Iterable[int] | None = None) -> None:
    """Check that every model was trained once with each of the same seeds, and with those `wanted`.

    Raises:
        EvaluationError: otherwise; the message names the models and their seeds.
    """
    models = defaultdict(list)
    for name, seeds in trained.items():
        models[tuple(sorted(seeds))].append(name)
    for seeds, names in models.items():
        if twice := {seed for seed in seeds if seeds.count(seed) > 1}:
            raise EvaluationError(
                f"{', '.join(names)}: trained twice with seed {min(twice)}; pass only one of them"
            )
    if len(models) > 1:
        raise EvaluationError(
            f"models were trained with different seeds: {_named(models)}; train all of them with the same"
        )
    expected = tuple(sorted(wanted)) if wanted is not None else None
    if models and expected is not None and expected not in models:
        raise EvaluationError(
            f"the run has {_seeds(expected)}, but models were trained with others: {_named(models)}; "
            "train the missing ones, or leave them out of `seeds`"
        )


def _named(models: Mapping[tuple[int, ...], list[str]]) -> str:
    return "; ".join(f"{', '.join(names)} with {_seeds(seeds)}" for seeds, names in sorted(models.items()))


def _seeds(seeds: tuple[int, ...]) -> str:
    return f"seed{'s' if len(seeds) != 1 else ''} {', '.join(map(str, seeds)) or '(none)'}"
