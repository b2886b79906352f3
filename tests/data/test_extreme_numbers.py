"""Huge numbers and zero or extreme weights: a message or warning that names the column, and no overflow."""

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from data_helpers import Write, data_config

from ctrloom.config import Bucketing, EqualFrequency, EqualWidth, Keep, VocabularyConfig
from ctrloom.data.dataset import Dataset
from ctrloom.data.errors import DataError
from ctrloom.data.ingest.run import ingest
from ctrloom.data.vocabulary.bucketing import bucket_labels, codes, fit, scaled
from ctrloom.data.vocabulary.build import build_vocabulary

COLUMNS = {"click": "label", "user": "categorical", "price": "numeric"}
LARGEST = float(np.finfo(np.float64).max)


def made(
    write: Write, tmp_path: Path, prices: list[float], bucketing: dict[str, Any]
) -> tuple[dict[str, Any], Dataset]:
    """Rows with these prices: their profile, and the encoded data set."""
    lines = [f"{i % 2},u{i % 5},{price!r}\n" for i, price in enumerate(prices)]
    files = {"train": write("a.csv", "click,user,price\n" + "".join(lines))}
    config = data_config(files, COLUMNS, split={"valid": 0, "test": 0})
    ingested = Path(ingest(config, tmp_path / "store"))
    vocabulary = VocabularyConfig.parse({"bucketing": bucketing}, "test")
    profile = json.loads((ingested.parent / "profile.json").read_text())
    return profile["fields"]["price"], Dataset.open(
        build_vocabulary(ingested, vocabulary, tmp_path / "store")
    )


@pytest.mark.parametrize("cells", [[1e308, 1e308], [1e308, -1e308], [LARGEST] * 40, [LARGEST, -LARGEST]])
def test_sums_of_huge_cells_do_not_overflow(write: Write, tmp_path: Path, cells: list[float]) -> None:
    prices = [*cells, *(float(i) for i in range(20))]
    profile, _ = made(write, tmp_path, prices, {"method": "log_squared"})
    exact = Fraction(sum(map(int, prices)), len(prices))  # integers do not overflow
    assert profile["mean"] == pytest.approx(float(exact), rel=1e-12)
    assert (profile["min"], profile["max"]) == (min(prices), max(prices))


@pytest.mark.parametrize(
    ("bucketing", "advice"),
    [
        ({"method": "equal_width", "buckets": 10}, "one of 10 buckets of equal width; set method: equal_fr"),
        ({"method": "keep"}, "nearly the same after min-max scaling; set scaling: log"),
        ({"method": "keep", "scaling": "none"}, "numbers up to 1e+308 multiply the embedding"),
    ],
)
def test_one_extreme_cell_is_reported(
    write: Write, tmp_path: Path, capsys: Any, bucketing: dict[str, Any], advice: str
) -> None:
    usual = [float(i) for i in range(50)]
    made(write, tmp_path, usual, bucketing)
    assert "warning" not in capsys.readouterr().err
    made(write, tmp_path, [*usual, 1e308], bucketing)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert line.startswith("- warning: price: ")
    assert advice in line


@pytest.mark.parametrize(
    "bucketing", [{"method": "equal_frequency", "buckets": 10}, {"method": "log_squared"}]
)
def test_methods_that_bear_extreme_cells(
    write: Write, tmp_path: Path, capsys: Any, bucketing: dict[str, Any]
) -> None:
    _, dataset = made(write, tmp_path, [*(float(i) for i in range(50)), 1e308, -1e308], bucketing)
    assert "warning" not in capsys.readouterr().err
    ids = np.concatenate(
        [pq.read_table(path)["price"] for path in dataset.manifest.paths(dataset.base, "train")]
    )
    assert len(set(ids.tolist())) >= 10


def test_a_default_and_rare_values_are_usual(write: Write, tmp_path: Path, capsys: Any) -> None:
    made(
        write,
        tmp_path,
        [0.0] * 990 + [float(i) for i in range(1, 11)],
        {"method": "equal_width", "buckets": 5},
    )
    made(write, tmp_path, [0.0] * 500 + [1.0] * 500, {"method": "keep"})
    assert "warning" not in capsys.readouterr().err


