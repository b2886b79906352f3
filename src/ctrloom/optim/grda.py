"""Generalised regularised dual averaging (GRDA): an optimizer that sets weak gates to exactly zero."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


class GRDA(Optimizer):
    """GRDA in incremental form, which supports learning-rate schedules.

    With v the initial parameters minus the sum of lr * gradient, and L the sum over steps of
    c * lr^(1/2 + mu) * ((t + 1)^mu - t^mu), the parameters are v soft-thresholded at L. A zero parameter
    still has a gradient, so its v is updated and it can become nonzero again.

    Source: AutoFIS Eq. 13 and the published optimizer (github donlan2710/gRDA-Optimizer).
    """

    def __init__(self, params: Iterable[Tensor], lr: float, c: float, mu: float) -> None:
        for name, value in (("lr", lr), ("c", c), ("mu", mu)):
            if value <= 0:
                raise ValueError(f"GRDA: {name} must be positive, got {value}")
        own = {"lr": lr, "c": c, "mu": mu, "steps": 0, "threshold": 0.0, "held_2": None}
        super().__init__(params, own)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Take one step; all gates of a group share one counter and one threshold."""
        assert closure is None, "GRDA does not support a closure"
        self.advance()
        self.move()

    def hold(self) -> None:
        """Keep learning rate and threshold in device tensors, so that a captured `move` reads new values."""
        for group in self.param_groups:
            if group["held_2"] is None:
                group["held_2"] = torch.zeros(2, device=group["params"][0].device)

    def advance(self) -> None:
        """The host part of a step: increment the counter and the threshold."""
        for group in self.param_groups:
            lr, t = group["lr"], group["steps"]
            group["threshold"] += (
                group["c"] * lr ** (0.5 + group["mu"]) * ((t + 1) ** group["mu"] - t ** group["mu"])
            )
            group["steps"] = t + 1
            if group["held_2"] is not None:
                for place, value in zip(group["held_2"], (lr, group["threshold"]), strict=True):
                    place.fill_(value)

    @torch.no_grad()
    def move(self) -> None:
        """The device part of a step: update the gates."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state: dict[str, Any] = self.state[parameter]
                if not state:
                    state["accumulator"] = parameter.clone()
                if group["held_2"] is None:
                    accumulator = state["accumulator"].sub_(parameter.grad, alpha=group["lr"])
                    parameter.copy_(torch.nn.functional.softshrink(accumulator, group["threshold"]))
                else:
                    rate, threshold = group["held_2"].unbind()
                    accumulator = state["accumulator"].sub_(rate * parameter.grad)
                    parameter.copy_(accumulator.sign() * (accumulator.abs() - threshold).relu())

    @property
    def steps(self) -> int:
        """Number of steps taken."""
        return int(self.param_groups[0]["steps"])

    @property
    def threshold(self) -> float:
        """The soft threshold of the first group after the last step."""
        return float(self.param_groups[0]["threshold"])


def threshold_scale(threshold: float, rates: Sequence[float], mu: float) -> float:
    """The c for which the soft threshold reaches `threshold` after steps with the given learning rates.

    The effect of c and mu depends on the number of steps; fixing the final threshold makes pruning
    independent of the size of the data.
    """
    return threshold / sum(rate ** (0.5 + mu) * ((t + 1) ** mu - t**mu) for t, rate in enumerate(rates))
