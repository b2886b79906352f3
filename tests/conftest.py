import gc
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fast_process  # noqa: F401
import numpy as np
import pytest
import torch
from hypothesis import settings

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read where kernels are imported, so before that

from small import COLUMNS, Planting, mixed_csv, planting
from warm import warm_python

from ctrloom import interruption, kernels
from ctrloom.config import DataConfig, VocabularyConfig
from ctrloom.data.dataset import Dataset
from ctrloom.data.ingest.run import ingest
from ctrloom.data.vocabulary.build import build_vocabulary

torch.set_num_threads(1)
settings.register_profile("ctrloom", deadline=None)  # machines are shared: no test is one of time
settings.load_profile("ctrloom")


@pytest.fixture(autouse=True)
def signal_handlers_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands that tests call in this process do not take its signals."""
    monkeypatch.setattr(interruption.handlers, "install", lambda: None)


@pytest.fixture(scope="session")
def mixed_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Raw files `train.csv`, `valid.csv` and `test.csv` with a column of every kind."""
    folder = tmp_path_factory.mktemp("mixed")
    rng = np.random.default_rng(0)
    for name, rows in (("train", 1500), ("valid", 400), ("test", 300)):
        (folder / f"{name}.csv").write_text(mixed_csv(rng, rows, unseen=name != "train"))
    return folder


@pytest.fixture(scope="session")
def mixed(mixed_folder: Path) -> Dataset:
    """The files of `mixed_folder`, encoded: tokens, buckets, kept numbers, several values, weights."""
    files = {split: str(mixed_folder / f"{split}.csv") for split in ("train", "valid", "test")}
    config = DataConfig.parse({"files": {k: [v] for k, v in files.items()}, "columns": COLUMNS}, "test")
    vocabulary = VocabularyConfig.parse(
        {"min_count": 3, "fields": {"price": {"bucketing": {"method": "keep", "scaling": "min_max"}}}}, "test"
    )
    ingested = ingest(config, mixed_folder / "store")
    return Dataset.open(build_vocabulary(ingested, vocabulary, mixed_folder / "store"))


@pytest.fixture(scope="session")
def planted() -> Planting:
    """30,000 clicks over 6 fields of 20 values with 3 planted pairs."""
    return planting(rows=30_000, fields=6, sizes=(20,), pairs=3)


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A program for `python -m <module> ...` that starts at once."""
    with warm_python(tmp_path_factory.mktemp("warm")) as program:
        yield program


def pytest_collection_finish() -> None:
    """Exempt the modules and tests from garbage collection, which takes half a second with them."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    """Collect them at the end, as always."""
    gc.unfreeze()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leave out what needs a GPU where there is none."""
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("there is no GPU")


def interpret(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run kernels interpreted: with a fast scan, and in blocks so small that a few rows make several.

    On a GPU, kernels keep the blocks that are fast there.
    """
    interpreter = pytest.importorskip("triton.runtime.interpreter")
    from ctrloom.kernels import embedding, gates, mixture, products

    monkeypatch.setattr(kernels, "on_cpu", True)
    monkeypatch.setattr(interpreter.ScanOps, "generic_scan", _scan)
    monkeypatch.setattr(embedding, "SHAPES", {width: (16, 1) for width in (1, 16, 32, 64, 128)})
    monkeypatch.setattr(embedding, "TOGETHER", 2)
    monkeypatch.setattr(embedding, "LOOKED_UP", 64)
    monkeypatch.setattr(gates, "ROWS", 2 * gates.TILE_B)
    monkeypatch.setattr(mixture, "ROWS", 2)
    monkeypatch.setattr(products, "MOST_FIELDS", 16)
    monkeypatch.setattr(products, "TOGETHER", 2)


def _scan(scan: Any, tensors: Sequence[Any]) -> list[Any]:
    """A scan that combines whole slices, where the interpreter's combines one entry at a time."""
    slices = [np.moveaxis(tensor.handle.data, scan.axis, 0) for tensor in tensors]
    done: list[tuple[Any, ...]] = []
    for parts in zip(*slices, strict=True):
        here = tuple(scan.to_tensor(x, tensor.dtype) for x, tensor in zip(parts, tensors, strict=True))
        done.append(scan.combine_fn.fn(*done[-1], *here) if done else here)
    whole = (np.stack([x.handle.data for x in column], scan.axis) for column in zip(*done, strict=True))
    return [scan.to_tensor(x, tensor.dtype) for x, tensor in zip(whole, tensors, strict=True)]


@dataclass
class Way:
    """Which of two twins a test runs, and how near it comes."""

    kernel: bool
    device: torch.device
    dtype: torch.dtype
    near: float
    launched: set[str] = field(default_factory=set)  # kernels

    def ran(self, *kernels: str) -> None:
        """Fail where a kernel was to run and plain code took its place: it would be compared with itself."""
        assert not self.kernel or set(kernels) <= self.launched


@pytest.fixture(params=["plain", "kernel"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Way]:
    """The plain code in double precision, then the kernel: on a GPU, or where there is none interpreted."""
    if request.param == "plain":
        yield Way(False, torch.device("cpu"), torch.float64, 1e-12)
        return
    jit = pytest.importorskip("triton.runtime.jit")
    if not torch.cuda.is_available():
        interpret(monkeypatch)
    found = Way(True, torch.device("cuda" if torch.cuda.is_available() else "cpu"), torch.float32, 2e-5)
    launcher = jit.KernelInterface.__getitem__

    def noted(kernel: Any, grid: Any) -> Any:
        found.launched.add(kernel.fn.__name__)
        return launcher(kernel, grid)

    monkeypatch.setattr(jit.KernelInterface, "__getitem__", noted)
    yield found


@pytest.fixture
def run_file(mixed_folder: Path, tmp_path: Path) -> Path:
    """A run configuration of the files of `mixed_folder`."""
    text = json.dumps(
        {
            "name": "library",
            "data": {
                "files": {s: str(mixed_folder / f"{s}.csv") for s in ("train", "valid", "test")},
                "columns": COLUMNS,
                "max_malformed": 0.5,
            },
        }
    )
    (tmp_path / "run.yaml").write_text(text)
    return tmp_path / "run.yaml"
