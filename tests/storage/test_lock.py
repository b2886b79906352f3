"""One writer at a time: its process is named, a dead one is no obstacle, and another host's is explained."""

import errno
import fcntl
import json
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ctrloom.storage import LockedError, StorageError, lock, locked, locked_output, turn

HOLDS = """
import sys, time
from pathlib import Path
from ctrloom import storage
with getattr(storage, sys.argv[1])(Path(sys.argv[2])):
    print("held", flush=True)
    time.sleep(60)
"""


@contextmanager
def holder(place: Path, how: str = "locked") -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock."""
    command = [sys.executable, "-c", HOLDS, how, str(place)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_nested_lock_may_have_another_spelling(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "link").symlink_to("run")
    with locked(tmp_path / "run"), locked(tmp_path / "link"):
        pass
    assert os.listdir(tmp_path / "run") == []


@pytest.mark.parametrize("name", ["run", "link", "x/../run"])
def test_the_second_writer_learns_who_the_first_is(tmp_path: Path, name: str) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "link").symlink_to("run")
    with holder(tmp_path / "run") as process:
        (tmp_path / "run" / "metrics.json").write_text("1")
        with pytest.raises(LockedError) as caught, locked(tmp_path / name):
            pass
        said = str(caught.value)
        assert f"process {process.pid} on host {platform.node()} has been writing here since 20" in said
        assert said.endswith("wait until it ends, stop it, or write to another place")
        assert (tmp_path / "run" / "metrics.json").read_text() == "1"  # readers need no lock
        process.kill()
        process.wait()
        with locked(tmp_path / name):
            pass
    assert sorted(os.listdir(tmp_path / "run")) == ["metrics.json"]


@pytest.mark.parametrize("how", [locked, locked_output])
def test_a_lock_is_released_on_errors_and_leaves_nothing(tmp_path: Path, how: object) -> None:
    assert callable(how)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), how(tmp_path / "new" / "run"), how(tmp_path / "new" / "run"):
            1 / 0  # noqa: B018
    assert not (tmp_path / "new" / "run").exists()
    assert [*tmp_path.rglob("*lock*")] == []


def test_another_thread_of_the_process_is_another_writer(tmp_path: Path) -> None:
    found: list[str] = []

    def other() -> None:
        try:
            with locked(tmp_path):
                found.append("both write")
        except LockedError as error:
            found.append(str(error))

    with locked(tmp_path):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert f"process {os.getpid()} " in found[0]


def test_a_replaced_output_has_its_lock_next_to_it(tmp_path: Path) -> None:
    with holder(tmp_path / "scores.csv", "locked_output"):
        (tmp_path / "link.csv").symlink_to("scores.csv")
        with pytest.raises(LockedError), locked_output(tmp_path / "link.csv"):
            pass
        with locked_output(tmp_path / "other.csv"), locked_output(Path("/dev/null")):
            pass
    with locked_output(tmp_path / "scores.csv"):
        pass
    assert os.listdir(tmp_path) == ["link.csv"]


def left(host: str, boot: str, pid: int = 7) -> str:
    return json.dumps({"pid": pid, "host": host, "since": "2026-01-01 00:00:00 UTC", "boot": boot})


@pytest.mark.parametrize(
    ("host", "boot", "free"),
    [
        (platform.node(), "another boot", True),  # the machine was started again
        ("a container", "this boot", True),  # its lock would be seen
        ("another host", "another boot", False),
    ],
)
def test_what_a_dead_or_distant_process_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str, boot: str, free: bool
) -> None:
    monkeypatch.setattr(lock, "_boot", lambda: "this boot")
    file = tmp_path / ".lock"
    file.write_text(left(host, boot))
    if free:
        with locked(tmp_path):
            assert json.loads(file.read_text())["pid"] == os.getpid()
        assert not file.exists()
        return
    with (
        pytest.raises(LockedError, match=f"process 7 on host another host .* delete {file}"),
        locked(tmp_path),
    ):
        pass
    assert file.read_text() == left(host, boot)
    file.unlink()
    with locked(tmp_path):
        pass


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"pid": 1}'])
def test_a_torn_lock_file_is_no_obstacle(tmp_path: Path, text: str) -> None:
    (tmp_path / ".lock").write_text(text)
    with locked(tmp_path):
        pass


@pytest.mark.parametrize("alive", [True, False])
def test_without_locks_of_the_file_system_the_process_is_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alive: bool
) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refused)
    monkeypatch.setattr(lock, "_boot", lambda: "this boot")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        if not alive:
            other.kill()
            other.wait()
        (tmp_path / ".lock").write_text(left(platform.node(), "this boot", other.pid))
        if alive:
            with pytest.raises(LockedError, match=f"process {other.pid} "), locked(tmp_path):
                pass
        else:
            with locked(tmp_path):
                pass
        other.kill()


def test_an_unwritable_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="file/run: cannot be written: Not a directory"):
        with locked(tmp_path / "file" / "run"):
            pass


def test_processes_of_torchrun_are_one_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with holder(tmp_path):
        monkeypatch.setenv("RANK", "1")
        with locked(tmp_path):
            pass


def test_content_that_is_the_same_for_all_is_waited_for(tmp_path: Path) -> None:
    said: list[str] = []
    with holder(tmp_path / "set", "turn") as process:
        threading.Timer(0.5, process.kill).start()
        began = time.monotonic()
        with turn(tmp_path / "set", said.append):
            assert time.monotonic() - began > 0.3
    assert said == [
        f"{tmp_path}/set: waiting for process {process.pid} on host {platform.node()}, which is writing it"
    ]
    (tmp_path / ".set.lock").write_text(left("another host", "another boot"))
    with turn(tmp_path / "set"):
        pass
    assert os.listdir(tmp_path) == []


def test_many_writers_take_turns(tmp_path: Path) -> None:
    """Taken, released and deleted by many at once, a lock never has two owners."""
    code = """
import os, sys
from pathlib import Path
from ctrloom.storage import turn
place = Path(sys.argv[1])
for _ in range(200):
    with turn(place / "set"):
        os.mkdir(place / "alone")
        os.rmdir(place / "alone")
"""
    processes = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert os.listdir(tmp_path) == []
