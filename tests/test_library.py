"""What programs that import ctrloom rely on: it leaves their process alone, and they can extend it."""

import json
import os
import random
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ctrloom
from ctrloom import stages
from ctrloom.config import METHODS, MODELS, catalog
from ctrloom.config.environment import FAST, fast_children
from ctrloom.config.errors import UserError

ROOT = Path(__file__).parents[1]
CONFIG = {
    "search.method": "autofis",
    "search.epochs": 1,
    "search.random_draws": 1,
    "baselines": ["fm"],
    "transfer": ["ipnn"],
    "seeds": [0],
    "models.default": {"embedding_size": 4, "hidden": [8], "epochs": 1},
    "evaluation.bootstrap": 100,
}


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


@pytest.fixture
def raw(mixed_folder: Path, tmp_path: Path) -> Path:
    """A run configuration of the files of `mixed_folder`."""
    from small import COLUMNS

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


def test_every_stage_is_a_function_that_restores_the_process(
    raw: Path, unchanged: Callable[..., Any], tmp_path: Path
) -> None:
    config = unchanged(ctrloom.load_config, raw, CONFIG)
    clean = unchanged(ctrloom.ingest, config, store=tmp_path / "store")
    dataset = unchanged(ctrloom.encode, config, clean, store=tmp_path / "store")
    assert isinstance(dataset, ctrloom.Dataset)
    found = unchanged(ctrloom.search, config, dataset, tmp_path / "search")
    assert found == ctrloom.Architecture.load(tmp_path / "search" / "architecture.json")
    bundle = unchanged(ctrloom.retrain, config, dataset.path, tmp_path / "search", tmp_path / "retrained")
    moved = unchanged(ctrloom.transfer, config, dataset, tmp_path / "search", tmp_path / "moved")
    unchanged(ctrloom.baselines, config, dataset, tmp_path / "plain")
    runs = [tmp_path / name / "runs" for name in ("retrained", "moved", "plain")]
    results = unchanged(ctrloom.evaluate, config, dataset, tmp_path / "search", runs, tmp_path / "out")
    assert {"autofm", "autofm-random", "fm", "ipnn-transfer"} <= {model.name for model in results.models}
    assert unchanged(ctrloom.load_bundle, bundle).card.model == "autofm"
    assert {name: ctrloom.load_bundle(path).card.model for name, path in moved.items()} == {"ipnn": "ipnn"}


def test_a_comparison_restores_the_process(raw: Path, unchanged: Callable[..., Any], tmp_path: Path) -> None:
    settings = {"entries": [{"name": "lr", "model": "lr"}], "seeds": [0], "evaluation.base": "lr"}
    config = ctrloom.load_config(
        raw, settings | {"models.default": {"epochs": 1}}, kind=ctrloom.CompareConfig
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


PLUGIN = """
    import torch
    import ctrloom
    from ctrloom.architecture import Architecture, Interaction
    from ctrloom.config import Hyperparameters, Method, MethodConfig
    from ctrloom.methods.interface import SearchResult
    from ctrloom.models.shallow import AutoFM
    from ctrloom.search_trace import Candidate, SearchTrace


    class FirstPairsConfig(MethodConfig):
        method: str = "first_pairs"
        base: str = "autofm"
        count: int = 2

        @property
        def controls(self):
            return ()


    def search(data, config, settings):
        names = data.schema.names
        pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
        scored = [Candidate(fields=p, score=-float(i), kept=i < config.count) for i, p in enumerate(pairs)]
        trace = SearchTrace(
            method=config.method, base=config.base, orders=(2,), candidates=tuple(scored), steps=0, epochs=0,
            seconds=1.0, rows_per_second=1.0, hyperparameters=config.model_dump(mode="json"),
        )
        kept = tuple(Interaction(fields=pair) for pair in pairs[: config.count])
        return SearchResult(Architecture(method=config.method, fields=names, interactions=kept), trace)


    class Settings(Hyperparameters):
        shift: float = 0.0


    class ShiftedFM(AutoFM):
        def __init__(self, architecture, schema, settings):
            super().__init__(architecture, schema, settings)
            self.register_buffer("shift", torch.tensor(settings.shift))

        def forward(self, ids_BC, factors_BC=None):
            return super().forward(ids_BC, factors_BC) + self.shift


    method = ctrloom.Method("First pairs", FirstPairsConfig, search)
    ctrloom.register_method("first_pairs", method)
    ctrloom.register_model("shifted_fm", "Shifted FM", ShiftedFM, Settings)
"""


def write_plugin(folder: Path, module: str) -> None:
    """An installed package with an entry point, as pip leaves it."""
    (folder / "first_pairs.py").write_text(textwrap.dedent(module))
    info = folder / "first_pairs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: first-pairs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[ctrloom]\nfirst_pairs = first_pairs\n")


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder whose packages are installed during a test."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    entries = dict(MODELS.entries), dict(METHODS.entries)
    catalog.load_plugins.cache_clear()
    yield folder
    MODELS.entries, METHODS.entries = entries
    sys.modules.pop("first_pairs", None)
    catalog.load_plugins.cache_clear()


