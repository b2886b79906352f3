"""Models and search methods of other packages work like those of ctrloom."""

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from small import QUICK

import ctrloom
from ctrloom.config import METHODS, MODELS, catalog
from ctrloom.config.errors import UserError
from ctrloom.config.version import code_digest, code_version

ROOT = Path(__file__).parents[1]
PLUGIN = """
    import torch
    import ctrloom
    from ctrloom.architecture import Architecture, Interaction
    from ctrloom.config import GatedSettings, Method, MethodConfig
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


    class Settings(GatedSettings):
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


def test_another_package_adds_a_model_and_a_search_method(
    run_file: Path, plugins: Path, tmp_path: Path
) -> None:
    write_plugin(plugins, PLUGIN)
    settings = QUICK | {
        "search.method": "first_pairs",
        "search.count": 3,
        "baselines": ["fm", "shifted_fm"],
        "transfer": ["shifted_fm"],
        "models.shifted_fm": {"shift": 0.5},
    }
    del settings["search.epochs"]
    config = ctrloom.load_config(run_file, settings)
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
        ctrloom.load_config(run_file, settings | {"search.cont": 1})


def test_the_programs_of_the_documentation_run(
    run_file: Path, mixed_folder: Path, plugins: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (ROOT / "docs" / "library.md").read_text()
    program, model, method = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my-clicks.yaml").write_text(run_file.read_text())
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
def test_a_method_of_another_package_runs_as_a_pipeline(
    run_file: Path, plugins: Path, tmp_path: Path
) -> None:
    write_plugin(plugins, PLUGIN)
    settings = QUICK | {"search.method": "first_pairs", "search.count": 3, "transfer": ["shifted_fm"]}
    del settings["search.epochs"]
    chosen = [f"--set={key}={json.dumps(value)}" for key, value in settings.items()]
    command = [
        sys.executable,
        "-m",
        "ctrloom",
        "run",
        str(run_file),
        "--output",
        str(tmp_path / "run"),
        *chosen,
    ]
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
def test_a_plugin_that_cannot_be_used_is_named(
    run_file: Path, plugins: Path, module: str, message: str
) -> None:
    write_plugin(plugins, module)
    assert ctrloom.load_config(run_file, QUICK).name == "library"  # which does not need the plugin
    with pytest.raises(UserError, match=message):
        ctrloom.load_config(run_file, QUICK | {"baselines": ["fm", "shifted_fm"]})


def test_artifacts_and_resumed_runs_know_the_plugins(plugins: Path) -> None:
    plain, code = code_version.__wrapped__(), code_digest.__wrapped__()
    write_plugin(plugins, PLUGIN)
    assert code_version.__wrapped__() == f"{plain}, first-pairs 1.0"
    with_plugin = code_digest.__wrapped__()
    (plugins / "first_pairs.py").write_text(textwrap.dedent(PLUGIN) + "\n# changed\n")
    assert len({code, with_plugin, code_digest.__wrapped__()}) == 3
