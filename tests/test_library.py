"""What programs that import ctrloom rely on: it leaves their process alone, and they can extend it."""

import json
import os
import random
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small import QUICK

import ctrloom
from ctrloom import stages
from ctrloom.config.environment import FAST, fast_children
from ctrloom.config.errors import UserError

ROOT = Path(__file__).parents[1]


def state() -> dict[str, Any]:
    """Global state that a call must leave as it was."""
    return {
        "environment": dict(os.environ),
        "torch": torch.get_rng_state().tolist(),
        "numpy": str(np.random.get_state()),  # the global generator itself
        "random": random.getstate(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "warn only": torch.is_deterministic_algorithms_warn_only_enabled(),
        "fill": torch.utils.deterministic.fill_uninitialized_memory,
        "precision": torch.get_float32_matmul_precision(),
        "convolutions": torch.backends.cudnn.allow_tf32,
        "threads": torch.get_num_threads(),
        "gradients": torch.is_grad_enabled(),
        "type": torch.get_default_dtype(),
        "output": (sys.stdout, sys.stderr, os.getcwd()),
    }


@pytest.fixture
def unchanged() -> Callable[..., Any]:
    """Call a function and compare the global state before and after."""

    def call(function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        torch.use_deterministic_algorithms(False)
        torch.utils.deterministic.fill_uninitialized_memory = True
        torch.backends.cudnn.allow_tf32 = True
        torch.manual_seed(77)
        before = state()
        result = function(*arguments, **named)
        after = state()
        assert {key for key in before if before[key] != after[key]} == set(), function.__name__
        return result

    return call


def test_every_stage_is_a_function_that_restores_the_process(
    run_file: Path, unchanged: Callable[..., Any], tmp_path: Path
) -> None:
    own = {"search.threshold": 0.5, "search.permuted": 0, "search.confirm": False, "tuning.trials": 2}
    keeping = QUICK | own  # something, after one epoch
    config = unchanged(ctrloom.load_config, run_file, keeping)
    clean = unchanged(ctrloom.ingest, config, store=tmp_path / "store")
    dataset = unchanged(ctrloom.encode, config, clean, store=tmp_path / "store")
    assert isinstance(dataset, ctrloom.Dataset)
    found = unchanged(ctrloom.search, config, dataset, tmp_path / "search")
    assert found == ctrloom.Architecture.load(tmp_path / "search" / "architecture.json")
    bundle = unchanged(ctrloom.retrain, config, dataset.path, tmp_path / "search", tmp_path / "retrained")
    moved = unchanged(ctrloom.transfer, config, dataset, tmp_path / "search", tmp_path / "moved")
    unchanged(ctrloom.tune, config, dataset, tmp_path / "tuned", "fm")
    unchanged(ctrloom.baselines, config, dataset, tmp_path / "plain", tmp_path / "tuned")
    runs = [tmp_path / name / "runs" for name in ("retrained", "moved", "plain")]
    results = unchanged(ctrloom.evaluate, config, dataset, tmp_path / "search", runs, tmp_path / "out")
    assert {"autofm", "autofm-random", "fm", "ipnn-transfer"} <= {model.name for model in results.models}
    assert unchanged(ctrloom.load_bundle, bundle).card.model == "autofm"
    assert {name: ctrloom.load_bundle(path).card.model for name, path in moved.items()} == {"ipnn": "ipnn"}


def test_a_comparison_restores_the_process(
    run_file: Path, unchanged: Callable[..., Any], tmp_path: Path
) -> None:
    settings = {"entries": [{"name": "lr", "model": "lr"}], "seeds": [0], "evaluation.base": "lr"}
    config = ctrloom.load_config(
        run_file, settings | {"models.default": {"epochs": 1}}, kind=ctrloom.CompareConfig
    )
    manifest = ctrloom.encode(config, store=tmp_path / "store").path
    job = tmp_path / "job"  # which `compare` runs in another process
    assert unchanged(stages.run_job, manifest, config.entries[0], 0, config.models, job)
    results = unchanged(stages.tabulate, manifest, config, [job], tmp_path / "table")
    assert [model.name for model in results.models] == ["lr"]


def test_importing_changes_nothing_and_loads_nothing_heavy() -> None:
    code = """
        import json, os, sys
        before, loaded = dict(os.environ), set(sys.modules)
        import ctrloom
        heavy = {"torch", "pyarrow", "pydantic", "numpy", "ctypes"} & (set(sys.modules) - loaded)
        print(json.dumps([before == dict(os.environ), sorted(heavy), ctrloom.__version__, dir(ctrloom)]))
    """
    clean = {key: value for key, value in os.environ.items() if key not in FAST}
    done = run_python(code, clean)
    same, heavy, version, names = json.loads(done)
    assert (same, heavy) == (True, [])
    assert version == ctrloom.__version__
    assert {"load_config", "search", "Dataset", "load_bundle"} <= set(names)
    with pytest.raises(AttributeError, match="has no attribute 'serch'"):
        _ = ctrloom.serch


def run_python(code: str, environment: dict[str, str]) -> str:
    command = [sys.executable, "-c", textwrap.dedent(code)]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_commands_and_their_children_keep_memory_unless_told_otherwise() -> None:
    """After 50 MB were allocated and freed, they still belong to the heap."""
    heap = """
        import ctypes
        libc = ctypes.CDLL(None)
        libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
        libc.free.argtypes = [ctypes.c_void_p]
        libc.free(libc.malloc(50_000_000))
        heap = next(line for line in open("/proc/self/maps") if "[heap]" in line).split()[0].split("-")
        print(int(heap[1], 16) - int(heap[0], 16) > 50_000_000, end=" ")
    """
    own = "from ctrloom.config.environment import make_fast\nmake_fast()\n" + textwrap.dedent(heap)
    child = "import subprocess, sys\nsys.stdout.flush()\nprint(subprocess.run([sys.executable, '-c', "
    both = f"{own}{child}{textwrap.dedent(heap)!r}], capture_output=True, text=True).stdout)"
    clean = {key: value for key, value in os.environ.items() if key not in FAST}
    assert run_python(both, clean).split() == ["True", "True"]
    assert run_python(both, clean | {"THP_MEM_ALLOC_ENABLE": "0"}).split() == ["False", "False"]
    assert run_python(heap, clean).split() == ["False"]


def test_images_set_what_commands_set() -> None:
    for image in ("cpu", "gpu"):
        text = (ROOT / "docker" / f"Dockerfile.{image}").read_text()
        assert [name for name, value in FAST.items() if f" {name}={value}" not in text] == []


def test_variables_for_children_are_removed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in FAST:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    before = dict(os.environ)
    with fast_children():
        assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"
        assert os.environ["MALLOC_ARENA_MAX"] == FAST["MALLOC_ARENA_MAX"]
    assert dict(os.environ) == before


def test_every_error_class_is_a_user_error_or_of_the_system() -> None:
    import importlib
    import pkgutil

    for module in pkgutil.walk_packages(ctrloom.__path__, "ctrloom."):
        if module.name.endswith(("spark_worker", "__main__")):
            continue
        for name, each in vars(importlib.import_module(module.name)).items():
            if isinstance(each, type) and issubclass(each, Exception) and each.__module__ == module.name:
                assert issubclass(each, UserError | OSError), f"{module.name}.{name}"