def test_another_package_adds_a_model_and_a_search_method(raw: Path, plugins: Path, tmp_path: Path) -> None:
    write_plugin(plugins, PLUGIN)
    settings = CONFIG | {
        "search.method": "first_pairs",
        "search.count": 3,
        "baselines": ["fm", "shifted_fm"],
        "transfer": ["shifted_fm"],
        "models.shifted_fm": {"shift": 0.5},
    }
    del settings["search.epochs"]
    config = ctrloom.load_config(raw, settings)
    dataset = ctrloom.encode(config, store=tmp_path / "store")
    found = ctrloom.search(config, dataset, tmp_path / "search")
    assert found.of_order(2) == tuple((dataset.schema.names[0], b) for b in dataset.schema.names[1:4])
    ctrloom.retrain(config, dataset, tmp_path / "search", tmp_path / "retrained")
    moved = ctrloom.transfer(config, dataset, tmp_path / "search", tmp_path / "moved")
    ctrloom.baselines(config, dataset, tmp_path / "plain")
    runs = [tmp_path / name / "runs" for name in ("retrained", "moved", "plain")]
    results = ctrloom.evaluate(config, dataset, tmp_path / "search", runs, tmp_path / "out")
    titles = {model.name: model.title for model in results.models}
    assert titles["shifted_fm-transfer"] == "Shifted FM, transferred"
    bundle = ctrloom.load_bundle(moved["shifted_fm"])
    assert bundle.model.shift.item() == 0.5
    assert "Shifted FM" in (tmp_path / "out" / "report.html").read_text()
    with pytest.raises(UserError, match=r"search\.cont: unknown key 'cont'; did you mean 'count'"):
        ctrloom.load_config(raw, settings | {"search.cont": 1})


def test_the_programs_of_the_documentation_run(
    raw: Path, mixed_folder: Path, plugins: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (ROOT / "docs" / "library.md").read_text()
    program, model, method = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my-clicks.yaml").write_text(raw.read_text())
    write_plugin(plugins, model + method)
    shutil.copy(mixed_folder / "test.csv", tmp_path / "new.csv")
    config = ctrloom.load_config(
        "my-clicks.yaml",
        {
            "search": {"method": "information_threshold", "least": 0.0, "random_draws": 1},
            "baselines": ["fm", "cosinefm"],
            "transfer": ["cosinefm"],
            "models.default": {"embedding_size": 4, "epochs": 1},
        },
    )
    monkeypatch.setattr(ctrloom, "load_config", lambda path, settings: config)
    printed: list[Any] = []
    exec(program, {"print": lambda *shown: printed.append(shown)})
    assert {"CosineFM", "CosineFM, transferred", "FM"} <= {shown[0] for shown in printed[1:]}
    assert (tmp_path / "scores.parquet").is_file()
    assert len(printed[0][0]) > 0
    assert (tmp_path / "out" / "evaluation" / "report.html").is_file()


@pytest.mark.slow
def test_a_method_of_another_package_runs_as_a_pipeline(raw: Path, plugins: Path, tmp_path: Path) -> None:
    write_plugin(plugins, PLUGIN)
    settings = CONFIG | {"search.method": "first_pairs", "search.count": 3, "transfer": ["shifted_fm"]}
    del settings["search.epochs"]
    chosen = [f"--set={key}={json.dumps(value)}" for key, value in settings.items()]
    command = [sys.executable, "-m", "ctrloom", "run", str(raw), "--output", str(tmp_path / "run"), *chosen]
    subprocess.run(
        command,
        check=True,
        env=os.environ | {"PYTHONPATH": f"{plugins}{os.pathsep}{ROOT / 'src'}"},
        timeout=600,
    )
    found = ctrloom.Architecture.load(tmp_path / "run" / "architecture.json")
    assert (found.method, len(found.interactions)) == ("first_pairs", 3)
    assert (tmp_path / "run" / "report.html").is_file()


@pytest.mark.parametrize(
    ("module", "message"),
    [
        ("import nothing_like_this", "plugin first_pairs of first-pairs cannot be imported: ModuleNotFound"),
        ("import ctrloom\nctrloom.register_model('fm', 'FM', 'a:b')", "ctrloom has one of this name"),
        ("import ctrloom\nctrloom.register_model('My FM', 'FM', 'a:b')", "a name consists of a-z, 0-9 and _"),
    ],
)
def test_a_plugin_that_cannot_be_used_is_named(raw: Path, plugins: Path, module: str, message: str) -> None:
    write_plugin(plugins, module)
    assert ctrloom.load_config(raw, CONFIG).name == "library"  # which does not need the plugin
    with pytest.raises(UserError, match=message):
        ctrloom.load_config(raw, CONFIG | {"baselines": ["fm", "shifted_fm"]})
