"""Every preset, from fixtures in the original format to ids computed by hand.

The fixtures are small: if the original is a single file, all rows are training, validation and test rows, so
that counts do not depend on the split.
"""

import bz2
import gzip
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from test_recipes import without_checksums

from ctrloom.config import Split
from ctrloom.config.files import load_run_config
from ctrloom.data.dataset import Dataset
from ctrloom.data.ingest.run import ingest
from ctrloom.data.recipes import get
from ctrloom.data.vocabulary.build import build_vocabulary

ROOT = Path(__file__).parents[2]
PRESETS = sorted((ROOT / "configs" / "datasets").glob("*.yaml"))
FIXTURES = ROOT / "tests" / "fixtures"
Build = Callable[..., Dataset]


def another(path: Path, folder: Path, number: int) -> Path:
    """A file with the same rows; ingest rejects equal files, so it has other metadata or more empty lines."""
    copy = Path(shutil.copy(path, folder / f"{number}-{path.name}"))
    if path.suffix == ".parquet":
        pq.write_table(pq.read_table(path).replace_schema_metadata({"number": str(number)}), copy)
        return copy
    more = b"\n" * number
    with open(copy, "ab") as stream:
        stream.write(gzip.compress(more) if path.suffix == ".gz" else more)
    return copy


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """Encodes files with a preset; a single file is used for all three splits."""

    def encoded(preset: str, *files: Path, pairs: str = "all") -> Dataset:
        if len(files) == 1:
            files = tuple(another(files[0], tmp_path, number) for number in range(3))
        named = dict(zip(("train", "valid", "test"), map(str, files), strict=True))
        settings = [("data.files", yaml.safe_dump(named))]
        settings += [("vocabulary.crosses.pairs", pairs)] if pairs != "all" else []  # a few pairs are faster
        config = load_run_config(ROOT / f"configs/datasets/{preset}.yaml", settings)
        ingested = ingest(config.data, tmp_path / "store")
        return Dataset.open(build_vocabulary(ingested, config.vocabulary, tmp_path / "store"))

    return encoded


def column(dataset: Dataset, name: str, split: Split = "train") -> list[Any]:
    """Ids (or scaled numbers) of a field, counted from 0 within it; or the labels."""
    tables = [pq.read_table(path, columns=[name]) for path in dataset.manifest.paths(dataset.base, split)]
    values: list[Any] = pa.concat_tables(tables)[name].to_pylist()
    return values


def words(dataset: Dataset, field: str) -> list[str]:
    """Tokens of a field in id order, from id 2 on."""
    return dataset.encoder().vocabularies[field].tokens.to_pylist()


def sizes(dataset: Dataset) -> dict[str, int]:
    return {field.name: field.size for field in dataset.schema.fields}


def prepared(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, to: Path) -> list[Path]:
    without_checksums(monkeypatch, name)
    return get(name, to, folder, say=lambda line: None)


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_a_preset_is_valid_and_has_a_description(path: Path) -> None:
    run = load_run_config(path)
    text = path.read_text()
    assert run.name == path.stem
    assert run.expected is not None
    assert run.expected.source
    for key in ("# What: ", "# Data: ", "# Command: "):
        assert key in text
    assert f"`{path.stem}`" in (ROOT / "docs/datasets.md").read_text()


def test_criteo_with_log_squared_numbers(build: Build) -> None:
    data = build("criteo-kaggle", FIXTURES / "criteo-kaggle/train.txt")
    assert len(data.schema.fields) == 39
    assert column(data, "label") == [1, 0, 0, 0] * 11
    assert [field.kind for field in data.schema.fields] == ["numeric"] * 13 + ["categorical"] * 26
    assert column(data, "I1")[:8] == [None, 0, 2, 2] * 2  # of 0, 5 (floor(ln(5)^2) is 2) and 2
    # -1, 1382 and 9: ln(1382)^2 is 52.3
    assert [column(data, "I2")[i] for i in (0, 11, 12, 39, 40)] == [-1, -1, 52, 52, 4]
    assert set(column(data, "I12")) == {None}
    rows = data.rows("train")
    assert rows.factors_NC is not None
    assert rows.factors_NC[:4, 0].tolist() == [0, 0, 2, 2]  # a missing number is 0
    assert words(data, "C1") == ["68fd0001", "05db0002"]
    assert column(data, "C1") == [2] * 30 + [3] * 11 + [1] * 3
    assert column(data, "C2")[:4] == [2, 1, 0, 0]  # 11 rows are kept, 10 are not
    assert sizes(data)["C22"] == 2
    assert data.rows("train").ids_NC.shape == (44, 39)


def test_criteo_of_autopi_has_the_ids_of_autoint(build: Build) -> None:
    file = FIXTURES / "criteo-kaggle/train.txt"
    one, other = (build(preset, file) for preset in ("criteo-kaggle", "criteo-kaggle-autopi"))
    assert (sizes(one), column(one, "I1")) == (sizes(other), column(other, "I1"))


