"""Many files to many files: their union is one run, and what is finished is not scored again."""

import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from shutil import copytree
from threading import Thread

import numpy as np
import pandas as pd
import pyarrow.dataset as ds
import pytest
from small import mixed_csv
from typer.testing import CliRunner

import ctrloom
from ctrloom import storage
from ctrloom.cli import app
from ctrloom.config.base import ConfigError
from ctrloom.serving import predict as module
from ctrloom.serving.predict import Predicted, predict
from ctrloom.serving.prediction_folder import named
from ctrloom.storage import LockedError, StorageError

BAD = "1,u1,old,9.5,t1,1\n"


@pytest.fixture
def days(tmp_path: Path) -> Path:
    """Files of equal names in three folders, one of them with a malformed row."""
    rng = np.random.default_rng(7)
    for day, rows in enumerate((40, 25, 1), start=1):
        (folder := tmp_path / "raw" / f"day={day}").mkdir(parents=True)
        text = mixed_csv(rng, rows, unseen=True) + (BAD if day == 2 else "")
        (folder / "part-0.csv").write_text(text)
    return tmp_path / "raw"


def run(bundle: Path, days: Path, to: Path | str, *keep: str, format: str | None = None) -> Predicted:
    return predict(bundle, [f"{days}/day=*/*.csv"], f"{to}/", keep, format)


def written(done: Predicted) -> list[bool]:
    return [not file.skipped for file in done.files]


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


@pytest.mark.parametrize("format", ["parquet", "csv", "csv.gz"])
def test_the_union_of_many_files_is_one_run(fm_bundle: Path, days: Path, tmp_path: Path, format: str) -> None:
    one = predict(fm_bundle, [f"{days}/day=*/*.csv"], tmp_path / f"one.{format}", ["user", "age"])
    many = run(fm_bundle, days, tmp_path / "many", "user", "age", format=format)
    assert (many.rows, many.malformed, many.fields) == (one.rows, one.malformed, one.fields)
    read = pd.read_parquet if format == "parquet" else partial(pd.read_csv, dtype={"age": str})
    tables = [read(file.output) for file in many.files]
    assert [os.path.relpath(file.output, tmp_path / "many") for file in many.files] == [
        f"day={day}/part-0.{format}" for day in (1, 2, 3)
    ]
    assert [file.rows for file in many.files] == [len(table) for table in tables] == [40, 26, 1]
    assert [file.malformed for file in many.files] == [0, 1, 0]
    for table in tables:
        assert table["row"].to_list() == list(range(len(table)))  # counted from 0 in each
    union = pd.concat(tables, ignore_index=True)
    union["row"] = np.arange(len(union))
    pd.testing.assert_frame_equal(union, read(tmp_path / f"one.{format}"), check_exact=True)


def test_other_programs_read_the_folder_without_its_records(
    fm_bundle: Path, days: Path, tmp_path: Path
) -> None:
    run(fm_bundle, days, tmp_path / "out", "user")
    table = ds.dataset(tmp_path / "out", partitioning="hive").to_table()
    assert sorted(set(table["day"].to_pylist())) == [1, 2, 3]
    assert len(table) == 67
    assert table.schema.names == ["row", "probability", "malformed", "user", "day"]


