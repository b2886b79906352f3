"""A comparison with an entry that diverges, as a pipeline: a table of the others, and a failed run."""

import itertools
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("kfp", reason="the extra `pipelines` is not installed")

from components.__main__ import load
from ctrloom.data.synthetic import SynthConfig, synthesize
from ctrloom.evaluation.failed_entries import EntriesFailedError
from ctrloom.evaluation.results import Results
from ctrloom.runners import compiled

COMPARISON: dict[str, Any] = {
    "name": "wild",
    "data": {"files": "clicks.csv", "columns": {"click": "label", "field_00..field_02": "categorical"}},
    "models": {"default": {"hidden": [8], "epochs": 40, "batch_size": 500, "learning_rate": 0.02}},
    "seeds": [0, 1],
    "bundles": ["wild"],
    "evaluation": {"base": "wild", "bootstrap": 20},
    "entries": [
        {"name": "wild", "title": "Wild", "model": "ipnn", "settings": {"learning_rate": 1e9}},  # overflows
        {"name": "lr", "model": "lr"},
    ],
}
REASON = "training diverged in epoch 1: logits or their loss are not finite"
COMMAND = ("compare", "wild.yaml", "--pipeline", "--output", "out")


@pytest.fixture(scope="module")
def ctrloom(python: str) -> Any:
    def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        command = [python, "-m", "ctrloom", *arguments]
        return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)

    return run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("failed")
    synthesize(SynthConfig(rows=6000, fields=3, sizes=(8,), pairs=1, main_effects=1.0, seed=3), folder)
    (folder / "wild.yaml").write_text(yaml.safe_dump(COMPARISON))
    return folder


@pytest.fixture(scope="module")
def first(ctrloom: Any, folder: Path) -> subprocess.CompletedProcess[str]:
    """The first run."""
    done: subprocess.CompletedProcess[str] = ctrloom(*COMMAND, cwd=folder)
    return done


def ended(folder: Path, step: str) -> set[Path]:
    return {
        path.parent
        for path in (folder / "out" / "steps").rglob("executor_output.json")
        if path.parent.name == step
    }


def test_the_table_has_the_others_and_the_command_fails(
    first: subprocess.CompletedProcess[str], ctrloom: Any, folder: Path
) -> None:
    assert first.returncode == 2, first.stderr
    assert "Traceback" not in first.stderr
    last = first.stderr.splitlines()[-1]
    assert last.startswith("ctrloom: 1 of the entries failed, and the table is without them: wild: seed 0: ")
    assert REASON in last
    for seed in (0, 1):
        assert f"wild, seed {seed}: failed, {REASON}" in first.stderr
    assert "Wild failed and is left out: seed 0: " in " ".join(first.stdout.split())

    results = Results.load(folder / "out" / "comparison" / "metrics.json")
    assert [model.name for model in results.models] == ["lr"]
    assert [*results.failed] == ["wild"]
    assert (
        f"Wild failed and is left out: seed 0: {REASON}"
        in (folder / "out" / "comparison" / "comparison.html").read_text()
    )
    assert {path.name for path in (folder / "out" / "bundles").iterdir()} == {"best", "best.json"}
    (step,) = ended(folder, "compare-table")
    assert json.loads((step / "summary").read_text())["failed_entries"] == 1

    alone = ctrloom("compare", "wild.yaml", "--output", "alone", cwd=folder)
    assert (alone.returncode, alone.stderr.splitlines()[-1]) == (2, last)
    expected = Results.load(folder / "alone" / "comparison" / "metrics.json")
    assert (results.failed, results.notes) == (expected.failed, expected.notes)
    ours, theirs = ([seed.test.auc for seed in each.model("lr").seeds] for each in (results, expected))
    assert ours == pytest.approx(theirs, abs=1e-4)


def test_the_last_step_fails_the_run_of_a_cluster(
    first: subprocess.CompletedProcess[str], folder: Path
) -> None:
    from kfp.dsl import Artifact

    (step,) = ended(folder, "compare-table")
    table, last = Artifact(uri=str(step / "table")), load("require_complete").python_func
    with pytest.raises(EntriesFailedError) as raised:
        last(table=table)
    assert f"ctrloom: {raised.value}" == first.stderr.splitlines()[-1]
    last(table=table, strict=False)
    results = Results.load(step / "table" / "metrics.json")
    results.model_copy(update={"failed": {}}).save(folder / "whole" / "metrics.json")
    last(table=Artifact(uri=str(folder / "whole")))