def test_criteo_with_numbers_kept_and_crosses(build: Build) -> None:
    data = build("criteo-kaggle-minmax", FIXTURES / "criteo-kaggle/train.txt", pairs="[[C1, C2], [C1, C3]]")
    assert [field.kind for field in data.schema.fields] == ["numeric"] * 13 + ["categorical"] * 26
    assert column(data, "I1")[:4] == [None, 0.0, 1.0, pytest.approx(0.4)]  # of 0 to 5
    assert column(data, "I2")[0] == 0.0
    assert column(data, "I2")[43] == pytest.approx(10 / 1383)  # 9 of -1 to 1382
    assert words(data, "C1") == ["68fd0001"]  # 20 rows are needed
    assert column(data, "C1") == [2] * 30 + [1] * 14
    rows = data.rows("train")
    assert rows.factors_NC is not None
    assert rows.factors_NC[:3, 0].tolist() == [0.0, 0.0, 1.0]  # a missing number is 0
    # The frequent token of C1 comes 30 times with that of C3, and never 20 times with one value of C2.
    assert [(cross.fields, cross.size) for cross in data.schema.crosses] == [
        (("C1", "C2"), 1),
        (("C1", "C3"), 2),
    ]


def test_criteo_terabyte_is_balanced_day_by_day(build: Build, tmp_path: Path) -> None:
    days = []
    for day in ("day_12", "day_11", "day_13"):
        days.append(tmp_path / f"{day}.gz")
        days[-1].write_bytes(gzip.compress((FIXTURES / "criteo-terabyte" / day).read_bytes()))
    data = build("criteo-terabyte", *days)
    # 24 clicks and 48 others, of which half are kept; 6 and 18; 3 and 27
    assert data.schema.negatives_kept == 0.5
    for split, clicks, rows in (("train", 24, 72), ("valid", 6, 24), ("test", 3, 30)):
        labels = column(data, "label", split)  # type: ignore[arg-type]
        assert sum(labels) == clicks
        assert clicks < len(labels) < rows
    assert [i for i, c in zip(column(data, "C1"), column(data, "label"), strict=True) if c] == [2] * 24
    assert {i for i, c in zip(column(data, "C1"), column(data, "label"), strict=True) if not c} == {0}
    assert set(column(data, "I5")) == {0}
    # Values come once or twice: a bucket ends with 41 or 42 rows, and the next one has fewer than 20.
    assert len(words(data, "I1")) == 1
    assert column(data, "I1").count(2) in (41, 42)
    assert set(column(data, "I1")) == {1, 2}
    assert len(data.schema.fields) == 39


AVAZU = FIXTURES / "avazu/train.csv"


def test_avazu(build: Build) -> None:
    data = build("avazu", AVAZU)
    assert data.schema.names[:4] == ("hour_hour", "hour_weekday", "hour_day", "C1")
    assert len(data.schema.fields) == 24
    assert column(data, "label") == [1, 0, 0, 0, 0, 0] * 8
    # 30 rows of Tuesday, 2014-10-21, midnight; those of Thursday the 30th are fewer than 20
    for field, token in (("hour_hour", "0"), ("hour_weekday", "1"), ("hour_day", "21")):
        assert words(data, field) == [token]
        assert column(data, field) == [2] * 30 + [1] * 18
    assert words(data, "device_model") == ["8a480008", "711e0007"]
    assert column(data, "device_id")[:10] == [2] * 9 + [1]
    assert sizes(data)["device_ip"] == sizes(data)["app_domain"] == 2
    assert words(data, "C20") == ["-1"]


def test_avazu_of_optinter_autoint_and_autopi(build: Build) -> None:
    data = build("avazu-optinter", AVAZU, pairs="[[hour_hour, app_domain]]")
    assert words(data, "hour_weekday") == ["1", "3"]
    assert words(data, "app_domain") == ["78010000", "78010001", "78010002", "78010003"]
    assert words(data, "device_conn_type") == ["0", "2"]  # 43 and exactly 5
    # Rows 0 to 29 at midnight and 30 to 47 at 23: four domains of 12 rows each, one of them at both hours.
    assert data.schema.crosses[0].size == 1 + 5

    data = build("avazu-autoint", AVAZU)
    assert len(data.schema.fields) == 23
    assert words(data, "hour") == ["14102100", "14103023"]
    assert sizes(data)["id"] == 2
    fields = data.schema.names

    data = build("avazu-autopi", AVAZU)
    assert set(data.schema.names) == {*fields} - {"hour"}
    assert words(data, "device_conn_type") == ["0", "2"]


