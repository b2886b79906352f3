import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from faults import Spoil

from ctrloom import storage
from ctrloom.serving.registry import PromotionConflictError, Registry
from ctrloom.storage import ConflictError, StorageError, clients, objects

# Clients leave sockets to the garbage collector when a server closes the connection.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.mark.parametrize(
    ("url", "name", "parent"),
    [("gs://b/a/c.json", "c.json", "gs://b/a"), ("s3://b/a/", "a", "s3://b"), ("gs://b", "b", "gs://b")],
)
def test_urls_behave_like_paths(url: str, name: str, parent: str) -> None:
    at = storage.place(url)
    assert (at.name, str(at.parent)) == (name, parent)
    assert storage.place(str(at / "x")) == at / "x"
    assert storage.relative(at / "x" / "y", at) == "x/y"
    assert storage.place("file:///tmp/x") == Path("/tmp/x") == storage.place("/tmp/x")


@pytest.mark.parametrize("url", ["http://host/x", "gs://", "s3:///"])
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(StorageError, match=url):
        storage.place(url)


def test_an_object_is_replaced_only_if_unchanged(store: str) -> None:
    at = storage.place(store) / "deep" / "object"
    assert objects.read(at) is None
    assert not storage.exists(at)
    first = objects.replace(at, b"one", None)
    for stale in (None, "7", "other"):
        with pytest.raises(ConflictError, match="deep/object"):
            objects.replace(at, b"two", stale)
    second = objects.replace(at, b"two", first)
    assert objects.read(at) == objects.Stored(b"two", second)


def test_json_in_any_place(store: str) -> None:
    at = storage.place(store) / "a.json"
    with pytest.raises(StorageError, match=r"a\.json: cannot be read"):
        storage.read_json(at)
    storage.write_json(at, {"é": [1, None]})
    assert storage.read_json(str(at)) == {"é": [1, None]}
    storage.write_text(at, "{")
    with pytest.raises(StorageError, match=r"a\.json: is not JSON"):
        storage.read_json(at)


def test_missing_objects_are_named(bucket: str, tmp_path: Path) -> None:
    nowhere = storage.place(f"{bucket.partition('://')[0]}://no-such-bucket/x")
    for task in (
        lambda: clients.client(nowhere).listed(nowhere),
        lambda: storage.write_json(nowhere, 1),
        lambda: storage.download(storage.place(bucket), tmp_path / "out"),
        lambda: storage.find(nowhere),
    ):
        with pytest.raises(StorageError, match=r"(no-such-bucket|loom)/.*check the name"):
            task()


@pytest.mark.parametrize("library", ["google.cloud.storage", "boto3"])
def test_a_library_that_is_missing_is_named(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    scheme = "gs" if library.startswith("google") else "s3"
    clients.client_of.cache_clear()
    with pytest.raises(StorageError, match=rf"pip install '\.\[{'gcs' if scheme == 'gs' else 's3'}\]'"):
        storage.exists(storage.place(f"{scheme}://loom/x"))


@pytest.mark.parametrize("status", ["401", "403"])
def test_access_errors_tell_how_to_log_in(bucket: str, status: str, spoil: Spoil) -> None:
    at = storage.place(bucket) / "x"
    storage.write_json(at, 1)
    spoil(bucket, seed=0, share=1, kinds=[status])
    way_out = "gcloud auth|role Storage Object User" if bucket.startswith("gs") else "AWS_ACCESS_KEY_ID"
    for task in (lambda: objects.read(at), lambda: storage.write_json(at, 2)):
        with pytest.raises(StorageError, match=f"{at}: cannot be .*: access denied; .*({way_out})"):
            task()


def test_a_server_that_ignores_conditions_is_detected(
    s3: str, monkeypatch: pytest.MonkeyPatch, spoil: Spoil
) -> None:
    spoil(s3, seed=0, share=0)  # another address, so a new client
    client = clients.client(storage.place(s3))
    put = client._put
    monkeypatch.setattr(client, "_put", lambda at, content, **_: put(at, content))
    with pytest.raises(StorageError, match="this server ignores conditional writes"):
        objects.replace(storage.place(s3) / "x", b"1", None)
    assert objects.read(storage.place(s3) / "x") is None
    assert clients.client(storage.place(s3)).listed(storage.place(s3)) == []


def bundles(registry: Registry, tmp_path: Path, count: int) -> list[str]:
    names = []
    for number in range(count):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "model.json").write_text(str(number))
        names.append(registry.add(tmp_path / str(number), {"auc": number}, {}))
    return names


def at_once(count: int, promote: Callable[[int], str]) -> list[str]:
    got, barrier = [""] * count, threading.Barrier(count)

    def one(number: int) -> None:
        barrier.wait()
        try:
            got[number] = promote(number)
        except PromotionConflictError as error:
            got[number] = f"lost: {error}"

    threads = [threading.Thread(target=one, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return got


def test_one_of_concurrent_promotions_wins_and_the_others_fail(bucket: str, tmp_path: Path) -> None:
    registry = Registry(bucket)
    names = bundles(registry, tmp_path, 2)
    expected = None
    for _ in range(3):
        got = at_once(4, lambda n, expected=expected: registry.promote(names[n % 2], expected))
        champion, generation = registry.champion()
        assert [each for each in got if not each.startswith("lost")] == [generation]
        assert got.index(generation) % 2 == names.index(champion)
        assert sum(f"{champion} became champion" in each for each in got) == 3
        expected = generation


PROMOTE = """
import sys
from ctrloom.serving.registry import Registry
registry = Registry(sys.argv[1])
registry.version(sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
registry.promote(sys.argv[2], None)
"""


def test_one_of_concurrent_processes_wins_a_promotion(gs: str, tmp_path: Path) -> None:
    registry = Registry(gs)
    names = bundles(registry, tmp_path, 2)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    running = [
        subprocess.Popen([sys.executable, "-c", PROMOTE, gs, name], text=True, **pipes) for name in names
    ]
    assert [process.stdout.readline() for process in running] == ["ready\n"] * 2
    for process in running:
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.communicate(timeout=60)[1] for process in running]
    codes = [process.returncode for process in running]
    winner, loser = sorted((0, 1), key=lambda n: codes[n])
    assert (codes[winner], bool(codes[loser])) == (0, True)
    assert registry.champion()[0] == names[winner]
    assert f"{names[loser]} was not promoted: {names[winner]} became champion" in said[loser]


def test_versions_are_transferred_completely(bucket: str, tmp_path: Path) -> None:
    registry = Registry(bucket)
    first, second = bundles(registry, tmp_path, 2)
    assert [version.version for version in registry.versions()] == [first, second]
    assert registry.add(tmp_path / "0", {"auc": 9}, {}) == first
    assert registry.version(first).metrics == {"auc": 0}
    assert (registry.fetch(second, tmp_path / "out") / "model.json").read_text() == "1"
    registry.promote(second, registry.promote(first, None) and registry.champion()[1])
    registry.promote(registry.record().previous, registry.champion()[1])
    assert registry.champion()[0] == first
