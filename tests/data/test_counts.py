"""Stored value counts, compared with counts of the rows."""

import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data_helpers import Write, data_config
from hypothesis import given, settings
from hypothesis import strategies as st

from ctrloom.config import SPLITS, VocabularyConfig
from ctrloom.data.arrow import dictionary
from ctrloom.data.errors import DataError
from ctrloom.data.ingest.run import ingest
from ctrloom.data.manifest import IngestedManifest
from ctrloom.data.sources import blocks
from ctrloom.data.vocabulary import count_writer
from ctrloom.data.vocabulary.build import build_vocabulary
from ctrloom.data.vocabulary.field_counts import FieldCounts, field_counts
from ctrloom.data.vocabulary.value_counts import (
    COUNTS,
    Counted,
    count_values,
    counts_writer,
    kinds,
    merged,
    table_of,
)

TOKENS = st.lists(st.one_of(st.none(), st.text("ab", max_size=2)), max_size=40)
NUMBERS = st.lists(st.one_of(st.none(), st.sampled_from([-1.5, -0.0, 0.0, 1e300])), max_size=40)
LISTS = st.lists(st.lists(st.text("ab", max_size=1), max_size=3), max_size=40)
COLUMNS = {
    "click": "label",
    "user": "categorical",
    "age": "numeric",
    "tags": "multivalued",
    "w": "weight",
}


def counter(values: list[Any], labels: np.ndarray, training: np.ndarray) -> dict[Any, tuple[int, int, int]]:
    """Rows, clicks and training rows of each value, counted one by one."""
    found = [Counter[Any]() for _ in COUNTS]
    for value, label, train in zip(values, labels, training, strict=True):
        for each in value if isinstance(value, list) else [value]:
            if each is not None:
                for count, one in zip(found, (1, int(label), int(train)), strict=True):
                    count[each] += one
    return {value: tuple(count[value] for count in found) for value in found[0]}  # type: ignore[misc]


def as_dict(counted: Counted) -> dict[Any, tuple[int, ...]]:
    return dict(zip(counted.values.to_pylist(), map(tuple, counted.counts_NK.tolist()), strict=True))


@pytest.mark.parametrize("by_dictionary", [False, True])
@given(values=st.one_of(TOKENS, NUMBERS, LISTS), seed=st.integers(0, 9))
def test_values_of_rows_are_counted(by_dictionary: bool, values: list[Any], seed: int) -> None:
    first = next((value for value in values if value is not None), "")
    kind = {str: pa.string(), float: pa.float64(), list: pa.list_(pa.string())}[type(first)]
    column = pa.array(values, kind)
    if by_dictionary:
        column = dictionary.dictionary_encode(column)
    labels, training = np.random.default_rng(seed).integers(0, 2, (2, len(values)))
    found = count_values(column, kinds(labels.astype(np.int8), training.astype(bool)))
    assert as_dict(merged([found])) == counter(values, labels, training)


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3)), min_size=1, max_size=20), st.integers(1, 6)
)
def test_merged_counts_are_those_of_all_parts(rows: list[tuple[str, int]], size: int) -> None:
    parts = []
    for start in range(0, len(rows), size):
        some = Counter[str]()
        for token, number in rows[start : start + size]:
            some[token] += number
        numbers = np.array([[n, 0, 2 * n] for n in some.values()], dtype=np.int64)
        parts.append(Counted(pa.array(list(some), pa.string()), numbers))
    expected = Counter[str]()
    for token, number in rows:
        expected[token] += number
    assert as_dict(merged(parts)) == {token: (n, 0, 2 * n) for token, n in expected.items()}


@pytest.mark.parametrize("rows", [200, 300, 40_000])
def test_counts_larger_than_one_and_two_bytes(rows: int) -> None:
    part = count_values(pa.array(["a"] * rows + ["b"]), np.full(rows + 1, 3))
    assert as_dict(merged([part, part])) == {"a": (2 * rows,) * 3, "b": (2,) * 3}


def text(rows: int) -> str:
    rng, lines = np.random.default_rng(0), ["click,user,age,tags,w"]
    for row in range(rows):
        user, age = (
            f"u{rng.zipf(1.5) % 50}" if row % 9 else "",
            rng.choice(["", "0", "-0.0", "3", "3.0", "7"]),
        )
        lines.append(f"{row % 3 // 2},{user},{age},{'|'.join(rng.choice(list('xyz'), row % 3))},{row % 4}")
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("most_bytes", [count_writer.MOST_BYTES, 1000, 500])
def test_counts_of_ingested_rows_are_those_of_their_files(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most_bytes: int
) -> None:
    spilled: list[int] = []
    merge = count_writer.merged_files
    monkeypatch.setattr(
        count_writer, "merged_files", lambda files, *rest: spilled.append(len(files)) or merge(files, *rest)
    )
    monkeypatch.setattr(count_writer, "MOST_BYTES", most_bytes)
    monkeypatch.setattr(blocks.read_blocks, "__defaults__", (700,))
    path = ingest(data_config(write("a.csv", text(900)), COLUMNS), tmp_path / "store")
    assert bool(spilled) == (most_bytes <= 1000)
    manifest, base = IngestedManifest.load(path)
    splits = {split: pa.concat_tables(map(pq.read_table, manifest.paths(base, split))) for split in SPLITS}
    rows = pa.concat_tables(splits.values())
    training = np.arange(len(rows)) < len(splits["train"])
    every = field_counts(manifest, base)
    assert list(every) == ["user", "age", "tags", "weight"]
    for name, found in every.items():
        expected = counter(rows[name].to_pylist(), rows["label"].to_numpy(), training)
        read = pa.Table.from_batches(found.where("count", 1, ["value", *COUNTS])).to_pylist()
        assert {row["value"]: tuple(row[name] for name in COUNTS) for row in read} == expected
        assert len(read) == len(expected)
        if name in ("age", "weight"):
            assert [row["value"] for row in read] == sorted(expected)
        assert found.total("train") == sum(count for _, _, count in expected.values())
    assert [path.name for path in base.iterdir() if path.name.startswith(".")] == []


