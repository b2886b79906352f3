"""Steps that are recorded and played again do what steps that run do."""

from functools import partial
from typing import Any

import pytest
import torch
from small import planting
from tape import Recorder

from ctrloom import kernels
from ctrloom.architecture import Architecture
from ctrloom.config import Hyperparameters
from ctrloom.models import build
from ctrloom.training import loop
from ctrloom.training.loop import fit, seed_everything
from ctrloom.training.step import WARM, Step

MADE = planting(rows=1200, fields=4, sizes=(12,), pairs=2)
HYPER = Hyperparameters(embedding_size=4, hidden=(8,), batch_size=16, epochs=2, learning_rate=0.01)


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """Has kernels at work, so that sparse gradients do not wait."""
    monkeypatch.setattr(kernels, "on_cpu", True)
    return Recorder(monkeypatch)


def fitted(name: str, **settings: Any) -> tuple[dict[str, torch.Tensor], list[float]]:
    hyper = Hyperparameters.of({name: {**HYPER.model_dump(), **settings}}, name)
    seed_everything(0)
    model = build(name, Architecture.complete(MADE.schema.names), MADE.schema, hyper)
    history = fit(model, MADE.rows[:86], MADE.rows[850:], hyper, 0, "test")
    return model.state_dict(), [epoch.train_logloss for epoch in history.epochs]


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("fm", {"embedding_optimizer": "adam"}),
        ("deepfm", {"embedding_optimizer": "lazy_adam", "dropout": 0.2, "batch_norm": True}),
        ("autofm", {"embedding_optimizer": "rowwise_adagrad", "decays": 1, "patience": 1, "epochs": 4}),
    ],
)
def test_a_training_of_recorded_steps(
    name: str, settings: dict[str, Any], recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights, losses = fitted(name, **settings)
    monkeypatch.setattr(loop, "Step", partial(Step, record=recorder))
    replayed, again = fitted(name, **settings)
    # Six steps a pass, the last of them on a batch of another size, which runs as it is.
    assert recorder.replays == 5 * len(again) - WARM
    assert len(recorder.tapes) == 1
    assert again == pytest.approx(losses, rel=1e-4)
    for key, value in weights.items():
        torch.testing.assert_close(replayed[key], value, rtol=1e-3, atol=1e-4, msg=key)
