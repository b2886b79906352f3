"""Run every step in a container of its own, with podman or docker, through KFP's local runner.

KFP's own DockerRunner reports a failed step as successful if its container is removed before the exit status
is read, which always happens under podman. This module calls the engine's CLI and uses its exit status.
"""

import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ctrloom.config.errors import UserError
from ctrloom.config.url_secrets import REMEMBERED
from ctrloom.interruption import PARENT
from ctrloom.runners.step_process import run_step

ENGINES = ("podman", "docker")
LABEL = "ctrloom.run"
NOBODY = 65532  # the images' user, also when root starts the run
# Only /tmp and the mounts are writable, and a step cannot gain privileges.
CONFINED = ("--read-only", "--tmpfs=/tmp", "--cap-drop=all", "--security-opt=no-new-privileges")


class EngineError(UserError):
    """No container can be started; the message says what is missing and how to fix it."""


@dataclass(frozen=True)
class ContainerOptions:
    """User settings for containers: the image, and extra options of `podman run` or `docker run`."""

    image: str
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Containers:
    """Settings shared by the containers of one run."""

    engine: str
    image: str  # its id: a tag may move while steps run
    run: str  # the run directory, a label that also finds containers of a killed run
    readable: tuple[Path, ...]
    writable: tuple[Path, ...]
    options: tuple[str, ...]
    variables: Mapping[str, str]

    @classmethod
    def prepare(
        cls,
        request: ContainerOptions,
        run: Path,
        inputs: Sequence[Path],
        writable: Sequence[Path],
        variables: Mapping[str, str],
    ) -> "Containers":
        """Find engine and image, and remove containers of a killed run.

        Raises:
            EngineError: there is no engine, it does not answer, or it does not have the image.
        """
        engine = find_engine()
        image = image_id(engine, request.image)
        readable = sorted({folder for path in inputs for folder in (path.parent, path.resolve().parent)})
        prepared = cls(engine, image, str(run), tuple(readable), tuple(writable), request.options, variables)
        prepared._end_orphans()
        return prepared

    def let_write(self) -> None:
        """Give writable folders to the user of the steps, which is nobody if root starts them."""
        for folder in self.writable:
            folder.mkdir(parents=True, exist_ok=True)
            for place in (folder, *folder.rglob("*")) if os.getuid() == 0 else ():
                os.chown(place, NOBODY, NOBODY, follow_symlinks=False)

    def command(self, name: str, step: Sequence[str], environment: dict[str, str]) -> list[str]:
        """The engine's command line that runs one step."""
        user = [f"--user={os.getuid() or NOBODY}:{os.getgid() or NOBODY}"]
        if Path(self.engine).name == "podman" and os.getuid():
            user.append("--userns=keep-id")
        mounts = [f"--mount=type=bind,src={each},dst={each},readonly" for each in self.readable]
        mounts += [f"--mount=type=bind,src={each},dst={each}" for each in self.writable]
        known = {
            **self.variables,
            **environment,
            PARENT: "0",
        }  # with --interactive, the engine's input is the step's
        variables = [f"--env={key}={value}" for key, value in known.items()]
        variables.append(f"--env={REMEMBERED}")  # with the value of this process, which `ps` does not show
        start = [
            self.engine,
            "run",
            "--interactive",
            "--rm",  # also if this process is killed
            f"--name={name}",
            f"--label={LABEL}={self.run}",
            *CONFINED,
        ]
        entry, *arguments = step
        options = [*user, *mounts, *variables, *self.options, f"--entrypoint={entry}"]
        return [*start, *options, self.image, *arguments]

    def _end_orphans(self) -> None:
        listed = _ask(self.engine, "ps", "--all", "--quiet", f"--filter=label={LABEL}={self.run}")
        if listed.stdout.split():
            _ask(self.engine, "rm", "--force", *listed.stdout.split())


@contextmanager
def steps_in(containers: Containers) -> Iterator[None]:
    """Make KFP's subprocess runner start containers."""
    from kfp.local import status, subprocess_task_handler

    class Task:
        """One step, as KFP's runner passes it."""

        def __init__(self, full_command: list[str], env_vars: dict[str, str] | None, **_: Any) -> None:
            self.step, self.environment = full_command, env_vars or {}

        def run(self) -> status.Status:
            """Run the step; any exit status other than 0 is a failure."""
            name = f"ctrloom-{uuid.uuid4().hex[:12]}"
            command = containers.command(name, self.step, self.environment)
            try:
                code = run_step(command, kill=lambda: _ask(containers.engine, "kill", name))
            finally:
                _ask(containers.engine, "rm", "--force", name)
            return status.Status.SUCCESS if code == 0 else status.Status.FAILURE

    stock = subprocess_task_handler.SubprocessTaskHandler
    subprocess_task_handler.SubprocessTaskHandler = Task
    try:
        yield
    finally:
        subprocess_task_handler.SubprocessTaskHandler = stock


def find_engine() -> str:
    """Path of podman or docker, or of the engine in CTRLOOM_ENGINE.

    Raises:
        EngineError: there is none.
    """
    named = os.environ.get("CTRLOOM_ENGINE")
    for name in [named] if named else ENGINES:
        if program := shutil.which(name):
            return program
    wanted = f"{named} (from CTRLOOM_ENGINE) is" if named else "podman and docker are"
    raise EngineError(f"{wanted} not on the PATH: install one, or run without --runner container")


def image_id(engine: str, image: str) -> str:
    """The id behind an image's name.

    Raises:
        EngineError: the engine does not answer, or does not have the image.
    """
    asked = _ask(engine, "image", "inspect", "--format={{.Id}}", image)
    if asked.returncode == 0:
        return asked.stdout.strip()
    said = asked.stderr.strip().splitlines()[-1] if asked.stderr.strip() else "no error message"
    if _ask(engine, "info").returncode:
        raise EngineError(f"{engine} does not work: {said}; set CTRLOOM_ENGINE to use another engine")
    raise EngineError(f"no image {image}: build it with `make image-cpu`, or name another with --image")


def _ask(engine: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([engine, *arguments], capture_output=True, text=True, check=False)
