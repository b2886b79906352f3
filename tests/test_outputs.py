"""What a command writes replaces no input and no device, and is whole or absent."""

import gzip
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from small import LITTLE
from typer.testing import CliRunner

from ctrloom import storage
from ctrloom.architecture import Architecture
from ctrloom.cli import app
from ctrloom.config import ModelsConfig
from ctrloom.config.base import ConfigError
from ctrloom.data.dataset import Dataset
from ctrloom.serving.predict import predict
from ctrloom.storage import StorageError
from ctrloom.training.plans import Plan, train_runs
from ctrloom.training.runs import open_runs


@pytest.fixture(scope="module")
def bundle(mixed: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("outputs")
    plan = Plan("lr", "LR", "baseline", "lr", (Architecture.complete(mixed.schema.names, (2,)),))
    train_runs(mixed, [plan], ModelsConfig({"default": LITTLE.model_dump()}), [0], folder / "runs")
    open_runs(folder / "runs")[0].export(mixed, folder / "bundle")
    return folder / "bundle"


@pytest.fixture
def raw(mixed_folder: Path, tmp_path: Path) -> Path:
    lines = (mixed_folder / "test.csv").read_text().splitlines()
    lines[5] = "1,2"
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "new.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "in" / "new.csv"


def symlink(raw: Path) -> Path:
    (link := raw.with_name("link.parquet")).symlink_to(raw)
    return link


def hard_link(raw: Path) -> Path:
    (link := raw.with_name("hard.parquet")).hardlink_to(raw)
    return link


@pytest.mark.parametrize(
    "output",
    [lambda raw: raw, lambda raw: raw.parent / ".." / "in" / raw.name, symlink, hard_link],
    ids=["same", "other spelling", "symbolic link", "hard link"],
)
def test_output_over_input_is_rejected(bundle: Path, raw: Path, output: Callable[[Path], Path]) -> None:
    given = output(raw)
    before = {path: path.read_bytes() for path in raw.parent.iterdir()}
    with pytest.raises(StorageError, match=f"^{given}: is also the input .*write to another place"):
        predict(bundle, [str(raw)], given)
    assert {path: path.read_bytes() for path in raw.parent.iterdir()} == before
    with pytest.raises(StorageError, match="is also the input"):
        predict(bundle, [f"{raw.parent}/*.csv"], raw)


def test_output_inside_the_bundle_is_rejected(bundle: Path, raw: Path) -> None:
    with pytest.raises(StorageError, match=r"scores\.parquet: would change the input"):
        predict(bundle, [str(raw)], bundle / "scores.parquet")


def test_report_over_input_is_rejected_before_scoring(bundle: Path, raw: Path, tmp_path: Path) -> None:
    where = ["--bundle", str(bundle), "--input", str(raw), "--output", str(tmp_path / "p.csv")]
    for report in (raw, tmp_path / "p.csv"):
        done = CliRunner().invoke(app, ["predict", *where, "--report", str(report)])
        assert "is also the input" in str(done.exception)
    assert not (tmp_path / "p.csv").exists()


def test_an_input_in_the_output_folder_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "out" / "data").mkdir(parents=True)
    (tmp_path / "out" / "data" / "x.csv").touch()
    with pytest.raises(StorageError, match="would change the input"):
        storage.require_apart(tmp_path / "out", [tmp_path / "out" / "data" / "x.csv"])
    storage.require_apart(tmp_path / "out" / "other", [tmp_path / "out" / "data" / "x.csv", "s3://b/out"])
    storage.require_apart(tmp_path / "outs", [tmp_path / "out"])


def expected(bundle: Path, raw: Path, tmp_path: Path) -> pd.DataFrame:
    predict(bundle, [str(raw)], tmp_path / "p.parquet")
    return pq.read_table(tmp_path / "p.parquet").to_pandas()


def check(path: Path, table: pd.DataFrame) -> None:
    found = pd.read_csv(path, dtype={"probability": np.float32})
    pd.testing.assert_frame_equal(found, table, check_dtype=False, check_exact=True)


@pytest.mark.parametrize("name", ["p.csv", "p.csv.gz", "P.CSV"])
def test_csv_has_the_rows_of_parquet(bundle: Path, raw: Path, tmp_path: Path, name: str) -> None:
    table = expected(bundle, raw, tmp_path)
    assert table["malformed"].notna().sum() == 1
    predict(bundle, [str(raw)], tmp_path / name)
    if name.endswith(".gz"):
        with gzip.open(tmp_path / name) as stream:
            assert stream.readline() == b'"row","probability","malformed"\n'
    check(tmp_path / name, table)


@pytest.mark.parametrize("name", ["p.txt", "p", "p.json", "p.csv.zst", "csv"])
def test_other_names_are_rejected_before_anything_is_read(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"must end with \.parquet, \.csv, \.csv\.gz"):
        predict(tmp_path / "none", [], tmp_path / name)


@pytest.mark.parametrize("name", ["fifo", "fifo.parquet"])
def test_a_fifo_is_written_to_and_stays(bundle: Path, raw: Path, tmp_path: Path, name: str) -> None:
    table = expected(bundle, raw, tmp_path)
    os.mkfifo(tmp_path / name)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / name).read_bytes()))
    reader.start()
    predict(bundle, [str(raw)], tmp_path / name)
    reader.join()
    assert stat.S_ISFIFO((tmp_path / name).stat().st_mode)
    (tmp_path / "copy").write_bytes(read[0])
    if name == "fifo":
        check(tmp_path / "copy", table)
    else:
        pd.testing.assert_frame_equal(pq.read_table(tmp_path / "copy").to_pandas(), table)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_device_is_an_error_and_stays(bundle: Path, raw: Path, tmp_path: Path) -> None:
    (link := tmp_path / "p.csv").symlink_to("/dev/full")
    before = os.stat("/dev/full")
    for output in (Path("/dev/full"), link):
        with pytest.raises(StorageError, match=f"{output}: cannot be written: No space left on device$"):
            predict(bundle, [str(raw)], output)
    after = os.stat("/dev/full")
    assert (before.st_mode, before.st_ino) == (after.st_mode, after.st_ino)
    assert link.is_symlink()


def test_standard_output_is_not_replaced(bundle: Path, raw: Path, tmp_path: Path) -> None:
    table = expected(bundle, raw, tmp_path)
    code = "import sys; from ctrloom.cli import main; main()"
    where = ["--bundle", bundle, "--input", raw, "--output", "/dev/stdout"]
    with open(tmp_path / "redirected", "wb") as stream:
        done = subprocess.run(
            [sys.executable, "-c", code, "predict", *map(str, where)], stdout=stream, stderr=subprocess.PIPE
        )
    assert done.returncode == 0, done.stderr.decode()
    assert b"300 rows" in done.stderr
    assert Path("/dev/stdout").is_symlink()
    check(tmp_path / "redirected", table)


def test_a_link_to_a_file_is_followed(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (link := tmp_path / "link.json").symlink_to(tmp_path / "disk" / "x.json")
    storage.write_json(link, 1)
    storage.write_json(link, 2)
    assert link.is_symlink()
    assert (tmp_path / "disk" / "x.json").read_text() == "2\n"
    assert os.listdir(tmp_path / "disk") == ["x.json"]
    with pytest.raises(StorageError, match="Is a directory"):
        storage.write_json(tmp_path / "disk", 3)
