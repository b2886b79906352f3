"""What Dockerfiles say, without building them; tests/containers looks into what is built."""

import difflib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCKERFILES = {path.suffix[1:]: path.read_text() for path in (ROOT / "docker").glob("Dockerfile.*")}


def test_there_are_two_and_they_differ_in_what_a_gpu_needs():
    assert set(DOCKERFILES) == {"cpu", "gpu"}
    cpu, gpu = (DOCKERFILES[kind].splitlines() for kind in ("cpu", "gpu"))
    changed = [line[2:] for line in difflib.ndiff(cpu, gpu) if line[0] in "+-"]
    assert all(re.search(r"CPU|GPU|NVIDIA|CUDA|TORCH_INDEX|PYTHONUNBUFFERED", line) for line in changed)


@pytest.mark.parametrize("text", DOCKERFILES.values(), ids=DOCKERFILES.keys())
def test_an_image_is_of_stages_pinned_and_run_by_nobody(text):
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
def test_nothing_but_the_package_gets_into_an_image(text):
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.M)
    names = {name for line in copied for name in line.split()}
    ignore = (ROOT / ".dockerignore").read_text().splitlines()
    assert next(line for line in ignore if line and line[0] not in "#!") == "*"
    assert names == {line[1:] for line in ignore if line.startswith("!")}
    assert not re.search(r"^ADD |https?://\S+@|(TOKEN|PASSWORD|SECRET)=", text, re.M)
