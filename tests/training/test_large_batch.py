"""Training with batches larger than the settings were tuned for: scaling, clipping and warm-up."""

import math

import numpy as np
import pytest
import torch
from small import LITTLE, Planting, categorical_schema, crossed, rows_of, schema_of

from ctrloom.architecture import Architecture
from ctrloom.config import Hyperparameters, ModelName, OptInterSettings
from ctrloom.config.base import ConfigError
from ctrloom.data.batches.batch import Batch
from ctrloom.models import build
from ctrloom.nn.cross_features import fill_crosses
from ctrloom.optim.row_wise import RowWise
from ctrloom.training import loop
from ctrloom.training.loop import adam, fit
from ctrloom.training.step import loss_of

LARGE = {"embedding_optimizer": "lazy_adam", "base_batch_size": 100, "batch_size": 400}


@pytest.mark.parametrize("name", ["fm", "deepfm"])
def test_one_step_matches_a_loop_over_rows(name: ModelName) -> None:
    """Counts are those of ids in the batch, including padding and duplicate values."""
    schema = schema_of(("categorical", 9), ("numeric", 2), ("multivalued", 5, 3))
    rows, l2, rate, times = rows_of(schema, 60), 0.01, 1e-3, 4.0
    torch.manual_seed(0)
    model = build(name, Architecture.complete(schema.names), schema, LITTLE).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1e-3)  # so that gradients are clipped
    assert rows.factors_NC is not None
    batch = Batch(rows.ids_NC, rows.label_N.double(), rows.factors_NC.double())
    before = {key: value.detach().clone().numpy() for key, value in model.named_parameters()}
    loss_of(model, batch).backward()
    grads = {key: value.grad.numpy().copy() for key, value in model.named_parameters()}  # type: ignore[union-attr]
    optimizer = adam(model, rate, l2, tables="lazy_adam", table_rate=2e-3, times=times)
    model.zero_grad(set_to_none=True)
    loss_of(model, batch).backward()
    optimizer.step()
    counts = np.bincount(rows.ids_NC.flatten().numpy(), minlength=schema.table_size)
    clipped = 0
    for key, after in model.named_parameters():
        expected, grad = before[key].copy(), grads[key]
        if key in ("embedding.weight", "linear.weights.weight"):
            for r in np.flatnonzero(counts):
                g, w = grad[r], before[key][r]
                most = counts[r] * max(math.sqrt((w * w).sum()), 1e-5)
                if math.sqrt((g * g).sum()) > most:
                    g, clipped = g * most / math.sqrt((g * g).sum()), clipped + 1
                g = g + times * l2 * w
                expected[r] = w - 2e-3 * g / (np.sqrt(g * g) + 1e-8)  # Adam's first step
        else:
            expected -= 2 * rate * grad / (np.abs(grad) + 1e-8)
        np.testing.assert_allclose(after.detach().numpy(), expected, rtol=0, atol=1e-9, err_msg=key)
    assert clipped


def test_crosses_are_clipped_and_keep_their_learning_rate() -> None:
    schema, keys = crossed(categorical_schema(3))
    hyper = OptInterSettings(**LITTLE.model_dump(), cross_l2=0.1, cross_learning_rate=0.5, cross_hiding=0)
    model = build("poly2", Architecture.complete(schema.names), schema, hyper)
    fill_crosses(model, keys)
    own = [g for g in adam(model, 0.01, tables="lazy_adam", times=9.0).param_groups if g["lr"] == 0.5]
    assert [(group["weight_decay"], group["cowclip"]) for group in own] == [(pytest.approx(0.9), True)]
    rows = rows_of(schema, 40)
    loss_of(model, rows).backward()
    (weight,) = own[0]["params"]
    assert weight.grad._indices().shape[1] == 40 * 3  # one entry per lookup


def test_warm_up_applies_to_dense_rates_only(planted: Planting, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[float]] = []
    step = RowWise.step

    def watched(self: RowWise) -> None:
        seen.append([float(group["lr"]) for group in self.param_groups])
        step(self)

    monkeypatch.setattr(RowWise, "step", watched)
    hyper = LITTLE.model_copy(update={**LARGE, "learning_rate": 0.01, "epochs": 2})
    model = build("deepfm", Architecture.complete(planted.schema.names), planted.schema, hyper)
    fit(model, planted.rows[:2000], planted.rows[2000:2500], hyper, 0, "test")
    assert [tables for tables, _ in seen] == [0.01] * 10
    rising = [0.02 * min(1.0, k / 5) for k in range(1, 11)]
    assert [dense for _, dense in seen] == pytest.approx(rising)


def test_without_base_batch_size_nothing_is_scaled() -> None:
    schema = categorical_schema(3)
    model = build("fm", Architecture.complete(schema.names), schema, LITTLE)
    groups = adam(model, 0.01, 0.1, tables="lazy_adam").param_groups
    assert {group["lr"] for group in groups} == {0.01}
    assert not any(group.get("cowclip") for group in groups)
    assert {m.keep_duplicates for m in model.modules() if isinstance(m, loop.FieldEmbedding)} == {False}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"embedding_optimizer": "adam"}, "requires embedding_optimizer: lazy_adam"),
        ({"batch_size": None}, "base_batch_size: scales from it to batch_size"),
        ({"batch_size": 50}, "base_batch_size: 100 is larger than batch_size .50"),
    ],
)
def test_incompatible_settings_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Hyperparameters.parse({**LARGE, **change}, "models.fm")