def test_finished_files_are_skipped(
    fm_bundle: Path, days: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = run(fm_bundle, days, tmp_path / "out", "user")
    before = contents(tmp_path / "out")
    capsys.readouterr()
    again = run(fm_bundle, days, tmp_path / "out", "user")
    assert written(again) == [False, False, False]
    assert contents(tmp_path / "out") == before
    assert (again.rows, again.malformed, again.fields) == (first.rows, first.malformed, first.fields)
    told = capsys.readouterr().err
    assert "3 of 3 files were scored before, and are skipped" in told
    assert "1 of 67 rows are malformed, the first in" in told


def other_input(bundle: Path, days: Path, out: Path) -> tuple[Path, list[str]]:
    (days / "day=2" / "part-0.csv").write_text(mixed_csv(np.random.default_rng(8), 9))
    return bundle, ["user"]


def damaged_output(bundle: Path, days: Path, out: Path) -> tuple[Path, list[str]]:
    file = out / "day=2" / "part-0.parquet"
    content = bytearray(file.read_bytes())
    content[50] ^= 1
    file.write_bytes(content)
    return bundle, ["user"]


def lost_output(bundle: Path, days: Path, out: Path) -> tuple[Path, list[str]]:
    (out / "day=2" / "part-0.parquet").unlink()
    return bundle, ["user"]


def lost_record(bundle: Path, days: Path, out: Path) -> tuple[Path, list[str]]:
    (out / "_scores" / "day=2" / "part-0.parquet.json").unlink()
    return bundle, ["user"]


def damaged_record(bundle: Path, days: Path, out: Path) -> tuple[Path, list[str]]:
    file = out / "_scores" / "day=2" / "part-0.parquet.json"
    file.write_text(file.read_text().replace('"rows": 26', '"rows": 27'))
    return bundle, ["user"]


@pytest.mark.parametrize("change", [other_input, damaged_output, lost_output, lost_record, damaged_record])
def test_what_changed_is_scored_again(
    fm_bundle: Path, days: Path, tmp_path: Path, change: Callable[..., tuple[Path, list[str]]]
) -> None:
    run(fm_bundle, days, tmp_path / "out", "user")
    bundle, keep = change(fm_bundle, days, tmp_path / "out")
    assert written(run(bundle, days, tmp_path / "out", *keep)) == [False, True, False]
    run(bundle, days, tmp_path / "fresh", *keep)
    assert {name: content for name, (content, _) in contents(tmp_path / "out").items()} == {
        name: content for name, (content, _) in contents(tmp_path / "fresh").items()
    }


def test_another_bundle_or_other_columns_score_everything_again(
    fm_bundle: Path, days: Path, tmp_path: Path
) -> None:
    run(fm_bundle, days, tmp_path / "out", "user")
    copied = copytree(fm_bundle, tmp_path / "copy")
    assert written(run(copied, days, tmp_path / "out", "user")) == [False] * 3  # equal wherever it is
    assert written(run(fm_bundle, days, tmp_path / "out")) == [True] * 3
    (copied / "reference.json").unlink()
    card = storage.read_json(copied / "model.json")
    storage.write_json(
        copied / "model.json", {k: v for k, v in card.items() if k not in ("files", "checksum")}
    )
    assert written(run(copied, days, tmp_path / "out")) == [True] * 3


def test_a_stopped_run_resumes_after_its_finished_files(
    fm_bundle: Path, days: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, calls = module.encoded_logits, []

    def failing(*arguments: object) -> np.ndarray:
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return before(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(module, "encoded_logits", failing)
        with pytest.raises(KeyboardInterrupt):
            run(fm_bundle, days, tmp_path / "out")
    assert sorted(contents(tmp_path / "out")) == [
        "_scores/day=1/part-0.parquet.json",
        "day=1/part-0.parquet",
    ]
    assert written(run(fm_bundle, days, tmp_path / "out")) == [False, True, True]


def test_names_are_unique_and_do_not_depend_on_other_files(tmp_path: Path) -> None:
    places = ["x/a.csv", "x/a.tsv.gz", "x/b.txt", "y/a.csv", "y/c.d.csv.zst", "y/plain"]
    for place in places:
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).touch()

    def names(*patterns: str) -> list[str]:
        found = named([f"{tmp_path}/{pattern}" for pattern in patterns], "csv")
        return list(found.values())

    assert names("x/b.txt", "y/c.d.csv.zst", "y/plain") == ["b.csv", "c.d.csv", "plain.csv"]
    assert names("[xy]/a.csv") == ["x/a.csv", "y/a.csv"]
    assert names("y/a.c*", "x/b.txt") == ["a.csv", "b.csv"]
    several = names("x/*", "y/a.csv")
    assert several[2] == "b.csv"
    assert len({*several}) == 4
    assert all(
        name.startswith("a-") and len(name) == len("a-01234567.csv") for name in [*several[:2], several[3]]
    )
    with pytest.raises(ConfigError, match=r"x/a\.csv: is given twice"):
        names("x/*.csv", "x/a.csv")


def test_urls_have_the_name_of_their_path() -> None:
    url = "https://host/data/day%201/a.csv?version=3&x=*"
    assert named([url], "parquet") == {url: "a.parquet"}


def test_the_folder_is_left_alone_while_another_process_writes_there(
    fm_bundle: Path, days: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    owner = '{"pid": 7, "host": "elsewhere", "since": "2026-01-01 00:00:00 UTC", "boot": "another"}'
    (tmp_path / "out" / ".lock").write_text(owner)
    with pytest.raises(LockedError, match="elsewhere"):
        run(fm_bundle, days, tmp_path / "out")
    assert os.listdir(tmp_path / "out") == [".lock"]


def test_inputs_and_bundle_cannot_be_in_the_folder(fm_bundle: Path, days: Path, tmp_path: Path) -> None:
    for folder in (days, days / "day=1", fm_bundle, fm_bundle.parent):
        with pytest.raises(StorageError, match="write to another place"):
            run(fm_bundle, days, folder)


@pytest.mark.parametrize(
    ("output", "format", "told"),
    [
        ("scores", None, r"must end with .*, or with / for a folder with one file per input"),
        ("scores.csv", "parquet", "--format parquet: --output scores.csv is csv; leave --format out"),
        ("-", "parquet", "--format parquet: --output - is csv"),
        ("gs://bucket/scores", None, "must end with"),
        ("scores/", "json", "--format json: there is no such format; choose from parquet, csv, csv.gz"),
    ],
)
def test_outputs_that_are_neither_file_nor_folder(output: str, format: str | None, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        ctrloom.predict("none", [], output, format=format)


def test_command_and_api_do_the_same(fm_bundle: Path, days: Path, tmp_path: Path) -> None:
    options = [
        "--bundle",
        fm_bundle,
        "--input",
        f"{days}/day=*/*.csv",
        "--keep",
        "tags,user",
        "--format",
        "csv",
    ]
    done = CliRunner().invoke(app, [*map(str, ["predict", *options]), "--output", f"{tmp_path}/a/"])
    assert done.exit_code == 0, done.output
    assert done.stdout == f"67 rows, 1 of them malformed, to {tmp_path}/a/\n"
    found = ctrloom.predict(
        fm_bundle, [f"{days}/day=*/*.csv"], f"{tmp_path}/b/", keep=["tags", "user"], format="csv"
    )
    assert found.rows == 67
    (tmp_path / "c").mkdir()
    ctrloom.predict(fm_bundle, [f"{days}/day=*/*.csv"], tmp_path / "c", keep=["tags", "user"], format="csv")
    for name in ("day=1/part-0.csv", "day=2/part-0.csv"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "c" / name).read_bytes()


def command(bundle: Path, raw: Path, output: str = "-") -> list[str]:
    code = "from ctrloom.cli import main; main()"
    where = ["--bundle", bundle, "--input", raw, "--output", output, "--keep", "user"]
    return [sys.executable, "-c", code, "predict", *map(str, where)]


def test_standard_output_is_csv_and_can_be_appended(fm_bundle: Path, days: Path, tmp_path: Path) -> None:
    raw = days / "day=2" / "part-0.csv"
    predict(fm_bundle, [str(raw)], tmp_path / "p.csv", ["user"])
    (tmp_path / "log").write_text("before\n")
    with open(tmp_path / "log", "ab") as file:
        done = subprocess.run(command(fm_bundle, raw), stdout=file, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.endswith("26 rows, 1 of them malformed, to -\n")
    assert (tmp_path / "log").read_text() == "before\n" + (tmp_path / "p.csv").read_text()


@pytest.mark.parametrize("output", ["-", "/dev/stdout"])
def test_a_reader_that_ends_early_ends_the_command_quietly(
    fm_bundle: Path, tmp_path: Path, output: str
) -> None:
    (tmp_path / "a.csv").write_text(mixed_csv(np.random.default_rng(3), 60_000))
    with subprocess.Popen(
        command(fm_bundle, tmp_path / "a.csv", output), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as running:
        assert running.stdout.readline() == b'"row","probability","malformed","user"\n'
        running.stdout.close()
        told = running.stderr.read().decode()
        assert running.wait() == 141, told
    assert "Traceback" not in told
    assert "Broken" not in told


def test_a_full_disk_behind_standard_output_is_one_line(fm_bundle: Path, days: Path) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("needs /dev/full")
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            command(fm_bundle, days / "day=1" / "part-0.csv"), stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 2
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_predictions_of_another_file_are_not_replaced(fm_bundle: Path, days: Path, tmp_path: Path) -> None:
    def one(day: int, mark: str = "") -> Predicted:
        return predict(fm_bundle, [f"{days}{mark}/day={day}/*.csv"], f"{tmp_path}/out/")

    one(1)
    before = contents(tmp_path / "out")
    with pytest.raises(
        StorageError, match=r"out/part-0\.parquet: has the predictions of another file, .*day=1/"
    ):
        one(2)
    assert contents(tmp_path / "out") == before
    assert [Path(file.output).parent.name for day in (1, 2) for file in one(day, "/.").files] == [
        "day=1",
        "day=2",
    ]
    moved = copytree(days / "day=1", tmp_path / "moved")
    assert written(predict(fm_bundle, [f"{moved}/*.csv"], f"{tmp_path}/out/")) == [False]  # the same content


def test_inputs_over_http_are_scored_each_time(fm_bundle: Path, days: Path, tmp_path: Path) -> None:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=days)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        for signature in ("hush1", "hush2"):
            url = f"http://127.0.0.1:{server.server_port}/day=2/part-0.csv?date=of-{signature[-1]}&signature={signature}"
            done = ctrloom.predict(fm_bundle, url, f"{tmp_path}/out/", keep="user")
            assert written(done) == [True]
            assert done.rows == 26
        server.shutdown()
    records = "".join(path.read_text() for path in (tmp_path / "out").rglob("*.json"))
    assert "hush" not in records + "".join(file.input for file in done.files)


def test_what_a_killed_process_left_is_deleted(fm_bundle: Path, days: Path, tmp_path: Path) -> None:
    (tmp_path / "out" / "day=2").mkdir(parents=True)
    left = tmp_path / "out" / "day=2" / ".part-0.parquet.12345-12345.tmp"
    others = [left.with_name(name) for name in (".part-10.parquet.12345-1.tmp", "part-0.parquet.1-1.tmp")]
    for path in (left, *others):
        path.write_text("half")
    run(fm_bundle, days, tmp_path / "out")
    assert not left.exists()
    assert all(path.exists() for path in others)