def test_ipinyou_from_its_folders(build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "ipinyou.contest.dataset"
    shutil.copytree(FIXTURES / "ipinyou", folder)
    for log in folder.glob("*3rd/*.txt"):  # published as .bz2
        log.with_name(log.name + ".bz2").write_bytes(bz2.compress(log.read_bytes()))
        log.unlink()
    train, test = prepared("ipinyou", folder, monkeypatch, tmp_path / "to")
    data = build("ipinyou", train, another(train, tmp_path, 1), test)
    assert len(data.schema.fields) == 16
    # 13 impressions of season 2, then 11; the click on bid 3 belongs to the first of its two creatives
    assert [i for i, label in enumerate(column(data, "label")) if label] == [0, 3, 7, 14, 23]
    assert column(data, "label", "test") == [0, 1, 0, 1, 0, 0, 0]
    agents = ["android_safari", "windows_chrome", "windows_ie", "mac_safari", "other_other"]
    assert words(data, "os_browser") == agents  # 8, 7, 6, 2 and 1 rows
    assert [column(data, "os_browser")[i] for i in (0, 6, 9, 11, 12, 13, 21)] == [3, 4, 5, 6, 3, 2, 4]
    assert words(data, "slotprice") == ["[1, 11)", "[51, 101)", "[11, 51)", ">= 101", "< 1"]
    prices = column(data, "slotprice")[:12]  # of 0, 1, 10, 11, 50, 51, 100, 101, 300, 5, 60, 20
    assert prices == [6, 2, 2, 4, 4, 3, 3, 5, 5, 2, 3, 4]
    weekdays = words(data, "time_weekday")
    assert [weekdays[i - 2] for i in column(data, "time_weekday")[:7]] == ["3"] * 6 + ["4"]  # a Thursday
    assert column(data, "domain").count(0) == 3
    assert column(data, "ip", "test")[2] == 1
    assert column(data, "creative", "test")[5] == 1
    assert len(data.schema.crosses) == 120


def test_kdd2012_joined_with_its_users(build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (file,) = prepared("kdd2012-track2", FIXTURES / "kdd2012-track2", monkeypatch, tmp_path / "to")
    assert [path.name for path in (tmp_path / "to").iterdir()] == ["training.parquet"]
    data = build("kdd2012-track2", file)
    assert len(data.schema.fields) == 13
    assert [i for i, label in enumerate(column(data, "label")) if label] == [0, 4, 6, 12, 18, 24, 30]
    assert column(data, "impression") == [1] * 32 + [13] * 4  # of 1 or 3, and of 40
    assert words(data, "display_url") == ["4298118681424644510"]
    assert words(data, "user_id") == ["490234", "7777777"]  # 12 rows each
    assert column(data, "user_id")[:10] == [0, 2, 3, 1, 2, 3, 1, 2, 3, 0]  # user 0 is unknown
    assert words(data, "gender") == ["1", "2", "0"]
    assert column(data, "gender")[:10] == [0, 2, 0, 3, 2, 0, 4, 2, 0, 0]  # 7777777 has no profile
    assert words(data, "age") == ["3", "4", "1", "5"]
    assert column(data, "age")[12] == 3


def test_movielens_1m_joined(build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (file,) = prepared("movielens-1m", FIXTURES / "movielens-1m", monkeypatch, tmp_path / "to")
    data = build("movielens-1m", file)
    assert data.schema.names == (
        *("timestamp", "gender", "age", "occupation", "zip_code", "genres", "release_year"),
    )
    # Ratings 5, 3, 1, 4, 2, 3 repeated; ratings of 3 are dropped.
    assert column(data, "label") == [1, 0, 1, 0] * 5
    kept = [i for i in range(30) if i % 6 in (0, 2, 3, 4)]
    assert column(data, "timestamp") == pytest.approx([i / 28 for i in kept])
    assert column(data, "gender") == [3 if i % 5 in (0, 4) else 2 for i in kept]  # users 1 and 5 are women
    assert "55117-1234" in words(data, "zip_code")
    genres = words(data, "genres")
    assert [genres[i - 2] for i in column(data, "genres")[0]] == ["Animation", "Children's", "Comedy"]
    years = words(data, "release_year")
    films = ["[1995, 1996)", "[1950, 1960)", "[1983, 1984)", "[1960, 1970)", "[1993, 1994)"]
    assert [years[i - 2] for i in column(data, "release_year")[:5]] == films


def test_movielens_tag(build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = prepared("movielens-tag", FIXTURES / "movielens-tag", monkeypatch, tmp_path / "to")
    data = build("movielens-tag", *files)
    assert sizes(data) == {"user": 6, "item": 8, "tag": 8}
    assert column(data, "label") == [1, 0, 0] * 6
    assert words(data, "user") == ["0", "1", "2", "3"]  # 5, 5, 4 and 4 rows
    assert column(data, "user")[:5] == [2, 3, 4, 5, 2]
    assert column(data, "tag", "valid") == [5, 5, 5, 6, 6, 6]  # 40003 and 40004
    assert column(data, "tag", "test") == [1] * 6  # 40007 and 40008 are new


def test_frappe(build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = prepared("frappe", FIXTURES / "frappe", monkeypatch, tmp_path / "to")
    data = build("frappe", *files)
    assert len(data.schema.fields) == 10
    assert list(sizes(data).values()) == [6, 8, 3, 4, 3, 3, 3, 3, 3, 3]
    assert column(data, "weekday")[:2] == [2, 3]
    assert column(data, "label", "test") == [1, 0, 0] * 2
