"""Captured steps, replayed, match eager steps."""

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import pytest
import torch
from conftest import interpret
from fake_cuda_graph import Recorder, WaitsError
from oracle import hyper_of
from small import crossed, planting

from ctrloom import kernels
from ctrloom.architecture import Architecture
from ctrloom.config import (
    MODELS,
    AIMConfig,
    AIMSettings,
    AutoFISConfig,
    AutoPIConfig,
    AutoPISettings,
    EmbeddingOptimizer,
    Hyperparameters,
    ModelName,
    ModelsConfig,
    OptInterConfig,
    OptInterSettings,
)
from ctrloom.data.batches.batch import Batch
from ctrloom.methods import aim, autofis, autopi, gates, optinter
from ctrloom.methods.cell_graphs import random_graph
from ctrloom.methods.interface import SearchData, SearchResult
from ctrloom.models import build
from ctrloom.nn.cross_features import fill_crosses
from ctrloom.optim.rates import hold_rates
from ctrloom.training import loop, step
from ctrloom.training.loop import adam, fit, seed_everything
from ctrloom.training.step import WARM, Step, matmul_precision

MADE = planting(rows=1200, fields=4, sizes=(12,), pairs=2)
SCHEMA, KEYS = crossed(MADE.schema)
HYPER = Hyperparameters(embedding_size=4, hidden=(8,), batch_size=4, epochs=2, learning_rate=0.01)
FEW, VALID = slice(0, 19), slice(850, 870)  # four whole batches and a smaller one


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """Enables interpreted kernels, so that sparse gradients need no host sync; only without a GPU."""
    if torch.cuda.is_available():
        pytest.skip("here graphs themselves are tested")
    interpret(monkeypatch)
    return Recorder(monkeypatch)


