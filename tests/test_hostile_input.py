"""A part of the corpus of hostile input in `benchmarks/faults`; `make faults` runs all of it."""

import os
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "benchmarks" / "faults"))

from hostile import GROUPS, assets
from outcome import FAILURES
from program import Program

EVERY = 5  # of the quick cases of each group
SOME = [
    pytest.param(case, id=f"{group}: {case.name}")
    for group, cases in GROUPS.items()
    for case in [case for case in cases if not case.slow][::EVERY]
]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile") / "assets"
    assets.make(folder)
    return folder


def test_the_corpus_is_large_and_its_names_are_unique() -> None:
    names = [(group, case.name) for group, cases in GROUPS.items() for case in cases]
    assert len(names) >= 200
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("case", SOME)
def test_hostile_input(case, shared, python, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(os.environ, "CTRLOOM_ASSETS", str(shared))
    outcome, told = case.run(Program(python), tmp_path, shared)
    assert outcome not in FAILURES, told
