import random
from pathlib import Path

import pytest
from faults import Spoil

from ctrloom import storage
from ctrloom.storage import StorageError, remote

# Clients leave sockets to the garbage collector when a server closes the connection.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
SIZES = {"empty": 0, "small": 10, "deep/er/small": 1000, "a b+%20é": 77, "large": 700_000}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files, of which the largest is transferred in chunks."""
    monkeypatch.setattr(remote, "CHUNK", 200_000)
    rng = random.Random(0)
    for name, size in SIZES.items():
        path = tmp_path / "folder" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(rng.randbytes(size))
    return tmp_path / "folder"


def test_a_folder_is_the_same_after_a_round_trip(store: str, folder: Path, tmp_path: Path) -> None:
    there = storage.place(store) / "folder"
    storage.upload(folder, there)
    storage.download(there, tmp_path / "back")
    assert contents(tmp_path / "back") == contents(folder)
    assert storage.folders(storage.place(store)) == ["folder"]
    assert storage.folders(there) == ["deep"]
    assert storage.sizes(there, SIZES) == SIZES
    assert storage.sizes(there, ["small", "other"]) == {"small": SIZES["small"]}


def test_a_cached_copy_is_used_until_the_source_changes(
    bucket: str, folder: Path, tmp_path: Path, spoil: Spoil
) -> None:
    there = storage.place(bucket) / "folder"
    storage.upload(folder, there)
    between = spoil(bucket, seed=0, share=0)
    first = storage.cached(there, tmp_path / "cache")
    assert contents(first) == contents(folder)
    before = between.seen["carried"]
    assert storage.cached(there, tmp_path / "cache") == first
    assert between.seen["carried"] - before < 10_000  # the list of objects
    storage.write_text(there / "small", "changed")
    second = storage.cached(there, tmp_path / "cache")
    assert (second / "small").read_text() == "changed"
    assert (first / "small").read_bytes() == (folder / "small").read_bytes()


FAULTS = ["lost", "unanswered", "cut", "delayed", "damaged", "429,503"]


def round_trip(url: str, folder: Path, to: Path) -> None:
    there = storage.place(url) / "folder"
    storage.upload(folder, there)
    storage.download(there, to)
    assert contents(to) == contents(folder)
    generation = storage.objects.replace(there / "object", b"one", None)
    assert storage.objects.replace(there / "object", b"two", generation) != generation
    assert storage.objects.read(there / "object").content == b"two"


@pytest.mark.parametrize("kinds", ["unanswered", "damaged", "429,503"])
def test_transfers_survive_faults(gs: str, folder: Path, tmp_path: Path, spoil: Spoil, kinds: str) -> None:
    between = spoil(gs, seed=1, share=0.3, kinds=kinds.split(","))
    round_trip(gs, folder, tmp_path / "back")
    assert between.seen["done"]


@pytest.mark.slow
@pytest.mark.parametrize("kinds", FAULTS)
@pytest.mark.parametrize("seed", range(3))
def test_transfers_survive_many_faults(
    bucket: str,
    folder: Path,
    tmp_path: Path,
    spoil: Spoil,
    kinds: str,
    seed: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(remote, "PATIENCE", 90.0)  # interrupted transfers resume, and are interrupted again
    between = spoil(bucket, seed, share=0.6, kinds=kinds.split(","))
    round_trip(bucket, folder, tmp_path / "back")
    assert between.seen["done"]


def test_an_unreachable_store_is_named(
    gs: str, folder: Path, spoil: Spoil, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "PATIENCE", 2.0)
    spoil(gs, seed=0, share=1, kinds=["500"])
    there = storage.place(gs) / "always"
    with pytest.raises(StorageError, match=f"{there}: cannot be written: .*check the store"):
        storage.write_text(there, "x")
