from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ctrloom.optim.grda import GRDA, threshold_scale


def from_the_equation(
    start: np.ndarray,
    gradient: Callable[[np.ndarray, int], np.ndarray],
    rates: Sequence[float],
    c: float,
    mu: float,
) -> list[tuple[np.ndarray, float]]:
    """Parameters and threshold after each step, as sums over all previous steps.

    alpha_{t+1} minimises alpha' (-alpha_0 + sum_i rate_i grad_i) + L |alpha|_1 + |alpha|^2 / 2, so it is
    alpha_0 - sum_i rate_i grad_i, soft-thresholded at L = sum_i c rate_i^(1/2 + mu) ((i + 1)^mu - i^mu).
    """
    alpha, gradients, path = start.copy(), [], []
    for t in range(len(rates)):
        gradients.append(gradient(alpha, t))
        moved = start - sum(rate * g for rate, g in zip(rates, gradients, strict=False))
        threshold = sum(c * rates[i] ** (0.5 + mu) * ((i + 1) ** mu - i**mu) for i in range(t + 1))
        alpha = np.array([0.0 if abs(v) <= threshold else v - np.sign(v) * threshold for v in moved])
        path.append((alpha, threshold))
    return path


def run(
    start: np.ndarray,
    gradient: Callable[[np.ndarray, int], np.ndarray],
    rates: Sequence[float],
    c: float,
    mu: float,
) -> list[tuple[np.ndarray, float]]:
    gate = torch.nn.Parameter(torch.from_numpy(start.copy()))
    optimizer, path = GRDA([gate], rates[0], c, mu), []
    for t, rate in enumerate(rates):
        optimizer.param_groups[0]["lr"] = rate
        gate.grad = torch.from_numpy(gradient(gate.detach().numpy().copy(), t))
        optimizer.step()
        path.append((gate.detach().numpy().copy(), optimizer.threshold))
        assert optimizer.steps == t + 1
    return path


def agree(first: list[tuple[np.ndarray, float]], second: list[tuple[np.ndarray, float]]) -> None:
    for (alpha, threshold), (other, level) in zip(first, second, strict=True):
        np.testing.assert_allclose(alpha, other, atol=1e-12)
        assert threshold == pytest.approx(level, rel=1e-12)


def test_grda_on_a_quadratic_with_a_decaying_rate() -> None:
    rates = [0.3 * 0.6 ** (t // 40) for t in range(200)]
    target = np.array([1.5, 0.9, 0.05, 0.0, -0.4])

    def gradient(alpha: np.ndarray, t: int) -> np.ndarray:
        return 0.2 * (alpha - target) + 0.1 * np.sin(t + np.arange(5))

    path = run(np.full(5, 0.6), gradient, rates, 0.05, 0.6)
    agree(path, from_the_equation(np.full(5, 0.6), gradient, rates, 0.05, 0.6))
    assert (path[-1][0] != 0)[[0, 1, 3, 4]].tolist() == [True, True, False, True]


@settings(deadline=None, max_examples=50)
@given(
    seed=st.integers(0, 1000),
    steps=st.integers(1, 30),
    c=st.floats(1e-3, 1.0),
    mu=st.floats(0.3, 1.0),
)
def test_any_gradients_and_rates(seed: int, steps: int, c: float, mu: float) -> None:
    rng = np.random.default_rng(seed)
    start, gradients, rates = (
        rng.normal(size=4),
        rng.normal(size=(steps, 4)),
        rng.uniform(0.01, 2, steps).tolist(),
    )
    given = (start, lambda _, t: gradients[t], rates, c, mu)
    agree(run(*given), from_the_equation(*given))


def test_grda_revives_zeroed_gate() -> None:
    def gradient(_: np.ndarray, t: int) -> np.ndarray:
        return np.array([0.05 if t < 20 else -0.3])

    path = run(np.array([0.6]), gradient, [1.0] * 40, 0.02, 0.8)
    agree(path, from_the_equation(np.array([0.6]), gradient, [1.0] * 40, 0.02, 0.8))
    zero = [t for t, (alpha, _) in enumerate(path) if alpha[0] == 0]
    assert zero
    assert zero[-1] < 39
    assert path[-1][0][0] > 1


@pytest.mark.parametrize(("rate", "c", "mu"), [(1.0, 5e-3, 0.6), (0.1, 0.05, 0.9)])
def test_threshold_at_a_constant_rate_matches_the_paper(rate: float, c: float, mu: float) -> None:
    path = run(np.zeros(1), lambda *_: np.zeros(1), [rate] * 50, c, mu)
    for t, (_, threshold) in enumerate(path, 1):
        assert threshold == pytest.approx(c * rate**0.5 * (t * rate) ** mu, rel=1e-12)


def test_gate_without_gradient_reaches_zero_at_the_papers_step() -> None:
    path = run(np.array([0.6]), lambda *_: np.zeros(1), [1.0] * 100, 0.05, 0.6)
    for alpha, threshold in path:
        assert alpha[0] == pytest.approx(max(0.6 - threshold, 0), abs=1e-12)
    died = next(t for t, (alpha, _) in enumerate(path, 1) if alpha[0] == 0)
    assert died == int(np.ceil((0.6 / 0.05) ** (1 / 0.6)))


def test_group_shares_threshold_and_skips_gates_without_grad() -> None:
    first, second = (torch.nn.Parameter(torch.full((2,), 0.6)) for _ in range(2))
    optimizer = GRDA([first, second], 1.0, 0.1, 0.8)
    first.grad = torch.zeros(2)
    optimizer.step()
    assert optimizer.steps == 1
    assert first.detach().tolist() == pytest.approx([0.5, 0.5])
    assert second.detach().tolist() == pytest.approx([0.6, 0.6])


@settings(deadline=None, max_examples=30)
@given(
    threshold=st.floats(0.1, 5),
    mu=st.floats(0.3, 1.0),
    rates=st.lists(st.floats(0.01, 2), min_size=1, max_size=50),
)
def test_the_scaled_c_ends_at_the_threshold(threshold: float, mu: float, rates: list[float]) -> None:
    path = run(np.zeros(1), lambda *_: np.zeros(1), rates, threshold_scale(threshold, rates, mu), mu)
    assert path[-1][1] == pytest.approx(threshold, rel=1e-9)


def test_held_tensors_give_the_same_updates() -> None:
    generator = torch.Generator().manual_seed(0)
    plain, held = (torch.nn.Parameter(torch.linspace(-1, 1, 9)) for _ in range(2))
    one, other = (GRDA([gate], 0.5, 0.2, 0.8) for gate in (plain, held))
    other.hold()
    tensors = [group["held_2"] for group in other.param_groups]
    for t in range(20):
        gradient = torch.randn(9, generator=generator)
        for gate, optimizer in ((plain, one), (held, other)):
            optimizer.param_groups[0]["lr"] = 0.5 * 0.9**t
            gate.grad = gradient.clone()
            optimizer.step()
        torch.testing.assert_close(held, plain, rtol=0, atol=1e-6)
        assert torch.equal(held == 0, plain == 0)
    assert (plain == 0).any()
    assert one.threshold == other.threshold == pytest.approx(tensors[0][1].item(), rel=1e-6)


@pytest.mark.parametrize("name", ["lr", "c", "mu"])
def test_settings_must_be_positive(name: str) -> None:
    given = {"lr": 1.0, "c": 0.1, "mu": 0.8, name: 0.0}
    with pytest.raises(ValueError, match=f"{name} must be positive"):
        GRDA([torch.nn.Parameter(torch.zeros(1))], **given)
