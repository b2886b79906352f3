"""Streamed rows: each exactly once per epoch, in an order that depends only on the seed."""

import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from data_helpers import CLICKS, HEADER, data_config
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ctrloom.config import VocabularyConfig
from ctrloom.data.batches import stream
from ctrloom.data.batches.batch import Batch, BatchSource, concatenated
from ctrloom.data.batches.stream import Stream
from ctrloom.data.batches.tensors import BatchFiller
from ctrloom.data.dataset import Dataset
from ctrloom.data.errors import DataError
from ctrloom.data.ingest.run import ingest
from ctrloom.data.parquet import writer
from ctrloom.data.vocabulary import encode
from ctrloom.data.vocabulary.build import build_vocabulary
from ctrloom.training.passes import Passes, steps_in_pass

ROWS = 730
SPLITS = ("train", "valid", "test")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dataset]:
    """730 rows in each split, in files and row groups smaller than that; windows of two row groups."""
    folder = tmp_path_factory.mktemp("streamed")
    with pytest.MonkeyPatch.context() as patch:
        for module in (writer, encode):
            patch.setattr(module, "GROUP_ROWS", 50)
        patch.setattr(writer, "PART_ROWS", 150)
        patch.setattr(stream, "WINDOW", 2)
        for n, split in enumerate(SPLITS):
            lines = "".join(f"{i % 3 // 2},u{i},{i % 50}\n" for i in range(n, n + ROWS))
            (folder / f"{split}.csv").write_text(HEADER + lines)
        files = {split: [str(folder / f"{split}.csv")] for split in SPLITS}
        ingested = ingest(data_config(files, CLICKS), folder / "store")
        vocabulary = VocabularyConfig.parse({"min_count": 1}, "test")
        yield Dataset.open(build_vocabulary(ingested, vocabulary, folder / "store"))


def ours() -> int:
    """Number of streaming threads; threads of libraries are not counted."""
    return sum(thread.name.startswith("ctrloom") for thread in threading.enumerate())


def row_tuples(batches: Iterator[Batch]) -> list[list[tuple[float, ...]]]:
    """Every row of every batch, with its label."""
    return [
        list(map(tuple, torch.cat([batch.ids_NC, batch.label_N[:, None]], 1).tolist())) for batch in batches
    ]


def one_pass(rows: BatchSource, size: int, seed: int) -> list[list[tuple[float, ...]]]:
    return row_tuples(Passes(rows, size, torch.Generator().manual_seed(seed)).batches())


def flat(batches: list[list[tuple[float, ...]]]) -> list[tuple[float, ...]]:
    return [row for batch in batches for row in batch]


def test_there_are_several_windows(dataset: Dataset) -> None:
    assert len(dataset.stream("train").row_groups) > 3 * stream.WINDOW
    assert len(set(flat(row_tuples(dataset.rows("train").batches(ROWS))))) == ROWS  # rows are distinguishable


@given(size=st.integers(2, 900), seed=st.integers(0, 2**40))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_row_once_in_batches_of_one_size(dataset: Dataset, size: int, seed: int) -> None:
    found = one_pass(dataset.stream("train"), size, seed)
    assert Counter(flat(found)) == Counter(flat(row_tuples(dataset.rows("train").batches(ROWS))))
    memory = one_pass(dataset.rows("train"), size, seed)
    assert list(map(len, found)) == list(map(len, memory))
    assert len(found) == steps_in_pass(ROWS, size)


