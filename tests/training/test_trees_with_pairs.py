"""GBDT+Poly2 compared with its parts: trees, and weights of joint values that are trained after them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import expit
from small import crossed, rows_of, schema_of

from ctrloom.architecture import Architecture, Interaction
from ctrloom.config import GBDTPoly2Settings, ModelName
from ctrloom.data.batches.batch import Batch
from ctrloom.models import build
from ctrloom.models.bundle import load_weights, save_weights
from ctrloom.models.poly2 import Poly2
from ctrloom.models.trees import GBDT, GBDTPoly2
from ctrloom.nn.cross_features import fill_crosses
from ctrloom.training.history import Epoch, History
from ctrloom.training.loop import score
from ctrloom.training.trees import fit_trees

SCHEMA, KEYS = crossed(schema_of(("categorical", 30), ("numeric", 2), ("categorical", 30)), share=1.0)
PLAIN, PLAIN_KEYS = crossed(schema_of(("categorical", 30), ("categorical", 30)), share=1.0)
TABLE = np.random.default_rng(7).normal(0, 1.5, (30, 30))  # of 900 joint values, which trees cannot isolate
PAIR = (Interaction(fields=("a", "c")),)
PARTS = GBDTPoly2Settings(
    trees=40, leaves=6, min_rows_in_leaf=10, epochs=40, patience=4, learning_rate=0.02, monitor="logloss"
)


def clicks(count: int, seed: int, strength: float) -> Batch:
    """Rows whose label depends on the joint value of two fields, and on the number."""
    rows, rng = rows_of(SCHEMA, count, seed), np.random.default_rng(seed)
    assert rows.factors_NC is not None
    a, c = rows.ids_NC[:, 0].numpy(), rows.ids_NC[:, 2].numpy() - SCHEMA.offsets[2]
    logit = strength * TABLE[a, c] + rows.factors_NC[:, 1].numpy()
    label = torch.from_numpy((rng.random(count) < expit(logit)).astype(np.float32))
    return Batch(rows.ids_NC, label, rows.factors_NC)


def trained(name: ModelName, train: Batch, valid: Batch, **more: Any) -> tuple[GBDT, History]:
    settings = PARTS.model_copy(update=more)
    architecture = Architecture(method="test", fields=SCHEMA.names, interactions=PAIR)
    torch.manual_seed(0)
    model = build(name, architecture, SCHEMA, settings)
    fill_crosses(model, KEYS)
    assert isinstance(model, GBDT)
    return model, fit_trees(model, train, valid, settings, 0, name)


TRAIN, VALID = clicks(6000, 1, 1.0), clicks(2000, 2, 1.0)


def test_logit_is_the_sum_of_trees_and_poly2() -> None:
    model, _ = trained("gbdtpoly2", TRAIN, VALID)
    assert isinstance(model, GBDTPoly2)
    poly2 = Poly2(model.architecture, SCHEMA, PARTS)
    fill_crosses(poly2, KEYS)
    poly2.load_state_dict(model.memory.state_dict())
    trees, _ = trained("gbdt", TRAIN, VALID)
    assert torch.equal(trees.text, model.text)
    expected = score(trees, VALID) + score(poly2, VALID)
    np.testing.assert_allclose(score(model, VALID), expected, rtol=0, atol=1e-5)


def test_joint_values_improve_trees() -> None:
    model, history = trained("gbdtpoly2", TRAIN, VALID)
    _, alone = trained("gbdt", TRAIN, VALID)
    assert history.best_epoch.valid_logloss < alone.best_epoch.valid_logloss - 0.03
    assert history.seconds > 0
    logit_N, label_N = score(model, VALID).astype(np.float64), VALID.label_N.numpy()
    logloss = np.mean(np.logaddexp(0, logit_N) - label_N * logit_N)
    assert logloss == pytest.approx(history.best_epoch.valid_logloss, abs=1e-6)


def test_without_interaction_the_trees_remain() -> None:
    train, valid = clicks(3000, 3, 0.0), clicks(2000, 4, 0.0)
    seen: list[Epoch] = []
    settings = PARTS.model_copy(update={"learning_rate": 0.3, "patience": 2})
    architecture = Architecture(method="test", fields=SCHEMA.names, interactions=PAIR)
    model = build("gbdtpoly2", architecture, SCHEMA, settings)
    fill_crosses(model, KEYS)
    history = fit_trees(model, train, valid, settings, 0, "test", lambda _, best: seen.append(best))
    trees, alone = trained("gbdt", train, valid, patience=2)
    np.testing.assert_array_equal(score(model, valid), score(trees, valid))
    assert (history.best, history.epochs) == (alone.best, alone.epochs)
    assert {*seen} == {alone.best_epoch}, "what tuning judges is what is kept"


def test_rows_without_numbers_and_saved_weights(tmp_path: Path) -> None:
    rows = [
        Batch(each.ids_NC, (each.ids_NC[:, 0] * each.ids_NC[:, 1] % 7 < 3).float(), weight_N=torch.ones(2000))
        for each in (rows_of(PLAIN, 2000, seed) for seed in (1, 2))
    ]
    architecture = Architecture(
        method="test", fields=PLAIN.names, interactions=(Interaction(fields=("a", "b")),)
    )
    model, again = (build("gbdtpoly2", architecture, PLAIN, PARTS) for _ in range(2))
    fill_crosses(model, PLAIN_KEYS)
    fit_trees(model, *rows, PARTS, 0, "test")
    save_weights(model, tmp_path / "model.safetensors")
    load_weights(again, tmp_path / "model.safetensors")
    np.testing.assert_array_equal(score(model, rows[1]), score(again, rows[1]))
    assert score(model, rows[1]).std() > 1
