"""Distributed reading: each process reads its own rows, and together they have every batch."""

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from data_helpers import CLICKS, HEADER, Write, clicks, data_config
from hypothesis import given
from hypothesis import strategies as st
from small import rows_of, schema_of

from ctrloom.config import VocabularyConfig
from ctrloom.data.batches.batch import Batch, Shard
from ctrloom.data.dataset import Dataset
from ctrloom.data.ingest.run import ingest
from ctrloom.data.parquet import writer
from ctrloom.data.vocabulary.build import build_vocabulary

SCHEMA = schema_of(("categorical", 9), ("numeric", 2), ("multivalued", 5, 3))


def in_parts(rows: Batch, processes: int) -> list[Batch]:
    cuts = [len(rows) * number // processes for number in range(processes + 1)]
    return [Shard.of(rows[a:b], a, len(rows)) for a, b in pairwise(cuts)]


def known(rows: Batch) -> list[tuple[float, ...]]:
    assert rows.factors_NC is not None
    return sorted(map(tuple, torch.cat([rows.ids_NC, rows.factors_NC, rows.label_N[:, None]], 1).tolist()))


def mlp_input(every: list[Batch]) -> list[tuple[float, ...]]:
    return sorted(row for rows in every for row in known(rows))


@given(
    count=st.integers(1, 40), processes=st.integers(1, 5), size=st.integers(1, 12), seed=st.integers(0, 99)
)
def test_batches_of_all_parts_are_the_batches_of_the_whole(
    count: int, processes: int, size: int, seed: int
) -> None:
    rows = rows_of(SCHEMA, count, seed)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    bounds = [*range(0, count, size), count]
    every = in_parts(rows, processes)
    whole = list(rows.cut(order, bounds))
    pieces = zip(*(list(part.cut(order, bounds)) for part in every), strict=True)
    for batch, of_batch in zip(whole, pieces, strict=True):
        assert mlp_input(list(of_batch)) == known(batch)
        assert {piece.total for piece in of_batch} == {len(batch)}
    half = order[: count // 2]
    taken, parts_taken = rows.take(half), [part.take(half) for part in every]
    assert mlp_input(list(parts_taken)) == known(taken)
    again, bounds = torch.arange(len(half)).flip(0), [0, len(half) // 3, len(half)]
    pieces = zip(*(list(part.cut(again, bounds)) for part in parts_taken), strict=True)
    for batch, of_batch in zip(taken.cut(again, bounds), pieces, strict=True):
        assert mlp_input(list(of_batch)) == known(batch)


@pytest.fixture
def dataset(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    monkeypatch.setattr(writer, "GROUP_ROWS", 50)
    monkeypatch.setattr(writer, "PART_ROWS", 150)
    files = {
        split: [write(f"{split}.csv", HEADER + clicks(730, n))]
        for n, split in enumerate(("train", "valid", "test"))
    }
    ingested = ingest(data_config(files, CLICKS), tmp_path / "store")
    return Dataset.open(build_vocabulary(ingested, VocabularyConfig(), tmp_path / "store"))


@pytest.mark.parametrize("processes", [2, 3, 7, 800])
def test_parts_of_a_split_are_all_of_its_rows_in_order(dataset: Dataset, processes: int) -> None:
    whole = dataset.rows("train")
    read = [dataset.rows("train", number, processes) for number in range(processes)]
    assert torch.equal(torch.cat([part.ids_NC for part in read]), whole.ids_NC)
    assert torch.equal(torch.cat([part.label_N for part in read]), whole.label_N)
    sizes = [len(part) for part in read]
    assert max(sizes) - min(sizes) <= 1
    assert {part.total for part in read} == {len(whole)}


def test_only_the_files_of_a_part_are_read(dataset: Dataset) -> None:
    files = dataset.manifest.paths(dataset.base, "train")
    assert len(files) == 5
    for path in files[2:]:
        path.write_bytes(b"damaged")  # type: ignore[union-attr]
    assert len(dataset.rows("train", 0, 4)) == 182
