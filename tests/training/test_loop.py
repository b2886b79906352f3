from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from sklearn.metrics import log_loss, roc_auc_score
from small import Planting, categorical_schema, planting, rows_of, schema_of
from torch import nn

from ctrloom.architecture import Architecture
from ctrloom.config import MODELS, GatedSettings, Hyperparameters, ModelName
from ctrloom.data.batches.batch import Batch
from ctrloom.metrics.measure import EvaluationError
from ctrloom.models import build
from ctrloom.schema import Schema
from ctrloom.training import loop
from ctrloom.training.checkpoints import Loop
from ctrloom.training.history import Epoch
from ctrloom.training.loop import (
    History,
    adam,
    batch_size_of,
    fit,
    pick_device,
    score,
    seed_everything,
)
from ctrloom.training.passes import Passes, run_epoch, steps_in_pass
from ctrloom.training.step import Step, loss_of
from ctrloom.training.trees import fit_trees

HYPER = GatedSettings(
    embedding_size=4, hidden=(8,), dropout=0, batch_size=500, learning_rate=0.01, epochs=5, decays=0
)


def model_of(
    schema: Schema, name: ModelName = "fm", seed: int = 0, hyper: Hyperparameters = HYPER
) -> nn.Module:
    torch.manual_seed(seed)
    return build(name, Architecture.complete(schema.names), schema, hyper)


