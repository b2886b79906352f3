"""The pipeline with every step in a container, and what the image is; `make test-containers`."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from importlib.metadata import version

import pytest
import yaml

from ctrloom.data.synthetic import SynthConfig, synthesize
from ctrloom.evaluation.results import Results
from ctrloom.pipelines.containers import LABEL, find_engine, image_id

pytestmark = pytest.mark.containers
IMAGE = os.environ.get("CTRLOOM_IMAGE", f"ctrloom-python:{version('ctrloom')}")
RUN = {
    "name": "contained",
    "data": {"files": "clicks.csv", "columns": {"click": "label", "field_00..field_03": "categorical"}},
    "search": {"batch_size": 200, "random_draws": 1},
    "models": {"default": {"hidden": [8], "epochs": 2, "batch_size": 500}},
    "baselines": ["lr", "fm"],
    "transfer": ["ipnn"],
    "seeds": [0],
    "evaluation": {"base": "fm", "truth": "truth.json", "bootstrap": 50},
}
STEPS = ["ingest", "vocabulary", "baselines", "search-autofis", "retrain", "transfer", "evaluate"]
FIND = r"find / -xdev \( -path /proc -o -path /sys -o -path /usr/share \) -prune -o "
ONE_THREAD = "--container-option=--env=OMP_NUM_THREADS=1"  # sums over threads round differently
COMMAND = (sys.executable, "-m", "ctrloom", "run", "--runner", "container", "--image", IMAGE, ONE_THREAD)


@pytest.fixture(scope="module")
def engine():
    found = find_engine()
    image_id(found, IMAGE)
    return found


@pytest.fixture(scope="module")
def folder(engine, tmp_path_factory):
    folder = tmp_path_factory.mktemp("contained")
    folder.chmod(0o755)  # steps are another user
    synthesize(SynthConfig(rows=6_000, fields=4, sizes=(8,), pairs=1, seed=3), folder)
    (folder / "run.yaml").write_text(yaml.safe_dump(RUN))
    return folder


def inside(engine, script, *options):
    confined = ("--read-only", "--tmpfs=/tmp", "--cap-drop=all")
    command = [engine, "run", "--rm", *confined, *options, "--entrypoint=sh", IMAGE, "-c", script]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def metrics(output):
    results = Results.load(output / "metrics.json")
    return {
        (model.name, seed.seed): [(m.rows, m.auc, m.logloss) for m in (seed.valid, seed.test)]
        for model in results.models
        for seed in model.seeds
    }


@pytest.fixture(scope="module")
def run(folder):
    done = subprocess.run(
        [*COMMAND, "run.yaml", "--output", "out"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder / "out", done.stdout


def test_the_whole_pipeline_runs_in_containers(run):
    output, said = run
    assert "planted and found: 1 of 1" in said
    assert {"autofm", "ipnn-transfer", "fm", "lr"} <= {name for name, _ in metrics(output)}
    assert "<html" in (output / "report.html").read_text()
    assert (output / "bundle" / "model.safetensors").is_file()


def test_steps_ran_as_nobody(run):
    owners = {path.stat().st_uid for path in (run[0] / "steps").rglob("executor_output.json")}
    assert owners == {os.getuid() or 65532}


def test_a_killed_run_goes_on_where_it_was_with_the_same_metrics(engine, folder, run):
    output, last = folder / "killed", random.choice(STEPS[:-2])
    command = [*COMMAND, "run.yaml", "--output", str(output)]
    with subprocess.Popen(command, cwd=folder, start_new_session=True) as killed:
        while not list(output.glob(f"steps/*/{last}*/**/executor_output.json")):
            assert killed.poll() is None
            time.sleep(0.1)
        time.sleep(random.random())
        os.killpg(killed.pid, signal.SIGKILL)
    assert not (output / "metrics.json").exists(), last
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    done = [path.parent.name for path in (output / "steps").rglob("executor_output.json")]
    before = STEPS[: STEPS.index(last)]  # the killed step itself may have ended unnoticed
    assert [sum(name.startswith(step) for name in done) for step in before] == [1] * len(before), last
    assert metrics(output) == metrics(run[0]), last
    left = [engine, "ps", "--all", "--quiet", f"--filter=label={LABEL}={output}"]
    assert subprocess.run(left, capture_output=True, text=True, check=True).stdout == ""


def test_a_failing_step_fails_the_run_with_its_message(folder):
    broken = {**RUN, "data": {**RUN["data"], "columns": {"clack": "label", "field_00": "categorical"}}}
    (folder / "broken.yaml").write_text(yaml.safe_dump(broken))
    command = [*COMMAND, "broken.yaml", "--output", "broken"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "has no column 'clack'" in done.stderr


def test_the_image_runs_as_nobody_and_cannot_be_written(engine):
    done = inside(
        engine, "id -u; touch /opt/ctrloom/x 2>&1; touch /tmp/x && ctrloom --help >/dev/null && echo helped"
    )
    user, refused, helped = done.stdout.split("\n")[:3]
    assert user == "65532"
    assert "Read-only file system" in refused
    assert helped == "helped"


def test_the_image_has_no_tools_to_build_and_no_tests(engine):
    tools = "for tool in pip pip3 gcc cc make git; do command -v $tool; done; "
    found = inside(
        engine, tools + FIND + r"\( -name .git -o -path '/opt/*/tests' -o -path /build \) -print 2>/dev/null"
    )
    assert found.stdout.split() == []


def test_the_image_has_no_secret(engine):
    asked = subprocess.run([engine, "image", "inspect", IMAGE], capture_output=True, text=True, check=True)
    config = json.loads(asked.stdout)[0]["Config"]
    names = [line.partition("=")[0] for line in config["Env"]]
    secret = ("TOKEN", "SECRET", "PASSWORD", "CREDENTIAL", "API_KEY", "_PROXY", "PIP_")
    assert [name for name in names if any(word in name.upper() for word in secret)] == []
    history = subprocess.run(
        [engine, "history", "--no-trunc", "--format", "{{.CreatedBy}}", IMAGE],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert not any(word in history.stdout.upper() for word in ("TOKEN=", "PASSWORD=", "SECRET="))
    names = ["pip.conf", ".netrc", ".npmrc", ".pypirc", "id_rsa*", "*.key", "credentials*.json"]
    files = (
        FIND
        + r"\( "
        + " -o ".join(f"-name '{name}'" for name in names)
        + r" \) -size +0 -print 2>/dev/null; "
    )
    keys = "grep -rlE -e '^-----BEGIN ([A-Z]+ )?PRIVATE KEY-----$' /opt/ctrloom /etc 2>/dev/null"
    found = inside(engine, files + keys)
    assert found.stdout.split() == []


def test_the_image_says_what_it_is(engine):
    asked = subprocess.run([engine, "image", "inspect", IMAGE], capture_output=True, text=True, check=True)
    config = json.loads(asked.stdout)[0]["Config"]
    assert config["User"] == "65532:65532"
    assert config["Entrypoint"] == ["ctrloom"]
    assert config["Labels"]["org.opencontainers.image.version"].startswith(version("ctrloom"))
