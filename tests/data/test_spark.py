"""Spark in local mode writes the same bytes as the embedded engine."""

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from data_helpers import data_config

from ctrloom.config import VocabularyConfig
from ctrloom.config.engine import EngineConfig
from ctrloom.config.growth import GrowthConfig
from ctrloom.data.dataset import Dataset
from ctrloom.data.engines import EMBEDDED
from ctrloom.data.errors import DataError
from ctrloom.data.ingest.run import ingest
from ctrloom.data.parquet import writer
from ctrloom.data.vocabulary import crosses
from ctrloom.data.vocabulary.build import build_vocabulary
from ctrloom.data.vocabulary.growth import grow_vocabulary

pytest.importorskip("pyspark", reason="PySpark is not installed; `make test-spark` installs it")
if not shutil.which("java"):
    pytest.skip("there is no Java, which Spark needs", allow_module_level=True)

SPARK = EngineConfig.parse(
    {
        "engine": "spark",
        "spark": {
            "master": "local[2]",
            "driver": {
                "memory": "1g",
                "host": "127.0.0.1",
                "bindAddress": "127.0.0.1",
                "extraJavaOptions": "-XX:TieredStopAtLevel=1",
            },
            "sql.shuffle.partitions": 2,
        },
    },
    "test",
)
COLUMNS = {
    "click": "label",
    "a/b": "categorical",
    "ad": "categorical",
    "n": "numeric",
    "kept": "numeric",
    "void": "numeric",
    "tags": "multivalued",
    "w": "weight",
    "t": {"kind": "timestamp", "derive": ["hour"]},
}
VOCABULARY = {
    "min_count": 2,
    "fields": {
        "kept": {"bucketing": {"method": "keep"}},
        "n": {"bucketing": {"method": "rows_per_bucket", "rows": 7}},
    },
    "crosses": {"pairs": [["a/b", "ad"], ["ad", "n"]], "min_count": 2},
}
# Tokens with equal counts, ordered by UTF-8, unlike UTF-16: U+FFFD comes before U+1D11E.
VALUES = [
    "",
    "a",
    "A",
    "é",
    "e\u0301",
    "\ufffd",
    "\U0001d11e",
    "日本",
    "a b",
    "a\tb",
    "10",
    "9",
    "null",
    "NaN",
]
NUMBERS = ["", "0", "-0.0", "1e300", "-1e-300", "0.1", "0.30000000000000004", "3", "5e-324", "123456789.125"]


