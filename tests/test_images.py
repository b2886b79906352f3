"""Checks of the Dockerfiles, without building them; tests/containers checks the images."""

import difflib
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EVERY = {path.suffix[1:]: path.read_text() for path in (ROOT / "docker").glob("Dockerfile.*")}
DOCKERFILES = {kind: text for kind, text in EVERY.items() if kind in ("cpu", "gpu")}
STAGED = {kind: text for kind, text in EVERY.items() if kind != "spark"}


def test_cpu_and_gpu_dockerfiles_differ_only_for_the_gpu():
    assert set(DOCKERFILES) == {"cpu", "gpu"}
    cpu, gpu = (DOCKERFILES[kind].splitlines() for kind in ("cpu", "gpu"))
    changed = [line[2:] for line in difflib.ndiff(cpu, gpu) if line[0] in "+-"]
    assert all(re.search(r"CPU|GPU|NVIDIA|CUDA|TORCH_INDEX|PYTHONUNBUFFERED", line) for line in changed)


@pytest.mark.parametrize("text", STAGED.values(), ids=STAGED.keys())
def test_image_is_staged_pinned_and_not_root(text):
    *build, last = re.split(r"^FROM ", text, flags=re.M)
    assert [stage.split("\n")[0] for stage in build[1:]] == [
        "${BUILD_BASE} AS dependencies",
        "dependencies AS package",
    ]
    assert last.startswith("${BASE}\n")
    assert not re.search(r"\bpip\b", last)
    assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", last, re.M)
    assert last.rstrip().endswith('ENTRYPOINT ["ctrloom"]')
    assert "PIP_CONSTRAINT=/build/constraints.txt" in text
    assert re.search(r"^ARG BASE=\S+:\S+$", text, re.M)


@pytest.mark.parametrize("text", DOCKERFILES.values(), ids=DOCKERFILES.keys())
def test_image_has_the_extras_that_steps_use(text):
    assert 'if name not in ("dev", "fuzz", "spark")' in text


def test_the_image_of_the_server_has_only_what_serving_needs():
    text = EVERY["serve"]
    extras = re.search(r"for name in \((.+)\) for each", text)[1]
    assert extras == '"serve", "gcs", "s3"'
    assert "TORCH_INDEX=https://download.pytorch.org/whl/cpu" in text
    build, last = text.rsplit("FROM ", 1)
    assert "check_serving.py" in build
    assert "RUN" not in last  # the base has no shell


@pytest.mark.parametrize("text", EVERY.values(), ids=EVERY.keys())
def test_an_image_has_no_secrets(text):
    assert not re.search(r"^ADD |https?://\S+@|(TOKEN|PASSWORD|SECRET)=", text, re.M)


def copied(text):
    lines = re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.M)
    return {name for line in lines for name in line.split()}


def test_only_the_package_is_copied_into_an_image():
    ignore = (ROOT / ".dockerignore").read_text().splitlines()
    assert next(line for line in ignore if line and line[0] not in "#!") == "*"
    let_in = {line[1:] for line in ignore if line.startswith("!")}
    steps = let_in - {"docker/spark.sh", "docker/check_serving.py"}
    assert copied(EVERY["cpu"]) == copied(EVERY["gpu"]) == steps
    assert copied(EVERY["serve"]) == {*steps, "docker/check_serving.py"}
    assert copied(EVERY["spark"]) == {"constraints.txt", "docker/spark.sh", "src/ctrloom/__main__.py"}


def test_spark_image_adds_spark_and_java_to_the_cpu_image():
    build, last = re.split(r"^FROM ", EVERY["spark"], flags=re.M)[1:]
    assert build.startswith("${BUILD_BASE} AS dependencies\n")
    assert last.startswith("${IMAGE}\n")
    assert "PIP_CONSTRAINT=/build/constraints.txt" in build
    assert not re.search(r"\bpip\b", last)
    assert re.findall(r"^USER (.+)$", last, re.M)[-1] == "65532:65532"
    user = re.search(r"echo '(.+)' >> /etc/passwd", last)[1].split(":")
    assert user[2:4] == ["65532", "65532"]
    assert (ROOT / "docker" / "spark.sh").stat().st_mode & 0o111


def stand_in(folder, name):
    """A program that prints its arguments."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(f'#!/bin/sh\nfor each in {name} "$@"; do printf "%s\\n" "$each"; done\n')
    (folder / name).chmod(0o755)


def test_spark_starts_drivers_and_executors_in_its_image(tmp_path):
    stand_in(tmp_path / "spark" / "bin", "spark-submit")
    for name in ("java", "ctrloom"):
        stand_in(tmp_path / "bin", name)
    given = {
        "PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin",
        "TMPDIR": str(tmp_path),
        "SPARK_HOME": str(tmp_path / "spark"),
        "SPARK_DRIVER_BIND_ADDRESS": "10.0.0.1",
        "SPARK_DRIVER_URL": "spark://CoarseGrainedScheduler@driver:7078",
        "SPARK_EXECUTOR_ID": "3",
        "SPARK_EXECUTOR_CORES": "4",
        "SPARK_EXECUTOR_MEMORY": "8g",
        "SPARK_EXECUTOR_POD_IP": "10.0.0.2",
        "SPARK_EXECUTOR_POD_NAME": "encode-exec-3",
        "SPARK_APPLICATION_ID": "spark-1",
        "SPARK_RESOURCE_PROFILE_ID": "0",
        "SPARK_JAVA_OPT_0": "-Dspark.driver.port=7078",
        "SPARK_JAVA_OPT_1": '-Dsaid=two words and a "quote"',
    }

    def said(*arguments):
        command = ["sh", str(ROOT / "docker" / "spark.sh"), *arguments]
        return subprocess.run(
            command, env=given, capture_output=True, text=True, check=True
        ).stdout.splitlines()

    driver = said("driver", "--properties-file", "p", "--class", "c", "local:///opt/spark/main.py", "a b")
    assert driver[:3] == ["spark-submit", "--deploy-mode", "client"]
    assert "spark.driver.bindAddress=10.0.0.1" in driver
    assert driver[-6:] == ["--properties-file", "p", "--class", "c", "local:///opt/spark/main.py", "a b"]
    java, options, *rest = said("executor")
    assert (java, rest[:2]) == ("java", ["-Xms8g", "-Xmx8g"])
    lines = Path(options.removeprefix("@")).read_text().splitlines()
    assert lines == ['"-Dspark.driver.port=7078"', r'"-Dsaid=two words and a \"quote\""']
    pairs = dict(zip(rest[-14::2], rest[-13::2], strict=True))
    assert pairs["--executor-id"] == "3"
    assert pairs["--driver-url"] == "spark://CoarseGrainedScheduler@driver:7078"
    assert pairs["--podName"] == "encode-exec-3"
    assert said("vocabulary", "run.yaml") == ["ctrloom", "vocabulary", "run.yaml"]
