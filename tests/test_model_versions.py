import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ctrloom.cli import app
from ctrloom.serving import registry as module
from ctrloom.serving.registry import PromotionConflictError, Registry, RegistryError
from ctrloom.storage import StorageError, objects


def bundle(folder: Path, text: str) -> Path:
    (folder / "vocabulary").mkdir(parents=True)
    (folder / "model.json").write_text(text)
    (folder / "vocabulary" / "user.parquet").write_bytes(text.encode() * 1000)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(f"file://{tmp_path / 'registry'}")


@pytest.fixture
def two(registry: Registry, tmp_path: Path) -> tuple[str, str]:
    """Two versions."""
    first = registry.add(bundle(tmp_path / "a", "a"), {"auc": 0.8}, {"run": "monday"})
    return first, registry.add(bundle(tmp_path / "b", "b"), {"auc": 0.9}, {"run": "tuesday"})


def test_fetch_returns_added_versions(registry: Registry, two: tuple[str, str], tmp_path: Path) -> None:
    assert [v.version for v in registry.versions()] == list(two)
    found = registry.version(two[1])
    assert (found.metrics, found.provenance) == ({"auc": 0.9}, {"run": "tuesday"})
    assert {file.path for file in found.files} == {"model.json", "vocabulary/user.parquet"}
    for name, original in zip(two, ("a", "b"), strict=True):
        assert contents(registry.fetch(name, tmp_path / name)) == contents(tmp_path / original)


def test_a_version_never_changes(registry: Registry, two: tuple[str, str], tmp_path: Path) -> None:
    before = contents(tmp_path / "registry")
    shutil.copytree(tmp_path / "a", tmp_path / "again")
    assert registry.add(tmp_path / "again", {"auc": 0.1}, {"run": "wednesday"}) == two[0]
    assert contents(tmp_path / "registry") == before