def rows_of(rng: np.random.Generator, rows: int, more: bool) -> str:
    lines = ["click,a/b,ad,n,kept,void,tags,w,t"]
    for row in range(rows):
        values = [
            VALUES[row % len(VALUES)],
            f"new {row % 5}" if more and row % 3 == 0 else f"ad {rng.zipf(2)}",
        ]
        numbers = [NUMBERS[rng.integers(len(NUMBERS))], f"{rng.normal():.4f}" if row % 7 else ""]
        tags = "|".join(rng.choice(VALUES[:8], rng.integers(4)))
        lines.append(
            ",".join([str(row % 3 // 2), *values, *numbers, "", tags, f"{rng.random():.3f}", str(row * 60)])
        )
    return "\n".join(lines) + "\n"


@dataclass
class Store:
    """The output of one engine."""

    folder: Path
    clean: Any
    encoded: Any

    def files(self) -> dict[str, Any]:
        """Content of every file; of manifests without their folder."""
        found: dict[str, Any] = {}
        for path in sorted(self.folder.rglob("*")):
            if path.name == "manifest.json":
                found[str(path.relative_to(self.folder))] = {**json.loads(path.read_text()), "base": None}
            elif path.is_file():
                found[str(path.relative_to(self.folder))] = path.read_bytes()
        return found


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rng = tmp_path_factory.mktemp("raw"), np.random.default_rng(0)
    for name, rows in (("train", 420), ("valid", 90), ("test", 60), ("later", 200)):
        (folder / f"{name}.csv").write_text(rows_of(rng, rows, more=name != "train"), encoding="utf-8")
    return folder


def make(raw: Path, folder: Path, engine: EngineConfig) -> Store:
    files = {split: [str(raw / f"{split}.csv")] for split in ("train", "valid", "test")}
    clean = ingest(data_config(files, COLUMNS), folder, engine)
    encoded = build_vocabulary(clean, VocabularyConfig.parse(VOCABULARY, "test"), folder, engine)
    return Store(folder, clean, encoded)


@pytest.fixture(scope="module")
def stores(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, Store]]:
    from pyspark.sql import SparkSession

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(writer, "GROUP_ROWS", 64)
        patched.setattr(writer, "PART_ROWS", 128)
        patched.setattr(crosses, "GROUP_ROWS", 16)
        embedded = make(raw, tmp_path_factory.mktemp("embedded"), EMBEDDED)
        yield embedded, make(raw, tmp_path_factory.mktemp("spark"), SPARK)
    SparkSession.builder.getOrCreate().stop()


def test_every_file_is_the_same_byte_for_byte(stores):
    embedded, spark = (store.files() for store in stores)
    assert list(embedded) == list(spark)
    assert [name for name in embedded if embedded[name] != spark[name]] == []
    names = {Path(name).name for name in embedded}
    assert {"profile.json", "reference.json", "schema.json", "a%2Fb__ad.parquet", "tags.parquet"} <= names


def test_the_fixture_has_edge_cases_of_engines(stores, raw):
    spark = stores[1]
    base = spark.encoded.parent
    schema = Dataset.open(spark.encoded).schema
    assert len(list((spark.clean.parent / "train").iterdir())) == 3  # shards
    assert pq.read_metadata(base / "crosses" / "a%2Fb__ad.parquet").num_row_groups > 1
    counts = Counter(line.split(",")[1] for line in (raw / "train.csv").read_text().splitlines()[1:])
    del counts[""]
    expected = sorted(counts.items(), key=lambda each: (-each[1], each[0].encode()))
    table = pq.read_table(base / "vocabulary" / "a%2Fb.parquet")
    assert list(zip(table["token"].to_pylist(), table["count"].to_pylist(), strict=True)) == expected
    assert len(set(counts.values())) == 1  # all equal
    ad = Counter(line.split(",")[2] for line in (raw / "train.csv").read_text().splitlines()[1:])
    assert schema.fields[1].size - 2 == sum(count >= 2 for count in ad.values()) < len(ad)  # some are rare
    profile = json.loads((spark.clean.parent / "profile.json").read_text())
    assert profile["fields"]["n"]["min"] == -1e-300
    assert profile["fields"]["n"]["max"] == 1e300
    assert profile["fields"]["n"]["missing"] > 0


def test_crosses_of_tokens_are_the_same(stores, tmp_path):
    settings = {**VOCABULARY, "crosses": {**VOCABULARY["crosses"], "min_count": 1, "counted": "tokens"}}
    config, made = VocabularyConfig.parse(settings, "test"), []
    for engine in (EMBEDDED, SPARK):
        folder = tmp_path / engine.engine
        encoded = build_vocabulary(stores[0].clean, config, folder, engine)
        made.append(Store(folder, stores[0].clean, encoded))
    assert made[0].files() == made[1].files()
    assert Dataset.open(made[1].encoded).schema.fields[1].rare > 0


@pytest.mark.parametrize("part", ["train/part-00001.parquet", "valid/part-00000.parquet"])
def test_a_read_error_of_an_executor_is_one_message_and_leaves_no_files(stores, tmp_path, part):
    copied = shutil.copytree(stores[1].clean.parent, tmp_path / "damaged")
    manifest = json.loads((copied / "manifest.json").read_text())
    (copied / "manifest.json").write_text(json.dumps({**manifest, "base": str(copied)}))
    (copied / part).write_bytes((copied / part).read_bytes()[:-100])
    with pytest.raises(DataError, match=rf"^\S+{part}: cannot be read: Parquet magic bytes"):
        build_vocabulary(copied, VocabularyConfig(), tmp_path / "store", SPARK)
    assert not list(tmp_path.glob("store/*"))


@pytest.mark.slow
def test_vocabularies_grow_the_same(stores, raw, tmp_path):
    first = Dataset.open(stores[0].encoded)
    files = {"train": [str(raw / "later.csv")], "valid": [str(raw / "valid.csv")]}
    made = []
    for engine in (EMBEDDED, SPARK):
        folder = tmp_path / engine.engine
        later = ingest(data_config(files, COLUMNS, split={"test": 0.2}), folder)
        grown = grow_vocabulary(later, first.directory, GrowthConfig(), folder, first.crosses(), engine)
        made.append(Store(folder, later, grown).files())
    assert made[0] == made[1]
