"""The pipeline with every step in a container, and the contents of the image; `make test-containers`."""

import json
import os
import random
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from contained_run import COMMAND, IMAGE, containers_of
from image_search import find, find_secrets
from interrupted_run import RUN, figures, kill, prepare, times_done

from ctrloom import storage
from ctrloom.runners.containers import find_engine, image_id

pytestmark = pytest.mark.containers
TRAINED = ["deterministic-baselines", "baselines", "search-autofis", "retrain", "transfer"]
STEPS = ["ingest", "vocabulary", *TRAINED, "bundle", "evaluate"]
SERVER = Path(__file__).parents[1] / "storage" / "gcs_server.py"


@pytest.fixture(scope="module")
def engine():
    found = find_engine()
    image_id(found, IMAGE)
    return found


@pytest.fixture(scope="module")
def folder(engine, tmp_path_factory):
    folder = tmp_path_factory.mktemp("contained")
    folder.chmod(0o755)  # steps run as another user
    prepare(folder)
    return folder


@pytest.fixture
def bucket(monkeypatch):
    """URL of a bucket on a local server, which the environment configures."""
    command = [sys.executable, str(SERVER), "loom"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{server.stdout.readline().strip()}")
        yield "gs://loom"
        server.terminate()


def inside(engine, script, *options):
    confined = ("--read-only", "--tmpfs=/tmp", "--cap-drop=all")
    command = [engine, "run", "--rm", *confined, *options, "--entrypoint=sh", IMAGE, "-c", script]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def run(folder):
    done = subprocess.run(
        [*COMMAND, "--output", "out"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder / "out", done.stdout


def test_the_whole_pipeline_runs_in_containers(run):
    output, said = run
    assert "planted and found: 1 of 1" in said
    assert {"autofm", "ipnn-transfer", "fm", "lr"} <= {model["name"] for model in figures(output)}
    assert "<html" in (output / "report.html").read_text()
    assert (output / "bundle" / "model.safetensors").is_file()


def test_steps_run_as_nobody(run):
    owners = {path.stat().st_uid for path in (run[0] / "steps").rglob("executor_output.json")}
    assert owners == {os.getuid() or 65532}


def test_killed_run_with_a_store_resumes_with_the_same_metrics(engine, folder, run, bucket):
    output, last = folder / "killed", random.choice(STEPS[:-2])
    reach = ("--container-option=--network=host", "--container-option=--env=STORAGE_EMULATOR_HOST")
    command = [*COMMAND, *reach, "--output", str(output), "--store", f"{bucket}/data"]
    ended = kill(command, folder, output, after=last)
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    times = times_done(output)
    assert [times[each] for each in ended] == [1] * len(ended), last
    assert figures(output) == figures(run[0]), last
    assert not list(output.rglob("part-*")), "rows are only in the store"
    kept = storage.place(bucket) / "data"
    assert [name.split("-")[0] for name in storage.folders(kept)] == ["encoded", "ingested", "runs"]
    storage.download(kept / "runs" / "killed", folder / "back")
    assert figures(folder / "back") == figures(output)
    assert (folder / "back" / "report.html").read_text() == (output / "report.html").read_text()
    assert containers_of(engine, output, "--all") == []


def test_a_failing_step_fails_the_run_with_its_message(folder):
    header, *rows = (folder / "clicks.csv").read_text().splitlines()
    (folder / "labels.csv").write_text("\n".join([header, *(f"maybe{row[1:]}" for row in rows)]))
    broken = {**RUN, "data": {**RUN["data"], "files": "labels.csv"}}
    (folder / "broken.yaml").write_text(yaml.safe_dump(broken))
    command = ["broken.yaml" if word == "run.yaml" else word for word in COMMAND] + ["--output", "broken"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    (said,) = (line for line in done.stderr.splitlines() if line.startswith("ctrloom: "))
    assert said.startswith("ctrloom: step ingest: ")
    assert "rows are malformed" in said
    assert "labels.csv, line 2: click is not a label (0 or 1; see `positive`): 'maybe'" in said


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
        engine, tools + find(r"\( -name .git -o -path '/opt/*/tests' -o -path /build \) -print 2>/dev/null")
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
    found = inside(engine, find_secrets(), "--user=0", "--cap-add=dac_read_search")  # which reads every file
    assert (found.stdout, found.stderr) == ("", "")


def test_image_labels_user_and_entrypoint(engine):
    asked = subprocess.run([engine, "image", "inspect", IMAGE], capture_output=True, text=True, check=True)
    config = json.loads(asked.stdout)[0]["Config"]
    assert config["User"] == "65532:65532"
    assert config["Entrypoint"] == ["ctrloom"]
    assert config["Labels"]["org.opencontainers.image.version"].startswith(version("ctrloom"))
