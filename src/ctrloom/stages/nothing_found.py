"""The evaluation of a run whose search kept no interaction."""

from collections.abc import Mapping, Sequence
from typing import Any

from ctrloom.config import MODELS
from ctrloom.evaluation.compare import ModelScores
from ctrloom.search_trace import SearchTrace


def base_of(trace: SearchTrace, models: Sequence[ModelScores], configured: str) -> str:
    """The model to compare with: the searched model without interactions, if the search kept none.

    This is the model that is equal to it, such as LR for AutoFM, or else the retrained model itself.
    """
    names = [model.name for model in models]
    wanted = (MODELS[trace.base].without_interactions, trace.base) if trace.found_nothing else ()
    return next((name for name in wanted if name in names), configured)


def notes_on(
    trace: SearchTrace, models: Sequence[ModelScores], configured: str, config: Mapping[str, Any]
) -> tuple[str, ...]:
    """Sentences about the base of the comparison, and about the transfers that were skipped."""
    if not trace.found_nothing:
        return ()
    base = base_of(trace, models, configured)
    shown = next(model.title for model in models if model.name == base)
    same = f"the same model as {trace.base_title} without interactions"
    reason = "which has no interactions" if base == trace.base else same
    instead = f", not to evaluation.base ({configured})" if base != configured else ""
    skipped = ("Nothing was transferred: there is no interaction to transfer.",)
    return (f"Differences are to {shown}, {reason}{instead}.", *(skipped if config.get("transfer") else ()))
