import errno
import fcntl
import hashlib
import json
import os
import platform
import resource
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from ctrloom import storage
from ctrloom.models.bundle import save_weights
from ctrloom.storage import StorageError, atomic_directory, atomic_file, read_json, write_json, write_text

NO_SPACE = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def fill_file(path: Path, text: str, error: BaseException | None = None) -> None:
    with atomic_file(path) as temporary:
        temporary.write_text(text)
        assert temporary.parent == path.parent
        if error:
            raise error


def fill_directory(path: Path, text: str, error: BaseException | None = None) -> None:
    with atomic_directory(path, "*/file") as temporary:
        (temporary / "inner").mkdir()
        (temporary / "inner" / "file").write_text(text)
        if error:
            raise error


@pytest.fixture(params=[fill_file, fill_directory])
def fill(request: pytest.FixtureRequest) -> Callable[..., None]:
    return request.param


def test_new_content_replaces_the_old(fill: Callable[..., None], tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "target"
    fill(path, "old")
    fill(path, "new")
    assert list(contents(tmp_path).values()) == [b"new"]


def test_the_target_does_not_exist_before_it_is_complete(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "file") as temporary:
        temporary.write_text("x")
        assert not (tmp_path / "file").exists()
    with atomic_directory(tmp_path / "folder") as temporary:
        (temporary / "a").write_text("x")
        assert not (tmp_path / "folder").exists()
    assert sorted(contents(tmp_path)) == ["file", "folder/a"]


@pytest.mark.parametrize("name", ["thesis.txt", "inner", ".git"])
def test_a_folder_of_another_kind_is_never_replaced(tmp_path: Path, name: str) -> None:
    fill_directory(tmp_path / "work", "own")
    (tmp_path / "work" / name).mkdir(exist_ok=True)
    if name == "inner":
        (tmp_path / "work" / name / "file").unlink()
    before = contents(tmp_path)
    for check in (fill_directory, lambda path, _: storage.require_own(path, "*/file")):
        with pytest.raises(
            StorageError, match=f"{tmp_path / 'work'}: exists and has '{name}', .* choose another folder"
        ):
            check(tmp_path / "work", "new")
    assert contents(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == ["work"]


@pytest.mark.parametrize(
    ("mask", "file", "folder"), [(0o022, 0o644, 0o755), (0o077, 0o600, 0o700), (0, 0o666, 0o777)]
)
def test_permissions_follow_the_umask(tmp_path: Path, mask: int, file: int, folder: int) -> None:
    before = os.umask(mask)
    try:
        with atomic_directory(tmp_path / "all") as temporary:
            save_weights(nn.Linear(2, 2), temporary / "weights")
            write_json(temporary / "json", {})
            write_text(temporary / "deep" / "text", "")
            storage.upload(temporary / "deep", temporary / "copied")
    finally:
        os.umask(before)
    found = {path: path.stat().st_mode & 0o777 for path in [tmp_path / "all", *(tmp_path / "all").rglob("*")]}
    assert found == {path: folder if path.is_dir() else file for path in found}


HOLDER = """
import sys, time
from pathlib import Path
from ctrloom.storage import scratch_directory
with scratch_directory("rows", Path(sys.argv[1])) as temporary:
    (temporary / "much").write_text("x")
    print("there", flush=True)
    time.sleep(60)
"""


def test_leftovers_of_killed_processes_are_removed_but_not_directories_in_use(tmp_path: Path) -> None:
    def start() -> subprocess.Popen[str]:
        held = subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path], stdout=subprocess.PIPE, text=True)
        assert held.stdout
        assert held.stdout.readline() == "there\n"
        return held

    with start() as killed, start() as alive:
        (tmp_path / ".rows.another-machine-1.tmp").mkdir()
        assert len(list(tmp_path.iterdir())) == 3
        killed.kill()
        killed.wait()
        with storage.scratch_directory("rows", tmp_path):
            assert len(list(tmp_path.iterdir())) == 3  # that of `alive`, this one, and the other machine's
        assert len(list(tmp_path.glob("*/much"))) == 1
        alive.kill()
    with storage.scratch_directory("rows", tmp_path):
        assert list(tmp_path.glob("*/much")) == []


def test_without_locks_nothing_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    left = tmp_path / f".rows.{platform.node()}-1.tmp"
    left.mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", no_locks)
        with storage.scratch_directory("rows", tmp_path) as temporary:
            assert temporary.is_dir()
    assert list(tmp_path.iterdir()) == [left]


@pytest.mark.parametrize("error", [RuntimeError("stop"), KeyboardInterrupt()])
def test_a_failure_leaves_only_the_old_content(
    fill: Callable[..., None], tmp_path: Path, error: BaseException
) -> None:
    with pytest.raises(type(error)):
        fill(tmp_path / "target", "first", error)
    assert list(tmp_path.iterdir()) == []
    fill(tmp_path / "target", "old")
    before = contents(tmp_path)
    with pytest.raises(type(error)):
        fill(tmp_path / "target", "new", error)
    assert contents(tmp_path) == before


def test_a_full_disk_is_explained_and_leaves_the_old_content(
    fill: Callable[..., None], tmp_path: Path
) -> None:
    fill(tmp_path / "target", "old")
    before = contents(tmp_path)
    with pytest.raises(
        StorageError, match=f"{tmp_path / 'target'}: cannot be written: No space left on device"
    ):
        fill(tmp_path / "target", "new", NO_SPACE)
    assert contents(tmp_path) == before