def weights(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def halves(made: Planting, train: int = 8000, valid: int = 4000) -> tuple[Batch, Batch]:
    return made.rows[:train], made.rows[train : train + valid]


@pytest.mark.parametrize("name", ["fm", "ipnn", "autodeepfm"])
def test_runs_with_the_same_seed_are_bit_identical(name: ModelName, planted: Planting) -> None:
    hyper = HYPER.model_copy(update={"dropout": 0.2, "batch_norm": True, "epochs": 2})
    train, valid = halves(planted)

    def run(seed: int) -> tuple[dict[str, torch.Tensor], History]:
        model = model_of(planted.schema, name, seed, hyper)
        history = fit(model, train, valid, hyper, seed, "test")
        return weights(model), history

    (first, history), (second, again), (other, _) = run(1), run(1), run(2)
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert history.epochs == again.epochs
    assert any(not torch.equal(first[key], other[key]) for key in first)


def noise(rows: int, seed: int) -> tuple[Schema, Batch]:
    return (schema := categorical_schema(4, 30)), rows_of(schema, rows, seed)


@pytest.mark.parametrize("monitor", ["auc", "logloss"])
def test_weights_of_the_best_epoch_are_kept(monitor: str) -> None:
    schema, train = noise(2000, 0)
    valid = noise(800, 1)[1]
    hyper = HYPER.model_copy(update={"epochs": 15, "patience": 3, "monitor": monitor, "learning_rate": 0.05})
    model = model_of(schema)
    history = fit(model, train, valid, hyper, 0, "test")
    scores = [e.valid_auc if monitor == "auc" else -e.valid_logloss for e in history.epochs]
    assert history.best == int(np.argmax(scores)) + 1
    assert len(history.epochs) == history.best + 3 < 15  # noise overfits, so training stops early
    logit, label = score(model, valid), valid.label_N.numpy()
    assert roc_auc_score(label, logit) == pytest.approx(history.best_epoch.valid_auc, abs=1e-12)
    assert log_loss(label, expit(logit.astype(float))) == pytest.approx(
        history.best_epoch.valid_logloss, abs=1e-9
    )
    assert [e.epoch for e in history.epochs] == list(range(1, len(history.epochs) + 1))


@pytest.mark.parametrize("decays", [0, 1, 2])
def test_learning_rate_decays_before_early_stopping(decays: int, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[torch.optim.Optimizer] = []
    build_adam = loop.adam
    monkeypatch.setattr(
        loop, "adam", lambda *args, **named: made.append(build_adam(*args, **named)) or made[0]
    )
    schema, train = noise(1000, 0)
    changed = {"epochs": 40, "patience": 2, "decays": decays, "learning_rate": 0.05, "monitor": "auc"}
    hyper = HYPER.model_copy(update=changed)
    history = fit(model_of(schema), train, noise(400, 1)[1], hyper, 0, "test")
    # Replay: divide the rate by 10 after two epochs without improvement; stop after the last decay.
    best, waited, left = -1.0, 0, decays
    for number, epoch in enumerate(history.epochs, 1):
        if epoch.valid_auc > best:
            best, waited = epoch.valid_auc, 0
            continue
        waited += 1
        if waited == 2 and left:
            left, waited = left - 1, 0
        elif waited == 2:
            assert number == len(history.epochs)
    assert (waited, left) == (2, 0)
    for group in made[0].param_groups:
        assert group["lr"] == pytest.approx(0.05 * 0.1**decays)


def gradients(model: nn.Module, rows: Batch) -> tuple[float, dict[str, torch.Tensor]]:
    model.zero_grad(set_to_none=True)
    (loss := loss_of(model, rows)).backward()
    return loss.item(), {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


@settings(deadline=None, max_examples=20)
@given(copies=st.lists(st.integers(0, 3), min_size=8, max_size=8).filter(any))
def test_row_weights_equal_repeated_rows(copies: list[int]) -> None:
    schema = schema_of(("categorical", 5), ("multivalued", 4, 2))
    rows, model = rows_of(schema, 8), model_of(schema, "deepfm")
    assert rows.factors_NC is not None
    weighted = Batch(rows.ids_NC, rows.label_N, rows.factors_NC, torch.tensor(copies, dtype=torch.float32))
    repeated = rows[torch.repeat_interleave(torch.arange(8), torch.tensor(copies))]
    (loss, grad), (expected, wanted) = gradients(model, weighted), gradients(model, repeated)
    assert loss == pytest.approx(expected, abs=1e-6)
    for name, value in wanted.items():
        torch.testing.assert_close(grad[name], value, rtol=1e-4, atol=1e-6)


def test_the_loss_is_the_mean_cross_entropy() -> None:
    schema = categorical_schema(3)
    rows, model = rows_of(schema, 50), model_of(schema)
    logit = score(model, rows).astype(float)
    assert loss_of(model, rows).item() == pytest.approx(
        log_loss(rows.label_N.numpy(), expit(logit)), abs=1e-6
    )


@pytest.mark.parametrize("name", ["fm", "deepfm"])
def test_l2_is_half_the_squared_norm_of_all_tables(name: ModelName) -> None:
    schema, l2 = categorical_schema(3), 0.3
    rows, first, second = rows_of(schema, 64), model_of(schema, name), model_of(schema, name)
    ours = adam(first, 0.01, l2)
    plain = torch.optim.Adam(second.parameters(), lr=0.01)
    for _ in range(20):
        first.zero_grad()
        loss_of(first, rows).backward()
        ours.step()
        second.zero_grad()
        tables = [
            p for n, p in second.named_parameters() if n in ("embedding.weight", "linear.weights.weight")
        ]
        penalty = sum((table.square().sum() for table in tables), torch.zeros(()))
        (loss_of(second, rows) + l2 / 2 * penalty).backward()
        plain.step()
    for (name_, a), b in zip(first.named_parameters(), second.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5, msg=name_)
    assert not torch.allclose(
        first.get_parameter("embedding.weight"), model_of(schema, name).get_parameter("embedding.weight")
    )


def test_epsilon_is_that_of_adam() -> None:
    schema = categorical_schema(3)
    rows, first, second = rows_of(schema, 64), model_of(schema, "deepfm"), model_of(schema, "deepfm")
    settings = HYPER.model_copy(update={"epsilon": 0.01, "embedding_l2": 0.0})
    ours = loop.adam_of(first, settings, len(rows))
    plain = torch.optim.Adam(second.parameters(), lr=settings.learning_rate, eps=0.01)
    for _ in range(5):
        for model, optimizer in ((first, ours), (second, plain)):
            optimizer.zero_grad()
            loss_of(model, rows).backward()
            optimizer.step()
    for (name, a), b in zip(first.named_parameters(), second.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6, msg=name)


def test_parameters_can_be_excluded_from_adam() -> None:
    model = model_of(categorical_schema(3), "autofm")
    gate = model.get_parameter("gates.2.gate_P")
    held = {id(p) for group in adam(model, 0.1, without=[gate]).param_groups for p in group["params"]}
    assert held == {id(p) for p in model.parameters()} - {id(gate)}


def test_bfloat16_training_is_as_good_and_keeps_float32_weights(planted: Planting) -> None:
    train, valid = halves(planted)
    fitted = {}
    for precision in ("float32", "bfloat16"):
        hyper = HYPER.model_copy(update={"precision": precision, "epochs": 3})
        model = model_of(planted.schema, "deepfm")
        fitted[precision] = fit(model, train, valid, hyper, 0, "test")
        assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert fitted["float32"].epochs != fitted["bfloat16"].epochs
    aucs = [history.best_epoch.valid_auc for history in fitted.values()]
    assert aucs[0] == pytest.approx(aucs[1], abs=0.01)


def test_diverged_training_raises(planted: Planting) -> None:
    hyper = HYPER.model_copy(update={"learning_rate": 1e30})
    with pytest.raises(ValueError, match=r"diverged in epoch 1.*lower the learning rate"):
        fit(model_of(planted.schema), *halves(planted), hyper, 0, "test")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("name", ["fm", "gbdt"])
@pytest.mark.parametrize("label", [0.0, 1.0, None])
def test_validation_rows_without_weight_are_an_error(name: ModelName, label: float | None) -> None:
    rows = rows_of(categorical_schema(2), 400)
    without_weight = torch.zeros(400) if label is None else (rows.label_N != label).float()
    valid, hyper = replace(rows, weight_N=without_weight), MODELS[name].settings(epochs=1, batch_size=100)
    train = fit_trees if name == "gbdt" else fit
    with pytest.raises(EvaluationError, match="rows with weight must have both labels"):
        train(model_of(categorical_schema(2), name, hyper=hyper), rows, valid, hyper, 0, "test")


@pytest.mark.parametrize("scale", [2.0**-39, 2.0**39])
def test_the_loss_depends_on_ratios_of_weights(scale: float) -> None:
    rows = rows_of(categorical_schema(2), 256)
    model, weight_N = model_of(categorical_schema(2)), torch.arange(1.0, 257.0)
    losses = [loss_of(model, replace(rows, weight_N=each)) for each in (weight_N, weight_N * scale)]
    assert losses[0].item() == losses[1].item() > 0
    assert loss_of(model, replace(rows, weight_N=weight_N * 0)).item() == 0


def test_missing_gpu_is_an_error() -> None:
    with pytest.raises(ValueError, match="torch sees no GPU; use device: cpu or auto"):
        pick_device("cuda")
    assert pick_device("auto") == pick_device("cpu") == torch.device("cpu")


class Recorder(nn.Module):
    """A model whose logit is the row's first id and that records the rows it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.seen: list[int] = []

    def forward(self, ids_BC: torch.Tensor, factors_BC: torch.Tensor | None = None) -> torch.Tensor:
        self.seen += ids_BC[:, 0].tolist()
        return ids_BC[:, 0] * self.scale


def numbered(rows: int) -> Batch:
    return Batch(torch.arange(rows, dtype=torch.int32)[:, None], torch.zeros(rows))


@pytest.mark.parametrize("rows", [0, 1, 7, 8, 15, 23])
def test_scores_are_in_row_order(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "SCORING_BATCH", 7)
    assert score(Recorder(), numbered(rows)).tolist() == list(range(rows))


def test_more_rows_than_a_scoring_batch() -> None:
    rows = loop.SCORING_BATCH + 3
    assert score(Recorder(), numbered(rows)).tolist() == list(range(rows))


@pytest.mark.parametrize(("rows", "steps"), [(20, 2), (23, 3), (21, 2), (11, 1), (9, 1)])
def test_a_pass_visits_every_row_once_in_random_order(rows: int, steps: int) -> None:
    model, generator, advanced = Recorder(), seed_everything(0), []
    passes = []
    for _ in range(2):
        model.seen = []
        step, advance = Step(model, lambda: None, []), lambda amount, note="": advanced.append(amount)
        run_epoch(step, Passes(numbered(rows), 10, generator), Loop("test"), advance)
        passes.append(model.seen)
    for seen in passes:
        assert len(set(seen)) == len(seen) == rows
    assert passes[0] != passes[1]
    assert sum(advanced) == 2 * rows
    assert len(advanced) == 2 * steps == 2 * steps_in_pass(rows, 10)
    assert min(advanced) > 1  # a single row has no batch statistics


def test_scoring_does_not_change_the_model() -> None:
    schema = categorical_schema(3)
    model = model_of(schema, "autofm")
    before = weights(model)
    first, second = score(model, rows_of(schema, 40)), score(model, rows_of(schema, 40))
    assert np.array_equal(first, second)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert not model.training


@pytest.fixture(scope="module")
def trained() -> Callable[[ModelName], float]:
    made = planting(rows=30_000, fields=5, sizes=(12,), pairs=3, strength=1.5, main_effects=0.3)
    train, valid = halves(made, 24_000, 6000)
    hyper = HYPER.model_copy(update={"epochs": 6, "learning_rate": 0.03})

    def auc(name: ModelName) -> float:
        return fit(model_of(made.schema, name), train, valid, hyper, 0, name).best_epoch.valid_auc

    return auc


def test_interaction_models_beat_a_linear_model(trained: Callable[[ModelName], float]) -> None:
    linear = trained("lr")
    assert 0.52 < linear < 0.7
    for name in ("fm", "autofm", "deepfm"):
        assert trained(name) > linear + 0.1, name


@pytest.mark.parametrize("tables", ["lazy_adam", "rowwise_adagrad"])
def test_row_wise_optimizers_are_as_good_as_dense_adam(tables: str, planted: Planting) -> None:
    train, valid = halves(planted)

    def reached(**settings: object) -> float:
        hyper = HYPER.model_copy(update={"epochs": 12, **settings})
        return fit(model_of(planted.schema, hyper=hyper), train, valid, hyper, 1, "test").best_epoch.valid_auc

    rate = 0.1 if tables == "rowwise_adagrad" else None
    lazy = reached(embedding_optimizer=tables, embedding_learning_rate=rate)
    assert lazy == pytest.approx(reached(), abs=0.01)


def test_weights_change_what_is_learned(planted: Planting) -> None:
    train, valid = halves(planted)
    heavy = Batch(train.ids_NC, train.label_N, None, 1 + 9 * train.label_N)
    plain, tilted = (model_of(planted.schema, "lr") for _ in range(2))
    fit(plain, train, valid, HYPER, 0, "test")
    fit(tilted, heavy, valid, HYPER, 0, "test")
    assert expit(score(tilted, valid)).mean() > expit(score(plain, valid)).mean() + 0.2


def test_a_hook_gets_the_best_epoch_so_far_and_may_end_training(planted: Planting) -> None:
    train, valid = halves(planted)
    seen: list[tuple[int, float]] = []

    def hook(number: int, best: Epoch) -> None:
        seen.append((number, best.valid_auc))
        if len(seen) == stop:
            raise StopIteration

    stop = 0
    history = fit(model_of(planted.schema), train, valid, HYPER, 0, "test", hook)
    aucs = [epoch.valid_auc for epoch in history.epochs]
    assert seen == [(n, max(aucs[:n])) for n in range(1, len(aucs) + 1)]
    seen, stop = [], 2
    with pytest.raises(StopIteration):
        fit(model_of(planted.schema), train, valid, HYPER, 0, "test", hook)
    assert len(seen) == 2


@pytest.mark.parametrize(("rows", "size"), [(5_000, 256), (80_000, 1_000), (202_027, 2_525), (10**7, 4_096)])
def test_batches_of_few_rows_are_smaller(rows: int, size: int) -> None:
    assert batch_size_of(Hyperparameters(), rows) == size
    assert batch_size_of(Hyperparameters(batch_size=128), rows) == 128


@pytest.mark.parametrize(("configured", "l2"), [(None, 4 / 8000), (0.3, 0.3), (0.0, 0.0)])
def test_l2_without_a_setting_follows_the_rows(
    configured: float | None, l2: float, planted: Planting, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[torch.optim.Optimizer] = []
    build_adam = loop.adam
    monkeypatch.setattr(
        loop, "adam", lambda *args, **named: made.append(build_adam(*args, **named)) or made[0]
    )
    train, valid = halves(planted)
    hyper = HYPER.model_copy(update={"epochs": 1, "embedding_l2": configured})
    fit(model_of(planted.schema), train, valid, hyper, 0, "test")
    tables, others = made[0].param_groups
    assert (tables["weight_decay"], others["weight_decay"]) == (l2, 0)
