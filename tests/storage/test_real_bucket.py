"""Tests against a real bucket, set by CTRLOOM_TEST_BUCKET; all written objects are deleted."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_data_in_store import assert_same, config, encode

from ctrloom import storage
from ctrloom.config import DataConfig
from ctrloom.data.dataset import Dataset
from ctrloom.serving.registry import PromotionConflictError, Registry
from ctrloom.storage import ConflictError, Location, clients, objects

BUCKET = os.environ.get("CTRLOOM_TEST_BUCKET")
pytestmark = [
    pytest.mark.skipif(not BUCKET, reason="CTRLOOM_TEST_BUCKET is not set (gs://... or s3://...)"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
__all__ = ["config"]  # a fixture


@pytest.fixture
def prefix() -> Iterator[Location]:
    """An empty prefix of the bucket; its objects are deleted at the end."""
    at = storage.place(f"{BUCKET}/ctrloom-test-{uuid.uuid4().hex}")
    assert isinstance(at, Location), "CTRLOOM_TEST_BUCKET: must be a URL, gs://... or s3://..."
    yield at
    library = clients.client(at).client
    for found in storage.objects_in(at):
        if at.scheme == "gs":
            library.bucket(at.bucket).delete_blob(found.at.key)
        else:
            library.delete_object(Bucket=at.bucket, Key=found.at.key)


def test_one_writer_wins(prefix: Location) -> None:
    at = prefix / "object"
    first = objects.replace(at, b"one", None)
    for stale in (None, "7"):
        with pytest.raises(ConflictError):
            objects.replace(at, b"two", stale)
    second = objects.replace(at, b"two", first)
    assert objects.read(at) == objects.Stored(b"two", second)


def test_files_are_the_same_after_a_round_trip(prefix: Location, tmp_path: Path) -> None:
    sizes = {"empty": 0, "deep/small": 1000, "a b+%20é": 77, "large": 40 << 20}  # the last one in chunks
    for name, size in sizes.items():
        path = tmp_path / "folder" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(size))
    storage.upload(tmp_path / "folder", prefix)
    storage.download(prefix, tmp_path / "back")
    for name in sizes:
        assert storage.sha256(tmp_path / "back" / name) == storage.sha256(tmp_path / "folder" / name), name


def test_a_data_set_is_the_same_as_in_a_folder(prefix: Location, config: DataConfig, tmp_path: Path) -> None:
    assert_same(Dataset.open(encode(config, prefix)), Dataset.open(encode(config, tmp_path)))


def test_a_champion_is_promoted_once(prefix: Location, tmp_path: Path) -> None:
    registry, names = Registry(str(prefix)), []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.json").write_text(name)
        names.append(registry.add(tmp_path / name, {}, {}))
    generation = registry.promote(names[0], None)
    with pytest.raises(PromotionConflictError):
        registry.promote(names[1], None)
    assert registry.champion() == (names[0], generation)
    assert (registry.fetch(names[0], tmp_path / "back") / "model.json").read_text() == "one"
