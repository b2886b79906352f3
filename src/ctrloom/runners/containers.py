"""Run every step in a container of its own, with podman or docker, through KFP's local runner.

KFP's own DockerRunner takes a failed step for a success where a container is gone before it is asked for its
exit status, which under podman is always. Here the engine's program is called, and its exit status counts.
"""

import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ENGINES = ("podman", "docker")
LABEL = "ctrloom.run"
NOBODY = 65532  # the images' user; root's runs use it too
# Nothing but /tmp and the mounts can be written, and nothing more can be gained than what a step starts with.
CONFINED = ("--read-only", "--tmpfs=/tmp", "--cap-drop=all", "--security-opt=no-new-privileges")


class EngineError(ValueError):
    """No container can be started; the message says what is missing and the way out."""


@dataclass(frozen=True)
class Request:
    """What a user says of the containers: their image, and more options of `podman run` or `docker run`."""

    image: str
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Containers:
    """What the containers of one run have in common."""

    engine: str
    image: str  # its id: a tag may move while steps run
    run: str  # names the run directory; containers that an earlier, killed run left carry it too
    readable: tuple[Path, ...]
    writable: tuple[Path, ...]
    options: tuple[str, ...]

    @classmethod
    def prepare(
        cls, request: Request, run: Path, inputs: Sequence[Path], writable: Sequence[Path]
    ) -> "Containers":
        """Find engine and image, and end what a killed run left.

        Raises:
            EngineError: there is no engine, it does not answer, or it does not have the image.
        """
        engine = find_engine()
        image = image_id(engine, request.image)
        readable = sorted({folder for path in inputs for folder in (path.parent, path.resolve().parent)})
        prepared = cls(engine, image, str(run), tuple(readable), tuple(writable), request.options)
        prepared._end_orphans()
        return prepared

    def let_write(self) -> None:
        """Give the folders that steps write to their user, which is nobody where root runs them."""
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
        variables = [f"--env={key}={value}" for key, value in environment.items()]
        start = [self.engine, "run", f"--name={name}", f"--label={LABEL}={self.run}", *CONFINED]
        entry, *arguments = step
        options = [*user, *mounts, *variables, *self.options, f"--entrypoint={entry}"]
        return [*start, *options, self.image, *arguments]

    def _end_orphans(self) -> None:
        listed = _ask(self.engine, "ps", "--all", "--quiet", f"--filter=label={LABEL}={self.run}")
        if listed.stdout.split():
            _ask(self.engine, "rm", "--force", *listed.stdout.split())


@contextmanager
def steps_in(containers: Containers) -> Iterator[None]:
    """Let KFP's subprocess runner, its only one besides DockerRunner, start containers."""
    from kfp.local import status, subprocess_task_handler

    class Task:
        """One step, as KFP's runner hands it over."""

        def __init__(self, full_command: list[str], env_vars: dict[str, str] | None, **_: Any) -> None:
            self.step, self.environment = full_command, env_vars or {}

        def run(self) -> status.Status:
            """Run it to its end; anything but exit status 0 is a failure."""
            name = f"ctrloom-{uuid.uuid4().hex[:12]}"
            command = containers.command(name, self.step, self.environment)
            try:
                code = subprocess_task_handler.run_local_subprocess(command)
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
    """Path of podman or docker, or of what CTRLOOM_ENGINE names.

    Raises:
        EngineError: there is none.
    """
    named = os.environ.get("CTRLOOM_ENGINE")
    for name in [named] if named else ENGINES:
        if program := shutil.which(name):
            return program
    wanted = f"{named}, which CTRLOOM_ENGINE names, is" if named else "podman and docker are"
    raise EngineError(f"{wanted} not on the PATH: install one, or run without --runner container")


def image_id(engine: str, image: str) -> str:
    """The id behind an image's name.

    Raises:
        EngineError: the engine does not answer, or does not have the image.
    """
    asked = _ask(engine, "image", "inspect", "--format={{.Id}}", image)
    if asked.returncode == 0:
        return asked.stdout.strip()
    said = asked.stderr.strip().splitlines()[-1] if asked.stderr.strip() else "it says nothing"
    if _ask(engine, "info").returncode:
        raise EngineError(f"{engine} does not work: {said}; CTRLOOM_ENGINE names another engine")
    raise EngineError(f"no image {image}: build it with `make image-cpu`, or name another with --image")


def _ask(engine: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([engine, *arguments], capture_output=True, text=True, check=False)
