"""What a model leaves out of an architecture that another model was searched with."""

from ctrloom.architecture import Architecture
from ctrloom.config import MODELS


def left_out(name: str, architecture: Architecture) -> str | None:
    """Why a model takes the fields but not all functions and orders of an architecture; None if it takes all.

    OptInter's choices are between functions of vectors that only its own model has.
    """
    entry, functions = MODELS[name], {i.function for i in architecture.interactions}
    if not entry.selects or name == "optinter":
        return None
    if not entry.carries_functions:
        parts = []
        if architecture.positions or functions - {"inner"}:
            parts.append(f"selection only: {entry.title} has its own function of a pair")
        if any(order > 2 for order in architecture.orders):
            parts.append(f"pairs only: {entry.title} has no interactions of higher order")
        return "; ".join(parts) or None
    if functions & {"memorize", "hadamard"} and not architecture.has_functions:
        return f"selection only: {entry.title} takes inner products of the pairs, and memorizes none"
    return None
