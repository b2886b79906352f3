from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from data_helpers import CLICKS, HEADER, Write, clicks, data_config

from ctrloom.config import SPLITS, VocabularyConfig
from ctrloom.config.base import ConfigError
from ctrloom.data.dataset import Dataset
from ctrloom.data.ingest.negatives import Thinning
from ctrloom.data.ingest.run import ingest
from ctrloom.data.manifest import IngestedManifest
from ctrloom.data.sources import blocks
from ctrloom.data.vocabulary.build import build_vocabulary

STRATIFIED = {"stratified": True}


def table(manifest: Path, split: str) -> pd.DataFrame:
    loaded, base = IngestedManifest.load(manifest)
    return pd.concat([pq.read_table(path).to_pandas() for path in loaded.paths(base, split)])  # type: ignore[arg-type]


def manifest_of(write: Write, tmp_path: Path, rows: int, **negatives: object) -> IngestedManifest:
    config = data_config(
        write("a.csv", HEADER + clicks(rows)), CLICKS, split=STRATIFIED, negatives=dict(negatives)
    )
    return IngestedManifest.load(ingest(config, tmp_path / "store"))[0]


def test_balanced_rows_are_half_clicks_in_every_split(write: Write, tmp_path: Path) -> None:
    loaded = manifest_of(write, tmp_path, 9000)  # 3,000 clicks and 6,000 others
    assert loaded.negatives_kept == dict.fromkeys(SPLITS, 0.5)
    assert sum(loaded.positives.values()) == 3000  # every click is kept
    assert sum(loaded.rows.values()) + loaded.thinned == 9000
    for split in SPLITS:
        negatives = loaded.rows[split] - loaded.positives[split]
        drawn = 2 * loaded.positives[split]
        assert abs(negatives - drawn / 2) < 4 * np.sqrt(drawn / 4)  # four standard deviations


def test_a_given_rate_applies_only_to_the_listed_splits(write: Write, tmp_path: Path) -> None:
    loaded = manifest_of(write, tmp_path, 3000, keep=0.1, splits=["train"])
    assert loaded.negatives_kept == {"train": 0.1}
    assert (loaded.rows["test"], loaded.positives["test"]) == (300, 100)
    assert abs(loaded.rows["train"] - loaded.positives["train"] - 160) < 4 * np.sqrt(1600 * 0.09)


def test_files_of_a_split_are_balanced_individually(write: Write, tmp_path: Path) -> None:
    rare = "".join(f"{int(i % 10 == 0)},u{i},{i % 50}\n" for i in range(2000))
    files = {"train": write("a.csv", HEADER + clicks(900)), "test": write("b.csv", HEADER + rare)}
    manifest = ingest(data_config(files, CLICKS, negatives={}), tmp_path / "store")
    loaded = IngestedManifest.load(manifest)[0]
    assert loaded.negatives_kept == {"train": 0.5, "valid": 0.5, "test": 200 / 1800}
    dataset = Dataset.open(build_vocabulary(manifest, VocabularyConfig(), tmp_path / "store"))
    assert dataset.schema.negatives_kept == 0.5


def test_sampling_does_not_depend_on_the_batch_size(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = data_config(write("a.csv", HEADER + clicks(2000)), CLICKS, negatives={"keep": 0.3, "seed": 5})
    whole = ingest(config, tmp_path / "whole")
    monkeypatch.setattr(blocks.read_blocks, "__defaults__", (500,))
    pieces = ingest(config, tmp_path / "pieces")
    other = ingest(
        data_config(config.files.train[0], CLICKS, negatives={"keep": 0.3, "seed": 6}), tmp_path / "whole"
    )
    assert other != whole
    for split in SPLITS:
        pd.testing.assert_frame_equal(table(whole, split), table(pieces, split))
    assert not table(whole, "train").equals(table(other, "train"))


def test_sampling_is_independent_of_the_random_split() -> None:
    labels, splits = np.zeros(100_000, np.int8), np.zeros(100_000, np.int64)
    stays = Thinning({"train": 0.5}, seed=0)(labels, splits)
    drawn = np.random.default_rng(0).random(100_000)  # the numbers of a random split with seed 0
    assert abs(np.corrcoef(stays, drawn)[0, 1]) < 0.02


def test_an_invalid_rate_is_refused(write: Write, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="keep"):
        manifest_of(write, tmp_path, 30, keep=0)
