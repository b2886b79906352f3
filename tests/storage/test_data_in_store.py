from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from faults import Spoil
from small import COLUMNS

from ctrloom import storage
from ctrloom.config import DataConfig, VocabularyConfig
from ctrloom.data.batches.batch import concatenated
from ctrloom.data.dataset import Dataset
from ctrloom.data.ingest.run import ingest
from ctrloom.data.parquet import reader, writer
from ctrloom.data.vocabulary.build import build_vocabulary
from ctrloom.storage import Place, StorageError

# Clients leave sockets to the garbage collector when a server closes the connection.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
VOCABULARY = {"min_count": 3, "crosses": {"min_count": 2, "pairs": [["user", "age"]]}}


@pytest.fixture
def config(mixed_folder: Path) -> DataConfig:
    files = {split: str(mixed_folder / f"{split}.csv") for split in ("train", "valid", "test")}
    return DataConfig.parse({"files": files, "columns": COLUMNS}, "test")


def encode(config: DataConfig, store: str | Place) -> Place:
    return build_vocabulary(ingest(config, store), VocabularyConfig.parse(VOCABULARY, "test"), store)


def assert_same(one: Dataset, other: Dataset) -> None:
    assert (one.data_fingerprint, one.schema) == (other.data_fingerprint, other.schema)
    for split in ("train", "valid", "test"):
        a, b = one.rows(split), other.rows(split)
        assert torch.equal(a.ids_NC, b.ids_NC)
        assert torch.equal(a.label_N, b.label_N)
        assert torch.equal(a.factors_NC, b.factors_NC)
        streamed = concatenated(list(one.stream(split).batches(250)))
        assert torch.equal(streamed.ids_NC, b.widened().ids_NC)
    pair = ("user", "age")
    assert (one.crosses()[pair].key_K == other.crosses()[pair].key_K).all()
    for name, vocabulary in one.encoder().vocabularies.items():
        assert vocabulary.tokens == other.encoder().vocabularies[name].tokens


@pytest.mark.parametrize("kind", ["gs", pytest.param("s3", marks=pytest.mark.slow)])
def test_data_sets_are_the_same_in_object_stores_and_folders(
    config: DataConfig,
    kind: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bucket = request.getfixturevalue(kind)
    monkeypatch.setattr(writer, "GROUP_ROWS", 300)
    monkeypatch.setattr(writer, "PART_ROWS", 600)
    here = encode(config, tmp_path)
    assert isinstance(here, Path)
    there = encode(config, bucket)
    assert str(there).startswith(f"{bucket}/encoded-")
    assert_same(Dataset.open(there), Dataset.open(here))
    stored = storage.read_json(there)
    local = storage.read_json(here)
    for manifest in (stored, local):
        manifest.pop("base")
        manifest.pop("checksum")  # covers the base
    assert stored == local  # every file with its rows, bytes and checksum
    assert len(stored["files"]["train"]) > 1
    storage.download(there.parent, tmp_path / "copy")
    assert {p.relative_to(tmp_path / "copy") for p in (tmp_path / "copy").rglob("*") if p.is_file()} == {
        p.relative_to(here.parent) for p in here.parent.rglob("*") if p.is_file()
    }
    assert encode(config, bucket) == there, "an existing data set is reused"


def test_a_manifest_is_enough_to_open_a_data_set(config: DataConfig, gs: str, tmp_path: Path) -> None:
    there = encode(config, gs)
    storage.write_json(tmp_path / "artifact", storage.read_json(there))  # like a pipeline artifact
    assert_same(Dataset.open(tmp_path / "artifact"), Dataset.open(there.parent))


def test_only_the_requested_columns_are_transferred(bucket: str, spoil: Spoil) -> None:
    numbers = np.random.default_rng(0).integers(2**62, size=(16, 200_000))
    table = pa.table({f"c{n}": column for n, column in enumerate(numbers)})
    at = storage.place(bucket) / "wide.parquet"
    with writer.table_writer(at, table.schema) as (file, written):
        file.write_table(table, row_group_size=100_000)
    between = spoil(bucket, seed=0, share=0)
    got = pa.Table.from_batches(reader.read_parts([at], ["c3"]))
    assert got.equals(table.select(["c3"]))
    # pyarrow requests the rest of the object from Google's store and closes the connection when done.
    assert between.seen["carried"] < written.bytes / (8 if bucket.startswith("s3") else 2)


class StopError(Exception):
    """The process dies here."""


@pytest.mark.parametrize("objects", [1, 5])
def test_a_killed_writer_leaves_no_data_set_and_the_next_one_succeeds(
    config: DataConfig, gs: str, objects: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean = ingest(config, gs)
    vocabulary = VocabularyConfig.parse(VOCABULARY, "test")
    with monkeypatch.context() as patch:
        written, original = [], storage.writing

        def dies(at: Place, *sums):
            written.append(at)
            if len(written) > objects:
                raise StopError
            return original(at, *sums)

        patch.setattr(storage, "writing", dies)
        with pytest.raises(StopError):
            build_vocabulary(clean, vocabulary, gs)
    begun = [name for name in storage.folders(storage.place(gs)) if name.startswith("encoded-")]
    assert len(begun) == 1
    for name in begun:
        with pytest.raises(StorageError, match="no such object"):
            Dataset.open(storage.place(gs) / name)
    assert_same(Dataset.open(build_vocabulary(clean, vocabulary, gs)), Dataset.open(encode(config, tmp_path)))


def reads_with_faults(
    config: DataConfig, bucket: str, folder: Path, spoil: Spoil, seed: int, *others: str
) -> None:
    clean = ingest(config, bucket)
    between = spoil(bucket, seed, share=0.3, kinds=["misread", *others])
    there = build_vocabulary(clean, VocabularyConfig.parse(VOCABULARY, "test"), bucket)
    assert_same(Dataset.open(there), Dataset.open(encode(config, folder)))
    assert between.seen["done"]["misread"]


def test_corrupted_reads_are_retried(config: DataConfig, gs: str, tmp_path: Path, spoil: Spoil) -> None:
    reads_with_faults(config, gs, tmp_path, spoil, seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 4))
def test_corrupted_reads_are_retried_repeatedly(
    config: DataConfig, bucket: str, tmp_path: Path, spoil: Spoil, seed: int
) -> None:
    reads_with_faults(config, bucket, tmp_path, spoil, seed, "cut", "lost")


@pytest.mark.slow
@pytest.mark.parametrize("kinds", ["lost,unanswered", "cut,delayed", "429,503"])
@pytest.mark.parametrize("seed", range(2))
def test_faults_do_not_change_the_data(
    config: DataConfig, bucket: str, tmp_path: Path, spoil: Spoil, kinds: str, seed: int
) -> None:
    between = spoil(bucket, seed, share=0.2, kinds=kinds.split(","))
    there = encode(config, bucket)
    assert_same(Dataset.open(there), Dataset.open(encode(config, tmp_path)))
    assert between.seen["done"]