def test_incomplete_upload_is_not_a_version(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = bundle(tmp_path / "a", "a")
    with monkeypatch.context() as patch:
        patch.setattr(module.objects, "replace", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            registry.add(folder, {}, {})
    assert registry.versions() == []
    name = registry.add(folder, {}, {})
    assert [v.version for v in registry.versions()] == [name]


def test_promotion_and_roll_back(registry: Registry, two: tuple[str, str]) -> None:
    first, second = two
    assert registry.champion() is None
    one = registry.promote(first, None)
    assert registry.champion() == (first, one)
    registry.promote(second, one)
    assert registry.record().previous == first
    back = registry.promote(first, registry.champion()[1])
    assert registry.champion() == (first, back)
    assert back != one, "generations are never reused"


@pytest.mark.parametrize("stale", [None, "0123"])
def test_conflicting_promotion_is_rejected_and_names_the_winner(
    registry: Registry, two: tuple[str, str], stale: str | None
) -> None:
    first, second = two
    registry.promote(first, None)
    with pytest.raises(PromotionConflictError, match=f"{second} was not promoted: {first} became champion"):
        registry.promote(second, stale)
    assert registry.champion()[0] == first


def test_only_a_version_can_be_promoted(registry: Registry, two: tuple[str, str]) -> None:
    with pytest.raises(RegistryError, match=f"has no version 'x'; its versions are {two[0]}, {two[1]}"):
        registry.promote("x", None)
    assert registry.champion() is None


def race(count: int, promote: "object") -> list[str]:
    """The results of `count` threads that start together."""
    got, barrier = [], threading.Barrier(count)

    def one(number: int) -> None:
        barrier.wait()
        try:
            got.append(promote(number))
        except PromotionConflictError as error:
            got.append(f"lost: {error}")

    threads = [threading.Thread(target=one, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return got


def test_one_of_concurrent_promotions_wins(registry: Registry, two: tuple[str, str]) -> None:
    expected = None
    for _ in range(20):
        got = race(4, lambda n, expected=expected: registry.promote(two[n % 2], expected))
        won = [g for g in got if not g.startswith("lost")]
        assert won == [registry.champion()[1]]
        assert all(f"{registry.champion()[0]} became champion" in g for g in got if g not in won)
        expected = won[0]


PROMOTE = """
import sys
from ctrloom.serving.registry import Registry
registry = Registry(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
registry.promote(sys.argv[2], None)
"""


def test_one_of_concurrent_processes_wins(registry: Registry, two: tuple[str, str]) -> None:
    started = [
        subprocess.Popen(
            [sys.executable, "-c", PROMOTE, str(registry.base), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in two
    ]
    for process in started:
        assert process.stdout.readline() == "ready\n"
    for process in started:
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.communicate(timeout=60)[1] for process in started]
    assert sorted(bool(process.returncode) for process in started) == [False, True]
    winner = two[[process.returncode for process in started].index(0)]
    assert registry.champion()[0] == winner
    assert sum("PromotionConflictError" in text and f"{winner} became champion" in text for text in said) == 1


def test_fetch_rejects_a_damaged_version(registry: Registry, two: tuple[str, str], tmp_path: Path) -> None:
    stored = tmp_path / "registry" / "versions" / two[0] / "bundle" / "model.json"
    stored.write_text("A")
    with pytest.raises(RegistryError, match=r"model\.json of version .* is not the file that was added"):
        registry.fetch(two[0], tmp_path / "out")
    stored.unlink()
    with pytest.raises(RegistryError, match=r"model\.json"):
        registry.fetch(two[0], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_invalid_registry_is_reported(tmp_path: Path) -> None:
    assert Registry(tmp_path / "none").versions() == []
    assert Registry(tmp_path / "none").champion() is None
    (tmp_path / "champion.json").write_text("{")
    with pytest.raises(StorageError, match=r"champion\.json: is not JSON"):
        Registry(tmp_path).champion()
    with pytest.raises(RegistryError, match="has no files"):
        Registry(tmp_path).add(tmp_path / "none", {}, {})
    with pytest.raises(StorageError, match="begins with file://, gs:// or s3://"):
        Registry("ftp://somewhere/models")


def test_object_is_replaced_only_if_unchanged(tmp_path: Path) -> None:
    place = tmp_path / "deep" / "object"
    assert objects.read(place) is None
    first = objects.replace(place, b"one", None)
    for stale in (None, "other"):
        with pytest.raises(StorageError, match="changed by another process"):
            objects.replace(place, b"two", stale)
    second = objects.replace(place, b"two", first)
    assert objects.read(place) == objects.Stored(b"two", second)


def said(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["registry", *arguments], catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout


def test_commands(registry: Registry, two: tuple[str, str]) -> None:
    url = str(registry.base)
    first, second = two
    assert said("promote", url, first) == f"{first} is the champion (previous: none)\n"
    with pytest.raises(RegistryError, match="has no previous champion; name the version"):
        said("rollback", url)
    assert said("promote", url, second) == f"{second} is the champion (previous: {first})\n"
    listed = said("list", url).splitlines()
    assert [line.split()[0] for line in listed[1:]] == [first, second]
    assert [line.endswith("champion") for line in map(str.rstrip, listed[1:])] == [False, True]
    assert json.loads(said("show", url))["metrics"] == {"auc": 0.9}
    assert json.loads(said("show", url, first))["provenance"] == {"run": "monday"}
    assert said("rollback", url) == f"{first} is the champion (previous: {second})\n"
    assert said("rollback", url, second) == f"{second} is the champion (previous: {first})\n"


def test_a_promotion_that_is_repeated_keeps_the_previous_champion(tmp_path):
    registry = Registry(str(tmp_path / "registry"))
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.json").write_text(name)
    first, second = (registry.add(tmp_path / name, {}, {}) for name in ("a", "b"))
    generation = registry.promote(first, None)
    generation = registry.promote(second, generation)
    registry.promote(second, generation)  # as a step does that was killed after its promotion
    assert registry.record().previous == first