def test_the_seed_alone_decides_the_order(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    first, other = (one_pass(dataset.stream("train"), 64, seed) for seed in (1, 2))
    assert first != other
    read, pause = stream.RowGroup.read, iter([0.02, 0.0, 0.03, 0.01] * 20)
    monkeypatch.setattr(
        stream.RowGroup, "read", lambda self: (threading.Event().wait(next(pause)), read(self))[1]
    )
    assert one_pass(dataset.stream("train"), 64, 1) == first  # independent of timing
    generator = torch.Generator().manual_seed(1)
    one, two = (row_tuples(Passes(dataset.stream("train"), 64, generator).batches()) for _ in range(2))
    assert one == first != two


def test_rows_of_a_batch_come_from_all_over_a_window(dataset: Dataset) -> None:
    order = {row: n for n, row in enumerate(flat(row_tuples(dataset.rows("train").batches(ROWS))))}
    batch, *_ = one_pass(dataset.stream("train"), 60, 3)
    places = sorted(order[row] for row in batch)
    assert len({place // 50 for place in places}) == stream.WINDOW
    assert max(b - a for a, b in pairwise(places)) > 1


@pytest.mark.parametrize("split", SPLITS)
def test_unshuffled_stream_equals_the_rows_in_memory(dataset: Dataset, split: str) -> None:
    rows, streamed = dataset.rows(split), dataset.stream(split)  # type: ignore[arg-type]
    assert row_tuples(streamed.batches(64)) == row_tuples(rows.batches(64))
    assert {batch.ids_NC.dtype for batch in streamed.batches(64)} == {torch.int32}
    assert torch.equal(streamed.label_N, rows.label_N)
    assert (len(streamed), streamed.total, streamed.weight_N) == (ROWS, ROWS, None)
    rate = pytest.approx(float(rows.label_N.mean()))
    clicks = int(rows.label_N.sum())
    assert dataset.counted(split) == (len(rows), clicks, rate)  # type: ignore[arg-type]


def test_numbers_several_values_and_weights_are_streamed_too(mixed: Dataset) -> None:
    rows, streamed = mixed.rows("train"), mixed.stream("train")
    again = concatenated(list(streamed.batches(700)))
    for name, column in rows.widened().tensors():
        assert torch.equal(dict(again.tensors())[name], column)
    assert rows.weight_N is not None
    assert torch.equal(streamed.weight_N, rows.weight_N)  # type: ignore[arg-type]


def test_nested_subsets(dataset: Dataset) -> None:
    rows, streamed = dataset.rows("train"), dataset.stream("train")
    order = torch.randperm(ROWS, generator=torch.Generator().manual_seed(4))
    one, two = streamed.take(order[:365]), streamed.take(order[365:])
    assert (one.total, two.total) == (365, 365)
    for half, same in ((one, rows.take(order[:365])), (two, rows.take(order[365:]))):
        assert Counter(flat(one_pass(half, 40, 0))) == Counter(flat(row_tuples(same.batches(ROWS))))
    ascending = rows.take(order[:365].sort().values)  # a stream stays in the order of the files
    assert row_tuples(one.batches(50)) == row_tuples(ascending.batches(50))
    assert torch.equal(one.label_N, ascending.label_N)
    some = torch.tensor([300, 2, 7])
    assert row_tuples(one.take(some).batches(9)) == row_tuples(ascending.take(some.sort().values).batches(9))


def test_few_rows_can_be_read_in_any_order(dataset: Dataset) -> None:
    rows, streamed = dataset.rows("train"), dataset.stream("train")
    order, bounds = torch.tensor([700, 3, 51, 50, 729, 0]), [0, 2, 6]
    assert row_tuples(streamed.cut(order, bounds)) == row_tuples(rows.cut(order, bounds))
    assert list(streamed.cut(order[:0], [0])) == []


def test_a_sample_comes_from_all_over_the_split(dataset: Dataset) -> None:
    every = flat(row_tuples(dataset.rows("train").batches(ROWS)))
    sample = flat(row_tuples(dataset.stream("train").some(200).batches(ROWS)))
    assert 150 <= len(sample) <= 300
    assert set(sample) <= set(every)
    assert every.index(sample[-1]) > ROWS / 2
    assert len(dataset.stream("train").some(10**6)) == ROWS


@pytest.fixture
def damaged(dataset: Dataset) -> Iterator[Stream]:
    """One page of the last file but one is corrupt."""
    streamed = dataset.stream("train")
    path = dataset.manifest.paths(dataset.base, "train")[-2]
    whole = path.read_bytes()  # type: ignore[union-attr]
    path.write_bytes(whole[:60] + bytes(40) + whole[100:])  # type: ignore[union-attr]
    yield streamed
    path.write_bytes(whole)  # type: ignore[union-attr]


def test_a_corrupt_file_is_an_error_and_leaves_no_thread(dataset: Dataset, damaged: Stream) -> None:
    before = ours()
    path = dataset.manifest.paths(dataset.base, "train")[-2]
    with pytest.raises(DataError, match=rf"{path}: was changed while it was being read"):
        one_pass(damaged, 64, 0)
    assert ours() == before


def test_a_pass_that_is_left_early_leaves_no_thread(dataset: Dataset) -> None:
    before, batches = ours(), dataset.stream("train").batches(20)
    next(batches)
    assert ours() > before
    batches.close()  # type: ignore[attr-defined]
    assert ours() == before


def test_an_error_in_the_thread_is_raised_in_the_epoch(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(BatchFiller, "add", full)
    with pytest.raises(MemoryError, match="no room"):
        one_pass(dataset.stream("train"), 64, 0)


def test_a_file_that_is_gone_is_noticed_at_once(dataset: Dataset) -> None:
    path = dataset.manifest.paths(dataset.base, "train")[0]
    moved = path.rename(path.with_suffix(".gone"))  # type: ignore[union-attr]
    with pytest.raises(DataError, match=f"{path}: cannot be read"):
        dataset.stream("train")
    moved.rename(path)  # type: ignore[arg-type]


def test_row_groups_know_their_rows(dataset: Dataset) -> None:
    row_groups = dataset.stream("train").row_groups
    assert sum(map(len, row_groups)) == ROWS
    half = replace(row_groups[0], kept=torch.arange(len(row_groups[0])) % 2 == 0)
    assert sum(map(len, half.read())) == len(half) == -(-len(row_groups[0]) // 2)


@pytest.mark.gpu
def test_a_gpu_gets_the_batches_that_a_cpu_gets(dataset: Dataset) -> None:
    """Asynchronous copies are complete before use, and their memory is kept until then."""
    device, busy = torch.device("cuda"), torch.randn(4096, 4096, device="cuda")
    streamed, found = dataset.stream("train").to(device), []
    for batch in Passes(streamed, 40, torch.Generator().manual_seed(5)).batches():
        busy = busy @ busy / 4096
        found.append(batch)
    assert {batch.ids_NC.device.type for batch in found} == {"cuda"}
    assert row_tuples(batch.to(torch.device("cpu")) for batch in found) == one_pass(
        dataset.stream("train"), 40, 5
    )