def fitted(name: str, **settings: Any) -> tuple[dict[str, torch.Tensor], list[float]]:
    hyper = ModelsConfig({name: {**HYPER.model_dump(), **settings}}).of(name)
    seed_everything(0)
    model = build(name, Architecture.complete(MADE.schema.names), MADE.schema, hyper)
    history = fit(model, MADE.rows[FEW], MADE.rows[VALID], hyper, 0, "test")
    return model.state_dict(), [epoch.train_logloss for epoch in history.epochs]


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("fm", {"embedding_optimizer": "adam"}),
        ("deepfm", {"embedding_optimizer": "lazy_adam", "dropout": 0.2, "batch_norm": True}),
        ("autofm", {"embedding_optimizer": "rowwise_adagrad", "decays": 1, "patience": 1, "epochs": 4}),
        (
            "autofm",
            {"embedding_optimizer": "lazy_adam", "precision": "bfloat16"},
        ),  # also uses the products kernel
        ("fm", {"embedding_optimizer": "lazy_adam", "base_batch_size": 2}),  # warm-up and row clipping
    ],
)
def test_captured_training_matches_eager(
    name: str, settings: dict[str, Any], recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights, losses = fitted(name, **settings)
    monkeypatch.setattr(loop, "Step", partial(Step, capture=recorder))
    replayed, again = fitted(name, **settings)
    # Five steps per pass; the last one has a different batch size and runs eagerly.
    assert recorder.replays == 4 * len(again) - WARM
    assert len(recorder.tapes) == 1
    assert again == pytest.approx(losses, rel=1e-4)
    for key, value in weights.items():
        torch.testing.assert_close(replayed[key], value, rtol=1e-3, atol=1e-4, msg=key)


def architecture_of(name: str) -> Architecture:
    whole = Architecture.complete(SCHEMA.names)
    if name == "autopi":
        return whole.model_copy(update={"interactions": (), "cells": random_graph(2, 0)})
    if name == "optinter":
        memorized = whole.interactions[0].model_copy(update={"function": "memorize"})
        rest = [i.model_copy(update={"function": "hadamard"}) for i in whole.interactions[1:]]
        return whole.model_copy(update={"interactions": (memorized, *rest)})
    return whole


@pytest.mark.parametrize("name", [name for name in MODELS if not MODELS[name].trees])
def test_all_models_can_be_captured(name: ModelName, recorder: Recorder) -> None:
    batches = list(MADE.rows[:36].batches(6))

    def trained(record: Recorder | None) -> tuple[dict[str, torch.Tensor], list[float]]:
        seed_everything(0)
        model = build(name, architecture_of(name), SCHEMA, hyper_of(name))
        fill_crosses(model, KEYS)
        optimizer = adam(model.train(), 0.01)
        hold_rates(optimizer)
        train = Step(model, optimizer.step, [optimizer], capture=record)
        return model.state_dict(), [float(train(batch)) for batch in batches]

    weights, losses = trained(None)
    replayed, again = trained(recorder)
    assert recorder.replays == len(batches) - WARM
    assert again == losses
    assert all(torch.equal(replayed[key], value) for key, value in weights.items())


@pytest.fixture(params=["0", "1"], ids=["as they come", "as graphs"])
def watched(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """On a GPU, make host syncs an error after the first steps."""
    monkeypatch.setenv("CTRLOOM_CUDA_GRAPHS", request.param)
    monkeypatch.setenv("CTRLOOM_DEVICE", "cuda")
    plain, steps = Step._step, Counter[int]()

    def careful(self: Step, batch: Batch) -> torch.Tensor:
        steps[id(self)] += 1
        torch.cuda.set_sync_debug_mode("error" if steps[id(self)] > WARM + 1 else "default")
        try:
            return plain(self, batch)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(Step, "_step", careful)
    return request.param


@pytest.mark.gpu
@pytest.mark.filterwarnings("default")  # of what PyTorch says of its own modes
@pytest.mark.parametrize(
    ("name", "tables"),
    [
        ("fm", "adam"),
        ("fm", "rowwise_adagrad"),
        *((name, "lazy_adam") for name in MODELS if not MODELS[name].trees),
    ],
)
def test_gpu_training_has_no_host_sync_and_matches_cpu(
    name: ModelName, tables: EmbeddingOptimizer, watched: str
) -> None:
    batches = list(MADE.rows[:400].batches(40))
    undrawn = {"dropout": 0.0, **({"cross_hiding": 0.0} if name in ("poly2", "optinter") else {})}

    def trained(device: str) -> list[float]:
        seed_everything(0)
        model = build(name, architecture_of(name), SCHEMA, hyper_of(name, **undrawn))
        fill_crosses(model, KEYS)
        optimizer = adam(model.train().to(device), 0.01, tables=tables)
        train = Step(model, optimizer.step, [optimizer])
        assert (train.record is not None) == (device == "cuda" and watched == "1")
        return [float(train(batch.to(torch.device(device)))) for batch in batches]

    assert trained("cuda") == pytest.approx(trained("cpu"), rel=2e-2)


def in_the_order_of_a_cpu(rows: Batch, bounds: Sequence[int], generator: torch.Generator) -> Iterator[Batch]:
    """Batches in the same order on every device, copied there without a host sync."""
    order = torch.randperm(rows.total, generator=generator)
    if rows.device.type == "cuda":
        order = order.pin_memory().to(rows.device, non_blocking=True)
    return rows.cut(order, bounds)


@pytest.mark.gpu
@pytest.mark.filterwarnings("default")  # of what PyTorch says of its own modes
@pytest.mark.parametrize(("method", "own"), [("autofis", {}), ("optinter", {}), ("aim", {}), ("autopi", {})])
def test_gpu_search_has_no_host_sync(
    method: str, own: dict[str, Any], watched: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Batch, "shuffled", in_the_order_of_a_cpu)
    own |= {"cross_hiding": 0.0} if method == "optinter" else {}  # random numbers depend on the device
    on_gpu = numbers_of(searched(method, **own))
    monkeypatch.setenv("CTRLOOM_DEVICE", "cpu")
    assert on_gpu == pytest.approx(numbers_of(searched(method, **own)), abs=5e-2)


def test_steps_with_host_sync_are_not_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    def waits(name: ModelName, tables: EmbeddingOptimizer, size: int = 4) -> bool:
        model = build(name, architecture_of(name), SCHEMA, hyper_of(name, embedding_size=size))
        adam(model, 0.01, tables=tables)
        return step._synchronizes(model)

    assert not waits("deepfm", "adam")
    assert waits("deepfm", "lazy_adam")
    assert waits("poly2", "adam")  # cross tables are always sparse
    pytest.importorskip("triton")
    monkeypatch.setattr(kernels, "on_cpu", not torch.cuda.is_available())
    if kernels.on_cpu:
        assert not waits("deepfm", "lazy_adam")
        assert not waits("poly2", "adam")
        assert waits("fm", "lazy_adam", size=3000)  # wider than the kernel supports


def test_host_sync_is_detected(recorder: Recorder) -> None:
    x, held = torch.arange(4.0), torch.zeros(3)
    waiting = (
        lambda: float(x.sum()),
        lambda: x.nonzero(),
        lambda: x[x > 1],
        lambda: bool((x > 1).all()),
        lambda: x.tolist(),
        lambda: x.unique(),
        lambda: x + torch.tensor([1.0, 2, 3, 4]),
    )
    for work in waiting:
        with pytest.raises(WaitsError):
            recorder(work)  # type: ignore[arg-type]
    replay = recorder(lambda: held.add_(x[1:].exp()).sum() * 2)
    assert replay().item() == pytest.approx(2 * x[1:].exp().sum().item())
    x.fill_(1.0)
    assert replay().item() == pytest.approx(2 * (torch.arange(1.0, 4).exp().sum().item() + 3 * 2.718281828))


def searched(method: str, **own: Any) -> SearchResult:
    task, little = (
        SearchData(MADE.rows[FEW], MADE.rows[VALID], SCHEMA, KEYS),
        {"embedding_size": 4, "hidden": (8,)},
    )
    lazy = little | {"embedding_optimizer": "lazy_adam"}
    own |= {"epochs": 2, "batch_size": 2 if own.get("bi_level") else 4, "random_draws": 0}
    if method == "optinter":
        little["cross_hiding"] = own.pop("cross_hiding", 0.5)
        return optinter.search(task, OptInterConfig(warm_up=1, **own), OptInterSettings(**little))
    if method == "aim":
        return aim.search(task, AIMConfig(order=3, gate_warm_up=1, **own), AIMSettings(**lazy))
    if method == "autopi":
        own |= {"epochs": 3, "batch_size": 2}
        return autopi.search(task, AutoPIConfig(nodes=2, frozen=1, **own), AutoPISettings(**lazy))
    own |= {"order": 3, "higher_order": "joint", "warm_up": 1, "gate_warm_up": 1}
    return autofis.search(task, AutoFISConfig(base="autodeepfm", **own), Hyperparameters(**little))


def numbers_of(found: SearchResult) -> list[float]:
    """The path of the gates, or the strengths of operators."""
    path = [gate for gates in found.trace.path_scores for gate in gates if gate is not None]
    return path or [operator.strength or 0.0 for operator in found.trace.operators]


SEARCHES = [
    ("autofis", {}),
    ("autofis", {"bi_level": True}),
    ("optinter", {}),
    ("optinter", {"bi_level": True, "gumbel": True}),
    ("aim", {}),
    ("autopi", {"optimizer": "adam"}),
    ("autopi", {"optimizer": "sgd"}),
]


@pytest.mark.parametrize(("method", "own"), SEARCHES)
def test_captured_search_matches_eager(
    method: str, own: dict[str, Any], recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Learning rates, thresholds and temperatures change between replays."""
    for name in ("Adam", "SGD"):  # as on a GPU
        plain = getattr(torch.optim, name)
        fused = partial(lambda plain, *args, **named: plain(*args, **(named | {"fused": True})), plain)
        monkeypatch.setattr(torch.optim, name, fused)
    as_it_is = searched(method, **own)
    for module in (gates, optinter, autopi):
        monkeypatch.setattr(module, "Step", partial(Step, capture=recorder))
    replayed = searched(method, **own)
    assert recorder.replays >= WARM
    assert numbers_of(replayed) == pytest.approx(numbers_of(as_it_is), abs=1e-3)
    assert replayed.trace.path_steps == as_it_is.trace.path_steps


@pytest.mark.parametrize("precision", ["float32", "tf32", "bfloat16"])
def test_precision_is_restored_on_exit(precision: str) -> None:
    a = torch.full((4, 4), 1 + 2.0**-12)
    before = torch.get_float32_matmul_precision()
    loop.pick_device("auto")
    with matmul_precision(precision, torch.device("cpu")):
        assert (a @ a).dtype == (torch.bfloat16 if precision == "bfloat16" else torch.float32)
        assert torch.get_float32_matmul_precision() == before  # TF32 is for GPUs
    if precision != "bfloat16" or torch.cuda.is_available():
        with matmul_precision(precision, torch.device("cuda")):
            assert torch.get_float32_matmul_precision() == ("high" if precision == "tf32" else before)
            assert torch.backends.cudnn.allow_tf32 == (precision == "tf32")  # of convolutions
    assert torch.get_float32_matmul_precision() == before
    assert not torch.backends.cudnn.allow_tf32


def test_first_batch_may_be_the_last_of_a_pass() -> None:
    """As when a training continues there: the whole batches after it are captured."""
    captured: list[int] = []

    def capture(work: step.Work) -> step.Work:
        captured.append(len(run.held[0]))
        return work

    hyper = hyper_of("fm", embedding_size=4)
    model = build("fm", Architecture.complete(MADE.schema.names), MADE.schema, hyper)
    optimizer = adam(model, 0.01)
    run = Step(model, optimizer.step, [optimizer], capture=capture)
    for size in (3, *(5,) * (WARM + 2)):
        run(MADE.rows[:size].widened())
    assert captured == [5]
