"""Steps in containers, with a fake engine that runs them as processes; real ones are in tests/containers."""

import os
import sys
from pathlib import Path

import pytest

from ctrloom.runners.containers import (
    ContainerOptions,
    Containers,
    EngineError,
    find_engine,
    image_id,
    steps_in,
)

ENGINE = """#!/bin/sh
printf '%s\\n' "$*" >> "$0.log"
case "$1" in
image) if [ "$4" = here:1 ]; then echo sha256:abc; else echo "Error: $4: no such image" >&2; exit 1; fi;;
info) [ ! -e "$0.off" ];;
ps) if [ -e "$0.left" ]; then echo 0123; fi;;
run)
  while [ "$1" != sha256:abc ]; do case "$1" in --entrypoint=*) entry=${1#--entrypoint=};; esac; shift; done
  shift
  exec "$entry" "$@";;
esac
"""


@pytest.fixture
def engine(tmp_path, monkeypatch):
    program = tmp_path / "bin" / "podman"
    program.parent.mkdir()
    program.write_text(ENGINE)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.delenv("CTRLOOM_ENGINE", raising=False)
    return program


def calls(engine, verb):
    log = Path(f"{engine}.log")
    lines = log.read_text().splitlines() if log.exists() else []
    return [line for line in lines if line.split(" ")[0] == verb]


def prepared(tmp_path, inputs=()):
    return Containers.prepare(
        ContainerOptions("here:1"), tmp_path / "out", inputs, [tmp_path / "out" / "steps"], {"KEPT": "there"}
    )


def test_exit_status_decides_whether_a_step_failed(engine, tmp_path):
    from kfp.local import status, subprocess_task_handler

    stock = subprocess_task_handler.SubprocessTaskHandler
    with steps_in(prepared(tmp_path)):
        task = subprocess_task_handler.SubprocessTaskHandler
        good, bad = (task(full_command=["sh", "-c", f"exit {code}"], env_vars={}) for code in (0, 7))
        assert good.run() == status.Status.SUCCESS
        assert bad.run() == status.Status.FAILURE
    assert subprocess_task_handler.SubprocessTaskHandler is stock
    for line in calls(engine, "run"):  # a step ends with its command, whose pipe is the container's input
        assert line.startswith("run --interactive --rm ")
        assert " --env=CTRLOOM_PARENT_PIPE=0 " in line
    started = [line.split("--name=")[1].split(" ")[0] for line in calls(engine, "run")]
    assert [line.split(" ")[-1] for line in calls(engine, "rm")] == started


def test_signals_of_the_terminal_reach_only_the_command(engine, tmp_path, capfd):
    """Which tells the engine, unless it ignores them."""
    from kfp.local import subprocess_task_handler

    with steps_in(prepared(tmp_path)):
        script = "import os; print('group', os.getpgrp())"
        subprocess_task_handler.SubprocessTaskHandler([sys.executable, "-c", script], {}).run()
    group = capfd.readouterr().out.split("group ")[1].strip()
    assert int(group) != os.getpgrp()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize("code", [0, 7])
def test_a_failing_step_fails_a_pipeline(engine, tmp_path, code):
    from kfp import dsl, local

    @dsl.component(base_image="here:1", packages_to_install=[], install_kfp_package=False)
    def leave(code: int):
        import sys

        sys.exit(code)

    @dsl.pipeline(name="leaving")
    def leaving(code: int):
        leave(code=code)

    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(tmp_path / "out" / "steps"))
    with steps_in(prepared(tmp_path)):
        if code:
            with pytest.raises(RuntimeError, match="FAILURE"):
                leaving(code=code)
        else:
            leaving(code=code)


def test_step_can_write_only_to_its_mounts(engine, tmp_path):
    data = tmp_path / "data" / "clicks.csv"
    data.parent.mkdir()
    data.touch()
    command = prepared(tmp_path, [data]).command("one", ["sh", "-c", "true"], {"A": "b"})
    mounts = [each for each in command if each.startswith("--mount=")]
    steps = tmp_path / "out" / "steps"
    assert mounts == [
        f"--mount=type=bind,src={data.parent},dst={data.parent},readonly",
        f"--mount=type=bind,src={steps},dst={steps}",
    ]
    assert {"--read-only", "--cap-drop=all", "--security-opt=no-new-privileges", "--env=A=b"} <= set(command)
    assert "--env=KEPT=there" in command, "what the run sets for all steps"
    user = next(each for each in command if each.startswith("--user="))
    assert not user.startswith("--user=0")
    assert command[-4:] == ["--entrypoint=sh", "sha256:abc", "-c", "true"]


def test_containers_of_a_killed_run_are_removed(engine, tmp_path):
    prepared(tmp_path)
    assert calls(engine, "rm") == []
    Path(f"{engine}.left").touch()
    prepared(tmp_path)
    assert calls(engine, "ps")[-1].endswith(f"--filter=label=ctrloom.run={tmp_path / 'out'}")
    assert calls(engine, "rm") == ["rm --force 0123"]


def test_missing_image_error_suggests_a_fix(engine):
    with pytest.raises(EngineError, match="no image there:2: build it with `make image-cpu`"):
        image_id(str(engine), "there:2")


def test_broken_engine_and_missing_image_have_different_errors(engine):
    Path(f"{engine}.off").touch()
    with pytest.raises(EngineError, match=r"podman does not work: .*CTRLOOM_ENGINE"):
        image_id(str(engine), "there:2")


def test_missing_engine_is_reported(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CTRLOOM_ENGINE", raising=False)
    with pytest.raises(EngineError, match="podman and docker are not on the PATH"):
        find_engine()
    monkeypatch.setenv("CTRLOOM_ENGINE", "nerdctl")
    with pytest.raises(EngineError, match="nerdctl \\(from CTRLOOM_ENGINE\\) is not on the PATH"):
        find_engine()
