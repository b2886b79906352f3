"""The benchmarks for a GPU run on the CPU, with tiny cases."""

import importlib
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from types import ModuleType

import pytest
import torch

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
OURS = {"cases", "limits", "ours", "result", "shapes", "worker"}
OURS |= {"machine", "memory", "growth", "whole", "feeding", "cross_lookup", "plain", "checkpoints"}


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Import benchmarks as when run as scripts: top-level modules next to each other."""
    for folder in (BENCHMARKS, BENCHMARKS / "training"):
        monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("CTRLOOM_DEVICE", "cpu")
    for name in [name for name in sys.modules if name.split(".")[0] in {*OURS, "training"}]:
        monkeypatch.delitem(sys.modules, name)


def module(name: str) -> ModuleType:
    return importlib.import_module(name)


def main(name: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    module(name).main()


@pytest.mark.parametrize("number", [*range(11), pytest.param(11, marks=pytest.mark.slow)])
def test_every_case_of_a_gpu_runs(number: int) -> None:
    cases, ours, shapes = module("cases"), module("ours"), module("shapes")
    assert len(cases.ON_GPU) == 12
    case = cases.tiny(cases.ON_GPU[number])
    sizes = shapes.sizes_of(case.shape, None if case.search == "optinter" else case.ids)
    task = asdict(case) | {"sizes": sizes, "rows": 5 * case.batch, "steps": 5}
    if case.search == "optinter":
        task["sizes"] = None  # has its own shape
    rows, calls, _ = (ours.search if case.search else ours.train)(task)
    assert set(calls) <= set(rows)
    for call in calls.values():
        call()


def test_a_line_names_the_limit_of_launches(tmp_path: Path) -> None:
    cases, limits, result = module("cases"), module("limits"), module("result")
    case = replace(cases.tiny(cases.ON_GPU[0]), batch=1000)
    machine = limits.measure(1, torch.device("cpu"), 2**15)
    assert set(machine.flops) == {"float32", "bfloat16"}
    assert min(machine.copy_bytes, machine.gathered_rows, *machine.flops.values()) > 0
    plain = limits.limit(case, machine)
    assert plain["binding"] in ("memory", "compute")
    machine = replace(
        machine, launch_seconds=4e-6, graph_seconds=1e-6, flops={"float32": 1e15}, copy_bytes=1e15
    )
    bound = limits.limit(case, machine, kernels=50)
    assert (bound["binding"], bound["rows_per_second"]) == ("launch", pytest.approx(1000 / 50e-6))
    assert bound["launch without graphs"] == pytest.approx(1000 / 200e-6)
    line = {
        "case": asdict(case),
        "kernels": 50,
        "calls": {"loop": {"ours": 1e6, "of_limit": 0.05}},
        "peak_mib": {"ours": 7},
        "limit": bound,
    }
    given = type("Given", (), {"output": tmp_path, "threads": 1, "rounds": 1, "steps": 1})()
    result.write([line], machine, given)
    (page,) = (path.read_text() for path in tmp_path.glob("*.md"))
    assert "4.00 us a kernel, 1.00 us in a graph" in page
    assert "launch, 20,000,000 (50 kernels a step) |  | 5% | 7 |" in page
    assert ".svg" not in page  # no chart without ratios


def test_suite_in_separate_processes(tmp_path: Path, python: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", python)
    arguments = [
        "--device",
        "cpu",
        "--cases",
        "cuda",
        "--tiny",
        "--steps",
        "5",
        "--rounds",
        "1",
        "--threads",
        "1",
    ]
    monkeypatch.setattr(
        sys, "argv", ["training", *arguments, "--only", "FM, batch 2,000", "--output", str(tmp_path)]
    )
    module("training.__main__").main()
    (written,) = (json.loads(path.read_text()) for path in tmp_path.glob("*.json"))
    (line,) = (line for line in written["lines"] if line["case"]["model"] == "fm")
    loop = line["calls"]["loop"]
    assert loop["of_limit"] == pytest.approx(loop["ours"] / line["limit"]["rows_per_second"])  # of one round


def test_cost_of_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints = module("checkpoints")
    for name, value in {"VALUES": (100, 1000), "TRAINED": 100, "ROWS": 5000, "TURNS": 1}.items():
        monkeypatch.setattr(checkpoints, name, value)
    monkeypatch.setattr(sys, "argv", ["checkpoints", "--seconds", "0.2", "--output", str(tmp_path)])
    monkeypatch.setattr(checkpoints.loop, "SPACING", 0.05)
    monkeypatch.setattr(checkpoints.stage, "SHARE", 0.9)
    checkpoints.main()
    (page,) = (path.read_text() for path in tmp_path.glob("checkpoints-cpu-*.md"))
    assert page.count("\n| 1") == 2
    assert "A training over 100 values saved " in page
    assert "saved 0 " not in page


def test_feeding_from_memory_and_from_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    feeding = module("feeding")
    monkeypatch.setattr(feeding, "TURNS", 1)
    sizes = module("shapes").sizes_of
    monkeypatch.setattr(feeding, "sizes_of", lambda shape, _: sizes(shape, 20_000))
    main(
        "feeding",
        ["--rows", "2000", "--batch", "100", "--threads", "1", "--output", str(tmp_path)],
        monkeypatch,
    )
    (page,) = (path.read_text() for path in tmp_path.glob("feeding-cpu-*.md"))
    assert "1,600 rows for training" in page
    assert page.count("| in memory |") == page.count("| streamed |") == 1


def test_cost_as_work_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    growth = module("growth")
    for name, value in (("BATCH", 50), ("DIFFERENT", 400), ("PART", {"cpu": 5}), ("PARTS", 1)):
        monkeypatch.setattr(growth, name, value)
    passes = {times: growth.Pass(3000, 400 * times, torch.device("cpu")) for times in (1, 2)}
    assert passes[2].rows.total == 800
    assert "| 2 thousand |" in growth.table("rows", "thousand", passes)[-1]


def test_everything_from_parquet_to_a_retrained_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["--rows", "2000", "--ids", "3000", "--batch", "100", "--threads", "1"]
    main("whole", [*arguments, "--output", str(tmp_path), "--data", str(tmp_path / "data")], monkeypatch)
    (page,) = (path.read_text() for path in tmp_path.glob("*.md"))
    assert "1,600 rows for training, 200 for validation, 200 for testing" in page
    assert "| retrain and validate |" in page
    manifest = json.loads((tmp_path / "data" / "manifest.json").read_text())
    assert sum(manifest["rows"].values()) == 2000
