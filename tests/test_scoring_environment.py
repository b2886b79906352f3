"""Scoring needs the base dependencies only, and what else needs more says how to install it."""

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from predictor_bundles import TEXT_COLUMNS, bundle_of, command, text_rows, written

ROOT = Path(__file__).parents[1]
ABSENT = {"duckdb", "ibis", "matplotlib", "pandas", "scipy", "kfp", "boto3", "optuna", "lightgbm"}
ABSENT |= {"google.cloud"}
BLOCKER = f"""
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        for absent in {sorted(ABSENT | {"jinja2"})!r}:
            if name == absent or name.startswith(absent + "."):
                raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocker())
"""
SCORE = """
import csv, sys
import ctrloom, pyarrow.csv

predictor = ctrloom.load_bundle(sys.argv[1])
rows = list(csv.DictReader(open(sys.argv[2], newline="")))
table = pyarrow.table({name: [row[name] for row in rows] for name in rows[0]})
for found in (predictor.predict(rows), predictor.predict(table), predictor.predict_files([sys.argv[2]])):
    print(found.tobytes().hex())
ctrloom.predict(sys.argv[1], [sys.argv[2]], sys.argv[2] + ".out.csv")
"""


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, np.ndarray]:
    """A bundle, a file of rows, and their probabilities."""
    folder = tmp_path_factory.mktemp("scored")
    (folder / "train.csv").write_text(written(text_rows(np.random.default_rng(1), 200), [*TEXT_COLUMNS]))
    bundle = bundle_of(folder, folder / "train.csv", TEXT_COLUMNS, {})
    (folder / "rows.csv").write_text(written(text_rows(np.random.default_rng(2), 20), [*TEXT_COLUMNS]))
    return bundle, folder / "rows.csv", command(bundle, folder / "rows.csv")[0]


def test_scoring_imports_no_package_of_training(scored: tuple[Path, Path, np.ndarray]) -> None:
    bundle, file, expected = scored
    done = subprocess.run(
        [sys.executable, "-c", BLOCKER + SCORE, bundle, file], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [expected.tobytes().hex()] * 3
    absent = sorted(ABSENT - {"pandas"})  # pyarrow imports pandas where it is installed
    loaded = f"{SCORE}print([name for name in {absent!r} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", loaded, bundle, file], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(("command", "output"), [("run", "--output"), ("ingest", "--store")])
def test_other_commands_say_what_to_install(
    command: str, output: str, run_file: Path, tmp_path: Path
) -> None:
    code = BLOCKER + "from ctrloom.__main__ import main\nmain()"
    words = [command, str(run_file), output, str(tmp_path / "out")]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
    assert done.returncode == 2
    (message,) = [line for line in done.stderr.splitlines() if line.startswith("ctrloom: ")]
    assert "only what scoring needs is installed" in message
    assert "pip install '.[training]'" in message
    assert "Traceback" not in done.stderr


def closure(wanted: Iterable[str]) -> dict[str, metadata.Distribution]:
    """Installed distributions that requirements need, with all that these need, by canonical name."""
    found, open_ = dict[tuple[str, str], metadata.Distribution](), [Requirement(text) for text in wanted]
    while open_:
        requirement = open_.pop()
        for extra in ("", *requirement.extras):
            key = canonicalize_name(requirement.name), extra
            if key not in found:
                found[key] = metadata.distribution(requirement.name)
                needed = map(Requirement, found[key].requires or [])
                open_ += [r for r in needed if r.marker is None or r.marker.evaluate({"extra": extra})]
    return {name: distribution for (name, _), distribution in found.items()}


@pytest.mark.parametrize("extra", ["", "serve"])
def test_declared_dependencies_are_enough(
    extra: str, scored: tuple[Path, Path, np.ndarray], tmp_path: Path
) -> None:
    """An interpreter sees nothing but the files of the packages that an installation brings."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    try:
        needed = closure([*project["dependencies"], *project["optional-dependencies"].get(extra, [])])
    except metadata.PackageNotFoundError as error:
        pytest.skip(f"{error} is not installed")
    assert not {*needed} & {
        "duckdb",
        "ibis-framework",
        "matplotlib",
        "pandas",
        "kfp",
        "boto3",
        "optuna",
        "lightgbm",
        "scipy",
    }
    packages = tmp_path / "packages"
    for distribution in needed.values():
        for file in distribution.files or []:
            if ".." in file.parts or "__pycache__" in file.parts:
                continue
            (packages / file).parent.mkdir(parents=True, exist_ok=True)
            (packages / file).symlink_to(distribution.locate_file(file))
    (packages / "ctrloom").symlink_to(ROOT / "src" / "ctrloom")
    (packages / "ctrloom-0.dist-info").mkdir()
    (packages / "ctrloom-0.dist-info" / "METADATA").write_text("Name: ctrloom\nVersion: 0\n")
    bundle, file, expected = scored
    only = {**os.environ, "PYTHONPATH": str(packages)}
    check = (
        "import importlib.util, sys\nassert not any('site-packages' in path for path in sys.path), sys.path\n"
    )
    check += "assert importlib.util.find_spec('duckdb') is None\n"
    done = subprocess.run(
        [sys.executable, "-S", "-c", check + SCORE, bundle, file], capture_output=True, text=True, env=only
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [expected.tobytes().hex()] * 3
    if not extra:
        return
    served = "import ctrloom.cli, ctrloom.serving.server.run"
    done = subprocess.run([sys.executable, "-S", "-c", served], capture_output=True, text=True, env=only)
    assert done.returncode == 0, done.stderr


def test_every_module_of_the_extra_is_in_it() -> None:
    """The modules whose absence is explained are those of the extra `training`."""
    from ctrloom.config.extras import TRAINING

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {re.split(r"[^\w-]", text)[0] for text in project["optional-dependencies"]["training"]}
    own = {"ibis-framework": "ibis", "fsspec": "aiohttp"}
    assert {own.get(name, name) for name in names} == {*TRAINING}