FILE = st.dictionaries(
    st.integers(0, 3),
    st.dictionaries(st.text("ab", max_size=2), st.integers(1, 5), min_size=1),
    min_size=1,
)


@pytest.mark.parametrize("by_duckdb", [False, True])
@settings(max_examples=25)
@given(files=st.lists(FILE, min_size=1, max_size=4))
def test_files_of_counts_are_merged_field_by_field(
    by_duckdb: bool, files: list[dict[int, dict[str, int]]]
) -> None:
    expected: dict[int, Counter[str]] = {}
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        paths = [Path(folder) / f"{i}.parquet" for i in range(len(files))]
        for path, fields in zip(paths, files, strict=True):
            with counts_writer(path, "tokens") as (write, _):
                for number, values in sorted(fields.items()):
                    expected.setdefault(number, Counter()).update(values)
                    counts_NK = np.array([[n, 0, 2 * n] for n in values.values()])
                    write(table_of(number, Counted(pa.array(list(values), pa.string()), counts_NK)))
        if by_duckdb:
            patch.setattr(count_writer, "MOST_BYTES", 0)
        tables = list(count_writer.merged_files(paths, "tokens", Path(folder)))
    rows = [row for table in tables for row in table.to_pylist()]
    assert [row["field"] for row in rows] == sorted(row["field"] for row in rows)
    found = {(row["field"], row["value"]): tuple(row[name] for name in COUNTS) for row in rows}
    assert len(found) == len(rows)
    assert found == {
        (number, value): (n, 0, 2 * n) for number, values in expected.items() for value, n in values.items()
    }


def test_spilled_counts_give_the_same_data_set(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = data_config(write("a.csv", text(900)), COLUMNS)
    monkeypatch.setattr(blocks.read_blocks, "__defaults__", (700,))
    made = []
    for most_bytes in (count_writer.MOST_BYTES, 500):
        monkeypatch.setattr(count_writer, "MOST_BYTES", most_bytes)
        store = tmp_path / str(most_bytes)
        clean = ingest(config, store)
        encoded = build_vocabulary(clean, VocabularyConfig(min_count=3), store)
        files = [clean.parent / "profile.json", *(p for p in encoded.parent.rglob("*") if p.is_file())]
        made.append({p.name: p.read_bytes() for p in files if p.name != "manifest.json"})
    assert made[0] == made[1]


ROWS = st.lists(
    st.tuples(st.sampled_from("abcdefg"), st.integers(1, 9)), max_size=60, unique_by=lambda r: r[0]
)


@given(rows=ROWS, size=st.integers(1, 4), start=st.integers(0, 3), least=st.integers(1, 10))
def test_frequent_values_are_found_without_reading_the_others(
    rows: list[tuple[str, int]], size: int, start: int, least: int
) -> None:
    columns = {"value": [v for v, _ in rows], **{name: [n for _, n in rows] for name in COUNTS}}
    table = pa.table(columns, pa.schema([("value", pa.string()), *((name, pa.int64()) for name in COUNTS)]))
    read_values: set[int] = set()

    def read(span: range, columns: list[str]) -> Iterator[pa.RecordBatch]:
        if "value" in columns:
            read_values.update(place - start for place in span)
        for place in range(span.start, span.stop, size):
            some = table.slice(place - start, min(size, span.stop - place)).select(columns)
            yield from some.combine_chunks().to_batches()

    found = FieldCounts(read, range(start, start + len(rows)))
    often = [row for batch in found.training(least) for row in batch.to_pylist()]
    assert often == [{"value": value, "count": number} for value, number in rows if number >= least]
    near = [number >= least or least == 1 for _, number in rows]
    assert read_values == {
        place for place in range(len(rows)) if any(near[place // size * size : place // size * size + size])
    }
    assert found.total("count") == sum(number for _, number in rows)


@pytest.mark.parametrize("counts", ["none", "several"])
def test_rows_without_complete_counts_must_be_ingested_again(
    write: Write, tmp_path: Path, counts: str
) -> None:
    path = ingest(data_config(write("a.csv", text(200)), COLUMNS), tmp_path / "store")
    manifest, base = IngestedManifest.load(path)
    assert manifest.counts is not None
    twice = {kind: 2 * parts for kind, parts in manifest.counts.items()}
    old = manifest.model_copy(update={"counts": None if counts == "none" else twice})
    with pytest.raises(DataError, match="older ctrloom without complete counts; ingest the rows again"):
        field_counts(old, base)


@given(st.lists(st.integers(1, 2**40), min_size=1, max_size=30))
def test_the_most_frequent_tokens_come_first(counts: list[int]) -> None:
    tokens = [f"t{i}" for i in range(len(counts))]
    whole = Counted(pa.array(tokens), np.array([[count, 0, 1] for count in counts]))
    table = table_of(7, whole)
    powers = [count.bit_length() for count in table["count"].to_pylist()]
    assert powers == sorted(powers, reverse=True)
    assert dict(zip(table["value"].to_pylist(), table["count"].to_pylist(), strict=True)) == dict(
        zip(tokens, counts, strict=True)
    )
    assert set(table["field"].to_pylist()) == {7}