@pytest.mark.parametrize(("low", "high"), [(-LARGEST, LARGEST), (-1e308, 1e308), (0.0, LARGEST)])
def test_a_range_beyond_the_largest_number(low: float, high: float) -> None:
    values = np.array([low, low / 2, 0.0, high / 2, high])
    counts = [(np.unique(values), np.ones(len(np.unique(values)), dtype=np.int64))]
    method: Bucketing = EqualWidth(buckets=4)
    boundaries = fit(method, counts, 5)
    share = [(int(value) - int(low)) / (int(high) - int(low)) for value in values.tolist()]
    assert codes(method, boundaries, values).tolist() == [min(int(s * 4), 3) for s in share]
    assert bucket_labels(method, boundaries, range(4))
    assert scaled(Keep(), fit(Keep(), counts, 5), values).tolist() == pytest.approx(share)


def test_rows_beyond_the_range_of_training() -> None:
    assert scaled(Keep(), (-1e308, 0.0), np.array([1e308, -LARGEST, -1e308])).tolist() == [1, 0, 0]
    assert len(fit(EqualFrequency(buckets=2), [(np.array([-LARGEST, LARGEST]), np.array([3, 3]))], 6)) == 1


def weighted(write: Write, tmp_path: Path, weights: dict[str, list[str]], labels: str = "0101") -> Path:
    """Ingests splits with these weights; labels repeat."""
    files = {
        split: write(
            f"{split}.csv",
            "click,user,w\n"
            + "".join(
                f"{labels[i % len(labels)]},{split}{i % 5},{weight}\n" for i, weight in enumerate(each)
            ),
        )
        for split, each in weights.items()
    }
    config = data_config(files, {"click": "label", "user": "categorical", "w": "weight"}, max_malformed=0.5)
    return Path(ingest(config, tmp_path / "store")).parent


ONES = ["1"] * 8


@pytest.mark.parametrize("split", ["train", "valid", "test"])
@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (["0"] * 8, "all 8 rows of the {split} split have weight 0"),
        (["1", "0"] * 4, "all 4 clicks of the {split} split have weight 0"),
        (["0", "1"] * 4, "all 4 rows without click of the {split} split have weight 0"),
        (["1e12", "1e-12"] * 4, "clicks of the {split} split have 4e-12 of its weight of 4e+12, too little"),
    ],
)
def test_a_label_without_weight_is_an_error(
    write: Write, tmp_path: Path, split: str, weights: list[str], message: str
) -> None:
    every = {"train": ONES, "valid": ONES, "test": ONES, split: weights}
    with pytest.raises(DataError) as error:
        weighted(write, tmp_path, every)
    assert str(error.value).startswith("data.columns.w: ")
    assert message.format(split=split) in str(error.value)
    assert not list((tmp_path / "store").glob("ingested-*"))


@pytest.mark.parametrize("weight", ["3e38", "1e13", "-1", "-1e-20", "1e-13", "nan", "inf", "", "x", "1e999"])
def test_a_weight_that_cannot_be_summed_is_malformed(write: Write, tmp_path: Path, weight: str) -> None:
    ingested = weighted(write, tmp_path, {"train": [*ONES, weight], "valid": ONES, "test": ONES})
    (row,) = pq.read_table(ingested / "quarantine.parquet").to_pylist()
    assert row["line"] == 10
    assert row["reason"].startswith("w is not a weight (0, or a number from 1e-12 to 1e+12)")


def test_extreme_weights_are_reported(write: Write, tmp_path: Path, capsys: Any) -> None:
    many = ["1"] * 200
    weighted(write, tmp_path, {"train": many, "valid": many, "test": ["0", *many]})
    assert "warning" not in capsys.readouterr().err
    weighted(write, tmp_path, {"train": ["1e-9"] * 200, "valid": [*many, "1e5"], "test": many})
    small, heavy = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert "w: the mean weight is 1e-09; penalties and minimum sums of trees" in small
    assert "w: one row has 100% of the weight of all 201 rows of the valid split" in heavy