def test_the_same_command_tries_only_the_failed_jobs_again(
    first: subprocess.CompletedProcess[str], ctrloom: Any, folder: Path
) -> None:
    jobs, trained = ended(folder, "compare-job"), ended(folder, "vocabulary")
    assert len(jobs) == 4
    again = ctrloom(*COMMAND, cwd=folder)
    assert again.returncode == 2
    assert again.stderr.splitlines()[-1] == first.stderr.splitlines()[-1]
    new = ended(folder, "compare-job") - jobs
    assert sorted(json.loads((job / "done" / "failure.json").read_text())["seed"] for job in new) == [0, 1]
    assert all([path.name for path in (job / "done").iterdir()] == ["failure.json"] for job in new)
    assert ended(folder, "vocabulary") == trained


def test_damaged_data_fail_the_job_itself(
    first: subprocess.CompletedProcess[str], ctrloom: Any, folder: Path
) -> None:
    """The jobs that are tried again read the data, and what they raise then is not of their inputs."""
    (schema,) = (folder / "out" / "data").rglob("schema.json")  # next to the encoded rows
    part = sorted((schema.parent / "train").glob("*.parquet"))[0]
    content = part.read_bytes()
    before = ended(folder, "compare-job")
    try:
        middle = len(content) // 2
        part.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
        done = ctrloom(*COMMAND, cwd=folder)
    finally:
        part.write_bytes(content)
    assert done.returncode == 2
    assert f"ctrloom: step compare-job: {part}: was changed or damaged" in done.stderr
    assert "failed, and the table is without them" not in done.stderr
    assert ended(folder, "compare-job") == before
    assert not (folder / "out" / "comparison").exists()


def test_a_regression_fails_for_an_entry_without_figures(ctrloom: Any, folder: Path) -> None:
    """The baseline is from before the entry was there, so that no figure of it is missing."""
    whole = {**COMPARISON, "entries": COMPARISON["entries"][1:], "bundles": []}
    (folder / "lr.yaml").write_text(yaml.safe_dump({**whole, "evaluation": {"base": "lr", "bootstrap": 20}}))
    options = ("--baseline", "baseline.json", "--output", "regression")
    accepted = ctrloom("regression", "lr.yaml", *options, "--accept", cwd=folder)
    assert accepted.returncode == 0, accepted.stderr
    stored = (folder / "baseline.json").read_bytes()

    done = ctrloom("regression", "wild.yaml", *options, cwd=folder)
    assert done.returncode == 1, done.stderr
    assert done.stdout.startswith("## Regression of wild: failed")
    assert f"wild failed: seed 0: {REASON}" in done.stdout
    checks = json.loads((folder / "regression" / "verdict.json").read_text())["checks"]
    assert [(check["model"], check["passed"]) for check in checks] == [("lr", True), ("lr", True)]

    refused = ctrloom("regression", "wild.yaml", *options, "--accept", cwd=folder)
    assert refused.returncode == 2
    assert "1 of the entries failed, and the table is without them: wild: " in refused.stderr
    assert (folder / "baseline.json").read_bytes() == stored


@pytest.mark.parametrize(
    ("pipeline", "path"),
    [
        ("compare", ["compare-table", "require-complete"]),
        ("regression_eval", ["compare-table", "regression", "require"]),
    ],
)
def test_what_fails_the_run_comes_after_the_table(pipeline: str, path: list[str]) -> None:
    spec, _ = compiled.read(pipeline)
    tasks = spec["root"]["dag"]["tasks"]
    for before, after in itertools.pairwise(path):
        taken = tasks[after]["inputs"]["artifacts"].values()
        assert before in {its["taskOutputArtifact"]["producerTask"] for its in taken}
    last = tasks[path[-1]]
    assert "triggerPolicy" not in last, "no condition"
    assert last["inputs"]["parameters"]["strict"] == {"componentInputParameter": "strict"}
    assert spec["root"]["inputDefinitions"]["parameters"]["strict"]["defaultValue"] is True