def test_a_rename_that_fails_leaves_the_old_content(
    fill: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path / "target", "old")
    before, rename = contents(tmp_path), os.replace

    def fails(source: str | Path, target: str | Path) -> None:
        if Path(source).name.endswith(".tmp") and Path(target) == tmp_path / "target":
            raise NO_SPACE
        rename(source, target)

    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises(StorageError, match=f"{tmp_path / 'target'}: cannot be written"):
        fill(tmp_path / "target", "new")
    assert contents(tmp_path) == before


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """The kernel refuses to let any file grow beyond `size` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(
    "write",
    [
        lambda path: write_json(path, ["x" * 100_000]),
        lambda path: write_text(path, "x" * 100_000),
        lambda path: save_weights(nn.Linear(200, 200), path),
    ],
    ids=["json", "text", "weights"],
)
def test_a_write_that_the_kernel_refuses(write: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / "target"
    path.write_text("old")
    with largest_file(10_000), pytest.raises(StorageError, match=f"{path}: cannot be written"):
        write(path)
    assert contents(tmp_path) == {"target": b"old"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(fill: Callable[..., None], tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    for place in ("target", "deeper/target"):
        with pytest.raises(
            StorageError, match=f"{tmp_path / 'closed' / place}: cannot be written: Permission denied"
        ):
            fill(tmp_path / "closed" / place, "x")


def test_a_file_where_a_folder_should_be(fill: Callable[..., None], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match=f"{tmp_path / 'file' / 'target'}: cannot be written"):
        fill(tmp_path / "file" / "target", "x")


def test_a_file_is_not_taken_for_an_old_directory(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("precious")
    with pytest.raises(StorageError, match="target: cannot be written: a file of this name exists"):
        fill_directory(tmp_path / "target", "x")
    assert contents(tmp_path) == {"target": b"precious"}
    (tmp_path / "folder").mkdir()
    with pytest.raises(StorageError, match="folder: cannot be written: Is a directory"):
        fill_file(tmp_path / "folder", "x")


@pytest.mark.parametrize("place", ["not-here", "../not-here", "target.csv"])
def test_an_error_of_another_file_is_not_wrapped(place: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=place), atomic_file(tmp_path / "target"):
        (tmp_path / place).read_text()


def test_relative_paths(fill: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    fill(Path("target"), "x")
    assert list(contents(tmp_path).values()) == [b"x"]
    with pytest.raises(StorageError, match="target: cannot be written: No space"):
        fill(Path("target"), "new", NO_SPACE)
    assert list(contents(tmp_path).values()) == [b"x"]


def test_two_writers_leave_one_complete_directory(tmp_path: Path) -> None:
    texts = [str(i) * 1000 for i in range(8)]
    threads = [threading.Thread(target=fill_directory, args=(tmp_path / f"t{i}", texts[i])) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(contents(tmp_path).values()) == [text.encode() for text in texts]


def test_others_may_read_what_was_written(tmp_path: Path) -> None:
    fill_directory(tmp_path / "target", "x")
    assert (tmp_path / "target").stat().st_mode & 0o777 == 0o755


def test_json_survives_a_round_trip_and_has_no_nan(tmp_path: Path) -> None:
    value = {"a": [1, 2.5, None, "é"], "b": {"c": True}}
    write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json") == value == json.loads((tmp_path / "a.json").read_bytes())
    with pytest.raises(ValueError, match="Out of range float"):
        write_json(tmp_path / "a.json", [float("nan")])
    assert read_json(tmp_path / "a.json") == value


@pytest.mark.parametrize("content", [b"{", b"", b"\xff\xfe\x00"])
def test_a_file_that_is_not_json(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(StorageError, match=r"a\.json: is not JSON"):
        read_json(tmp_path / "a.json")


@pytest.mark.parametrize("place", ["none.json", "."])
def test_a_file_that_cannot_be_read(place: str, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be read"):
        read_json(tmp_path / place)


def test_checksums(tmp_path: Path) -> None:
    data = bytes(range(256)) * 5000
    (tmp_path / "a").write_bytes(data)
    assert storage.sha256(tmp_path / "a") == hashlib.sha256(data).hexdigest()


def test_weights_of_any_layout_are_written(tmp_path: Path) -> None:
    layer = nn.Linear(3, 2)
    layer.weight = nn.Parameter(torch.arange(6.0).reshape(3, 2).T)  # not contiguous
    save_weights(layer, tmp_path / "w.safetensors")
    assert torch.equal(load_file(tmp_path / "w.safetensors")["weight"], layer.weight)


def test_temporary_files_of_killed_processes_are_deleted_by_the_next(tmp_path: Path) -> None:
    write = "import sys, time; from ctrloom.storage import atomic_file\n"
    write += "with atomic_file(sys.argv[1]) as to: to.touch(); print(to.name, flush=True); time.sleep(600)"
    command = [sys.executable, "-c", write, tmp_path / "scores.csv"]
    elsewhere = tmp_path / ".scores.csv.01234567-1-1.tmp"  # of another machine or container
    elsewhere.touch()
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as killed,
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as alive,
    ):
        names = [process.stdout.readline().strip() for process in (killed, alive) if process.stdout]
        killed.kill()
        killed.wait()
        write_text(tmp_path / "other.csv", "")
        found = {path.name for path in tmp_path.iterdir()}
        alive.kill()
    assert found == {"other.csv", names[1], elsewhere.name}
