"""The CI workflow: its permissions, and that the targets and scripts it calls exist."""

import re
from pathlib import Path

import pytest
import typer
import yaml

from ctrloom.cli import app

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / ".github" / "workflows" / "ci.yaml").read_text()
WORKFLOW = yaml.safe_load(TEXT)
JOBS = WORKFLOW["jobs"]
STEPS = [step for job in JOBS.values() for step in job["steps"]]
RUN = "\n".join(step["run"] for step in STEPS if "run" in step)


def test_workflow_has_valid_keys():
    assert set(WORKFLOW) == {
        "name",
        True,
        "permissions",
        "concurrency",
        "env",
        "jobs",
    }  # YAML reads `on` as true
    assert set(WORKFLOW[True]) == {"push", "pull_request", "schedule", "workflow_dispatch"}
    known = {"if", "needs", "runs-on", "timeout-minutes", "permissions", "strategy", "steps", "env"}
    for job in JOBS.values():
        assert set(job) <= known
        assert {"runs-on", "timeout-minutes", "steps"} <= set(job)
        needs = job.get("needs", [])
        assert {needs} if isinstance(needs, str) else set(needs) <= set(JOBS)
    for step in STEPS:
        assert len({"run", "uses"} & set(step)) == 1
        assert set(step) <= {"name", "if", "run", "uses", "with", "env"}


def test_actions_are_pinned_and_few():
    for action in (step["uses"] for step in STEPS if "uses" in step):
        assert re.fullmatch(r"actions/[a-z-]+@v\d+\.\d+\.\d+", action), action


def test_permissions_are_read_except_for_one_job():
    assert WORKFLOW["permissions"] == {"contents": "read"}
    asked = {name: job["permissions"] for name, job in JOBS.items() if "permissions" in job}
    assert asked == {"verdict": {"pull-requests": "write"}}
    # the job with write permission only reads a file from the change
    assert not any("checkout" in step.get("uses", "") for step in JOBS["verdict"]["steps"])


def test_scripts_have_no_template_expressions():
    assert "${{" not in RUN
    for checkout in (step for step in STEPS if "checkout" in step.get("uses", "")):
        assert checkout["with"]["persist-credentials"] is False


def test_called_make_targets_and_scripts_exist():
    targets = set(re.findall(r"^([a-z][a-z -]*):", (ROOT / "Makefile").read_text(), re.M))
    targets = {name for line in targets for name in line.split()}
    called = {name.replace("$KIND", "cpu") for name in re.findall(r'make "?([a-z$A-Z-]+)', RUN)}
    tests = {"test", "test-cluster", "test-containers", "test-spark"}
    assert called == {"audit", "setup", "compile", "manifests", "image-cpu", *tests}
    assert called <= targets
    for script in re.findall(r"(?:^|\s)(\.ci/\w+)", RUN):
        assert (ROOT / script).stat().st_mode & 0o111, script


def test_the_cluster_job_sets_what_the_suite_reads():
    job = JOBS["cluster"]
    read = set(re.findall(r"CTRLOOM_[A-Z_]+", (ROOT / "tests" / "cluster" / "conftest.py").read_text()))
    assert read - set(job["env"]) == {"CTRLOOM_HARDWARE"}, "defaults to that of the overlay `local`"
    local = (ROOT / "manifests" / "overlays" / "local" / "settings.env").read_text()
    for name in ("CTRLOOM_PIPELINE_ROOT", "CTRLOOM_IMAGE", "CTRLOOM_SERVICE_ACCOUNT", "CTRLOOM_NAMESPACE"):
        assert f"{name}={job['env'][name]}\n" in local
    assert str(job["env"]["KFP"]) in (ROOT / "constraints.txt").read_text()


@pytest.mark.parametrize("name", ["synth", "regression"])
def test_regression_script_calls_valid_commands(name):
    script = (ROOT / ".ci" / "regression").read_text()
    line = next(line.strip() for line in script.splitlines() if f"ctrloom {name} " in line)
    command = typer.main.get_command(app).commands[name]
    arguments = line.split(" | ")[0].split()[2:]
    assert command.make_context(name, [argument.strip("'\"") for argument in arguments])
