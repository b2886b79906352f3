"""Logged requests, joined with labels that come later, are raw rows for drift and gate."""

import csv
import shutil
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from damage import undetected
from served import lines, request_of, served, version_of, write_bundle
from typer.testing import CliRunner

from ctrloom import load_bundle, stages
from ctrloom.cli import app
from ctrloom.config import DataConfig, SourceConfig, VocabularyConfig
from ctrloom.config.base import ConfigError
from ctrloom.config.growth import GrowthConfig
from ctrloom.config.promotion_gate import PromotionGateConfig
from ctrloom.config.retraining import DriftConfig
from ctrloom.data.dataset import Dataset
from ctrloom.data.errors import DataError
from ctrloom.data.ingest.cast import read_rows
from ctrloom.data.ingest.run import ingest
from ctrloom.data.synthetic import SynthConfig, synthesize
from ctrloom.data.vocabulary.build import build_vocabulary
from ctrloom.serving.predict import predict
from ctrloom.serving.traffic import join_labels


def parts(log: Path) -> list[Path]:
    return sorted(log.rglob("*.parquet"))


def ids(log: Path) -> set[str]:
    """The requests in a log."""
    return {name for part in parts(log) for name in pq.read_table(part)["ctrloom.request_id"].to_pylist()}


def logged(bundle: Path, rows: list[dict[str, str]], log: Path, size: int = 3, **options: object) -> None:
    """Send the rows, `size` per request with the ids r0, r1, ..., to a server with a log of all requests."""
    with served(bundle, log_to=log, **{"log_share": 1.0, **options}) as running:
        for number, start in enumerate(range(0, len(rows), size)):
            running.infer(request_of(rows[start : start + size], id=f"r{number}"))
        assert running.metric('ctrloom_log_rows_total{result="lost"}') == 0


def test_the_log_has_every_row_and_its_answer(bundle: Path, mixed_folder: Path, tmp_path: Path) -> None:
    rows = lines(mixed_folder, 60)
    logged(bundle, rows, tmp_path / "log")
    (part,) = parts(tmp_path / "log")
    assert part.parent.name == f"{datetime.now(UTC):%Y-%m-%d}"
    table = pq.read_table(part)
    assert table["ctrloom.request_id"].to_pylist() == [f"r{n // 3}" for n in range(60)]
    assert table["ctrloom.row"].to_pylist() == [n % 3 for n in range(60)]
    assert set(table["ctrloom.model_version"].to_pylist()) == {version_of(bundle)}
    predictor = load_bundle(str(bundle))  # the last bit depends on how many rows are scored together
    expected = np.concatenate([predictor.predict(rows[n : n + 3]) for n in range(0, 60, 3)])
    assert np.array_equal(table["ctrloom.probability"].to_numpy(), expected)
    assert table["user"].to_pylist() == [row["user"] or None for row in rows]
    assert table["age"].to_pylist() == [float(row["age"]) if row["age"] else None for row in rows]
    seconds = datetime.now(UTC).timestamp() - table["ctrloom.time"].to_pylist()[0].timestamp()
    assert 0 <= seconds < 60


def test_malformed_rows_are_logged_too(bundle: Path, mixed_folder: Path, tmp_path: Path) -> None:
    request = request_of(lines(mixed_folder, 2), outputs=[{"name": "malformed"}], id="x")
    request["inputs"][1] |= {"datatype": "BYTES", "data": ["old", "7"]}
    with served(bundle, log_to=tmp_path / "log", log_share=1.0) as running:
        running.infer(request)
        running.infer(request_of(lines(mixed_folder, 2), id="y"))  # whose numbers are numbers
    tables = [pq.read_table(part) for part in parts(tmp_path / "log")]
    assert len(tables) == 2
    first = next(table for table in tables if table["ctrloom.request_id"][0].as_py() == "x")
    assert first["ctrloom.probability"].is_null().to_pylist() == [True, False]
    assert first["ctrloom.malformed"][0].as_py().startswith("age ")
    assert first["age"].to_pylist() == ["old", "7"]


def test_the_share_is_that_of_requests(bundle: Path, mixed_folder: Path, tmp_path: Path) -> None:
    rows = lines(mixed_folder, 300) * 2
    logged(bundle, rows, tmp_path / "log", size=1, log_share=0.25)
    found = {
        name
        for part in parts(tmp_path / "log")
        for name in pq.read_table(part)["ctrloom.request_id"].to_pylist()
    }
    assert 100 < len(found) < 200
    logged(bundle, rows, tmp_path / "again", size=1, log_share=0.25)
    again = {
        name
        for part in parts(tmp_path / "again")
        for name in pq.read_table(part)["ctrloom.request_id"].to_pylist()
    }
    assert again == found, "the sample depends on the ids alone, so that replicas agree"


def test_parts_are_written_by_rows_and_by_time(bundle: Path, mixed_folder: Path, tmp_path: Path) -> None:
    rows = lines(mixed_folder, 90)
    log = tmp_path / "log"
    with served(bundle, log_to=log, log_share=1.0, log_rows=30, log_seconds=0.2) as running:
        for number in range(3):
            running.infer(request_of(rows[30 * number : 30 * number + 30], id=str(number)))
            for _ in range(500):
                if running.metric('ctrloom_log_rows_total{result="written"}') == 30 * (number + 1):
                    break
            else:
                pytest.fail("nothing was written")
        assert len(parts(log)) == 3
    assert [path for path in log.rglob("*") if path.is_file()] != []
    assert all(path.suffix == ".parquet" for path in log.rglob("*") if path.is_file())


def test_a_log_that_cannot_be_written_fails_no_request(
    bundle: Path, mixed_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "log").write_text("in the way")
    with served(bundle, log_to=tmp_path / "log", log_share=1.0, log_seconds=0.05) as running:
        for number in range(5):
            running.infer(request_of(lines(mixed_folder, 3), id=str(number)))
            for _ in range(500):
                if running.metric('ctrloom_log_rows_total{result="lost"}') == 3 * (number + 1):
                    break
            else:
                pytest.fail("the loss is not counted")
        assert running.metric('ctrloom_log_rows_total{result="written"}') == 0
    assert capfd.readouterr().err.count("the traffic log is not written: ") == 1


def labelled(path: Path, labels: dict[tuple[str, int], int]) -> str:
    with path.open("w") as file:
        file.write("request_id,row,click\n")
        file.writelines(f"{name},{row},{click}\n" for (name, row), click in labels.items())
    return str(path)


@pytest.mark.parametrize("name", ["joined.csv", "joined.parquet"])
def test_joined_rows_are_raw_rows(bundle: Path, mixed_folder: Path, tmp_path: Path, name: str) -> None:
    """A dictionary is the truth; and the joined file scores as what was answered."""
    rows = lines(mixed_folder, 90)
    logged(bundle, rows, tmp_path / "log")
    labels = {(f"r{n // 3}", n % 3): n % 2 for n in range(0, 90, 4)} | {("r999", 0): 1, ("r0", 7): 1}
    file = labelled(tmp_path / "labels.csv", labels)
    done = join_labels(tmp_path / "log", file, tmp_path / name, keep=["request_id", "row", "probability"])
    assert (done.logged, done.written, done.unused_labels) == (90, 23, 2)
    if name.endswith("csv"):
        with (tmp_path / name).open() as opened:
            found = list(csv.DictReader(opened))
    else:
        found = pq.read_table(tmp_path / name).to_pylist()
    assert len(found) == 23
    for row in found:
        key = row["request_id"], int(row["row"])
        assert labels[key] == int(row["click"])
        sent = rows[3 * int(key[0][1:]) + key[1]]
        assert (row["user"] or "", row["tags"] or "") == (sent["user"], sent["tags"])
        assert (float(row["age"]) if row["age"] not in ("", None) else None) == (
            float(sent["age"]) if sent["age"] else None
        )
    if name.endswith("csv"):
        predict(bundle, [str(tmp_path / name)], tmp_path / "p.parquet")
        answered = np.float32([row["probability"] for row in found])
        found = pq.read_table(tmp_path / "p.parquet")["probability"].to_numpy()
        np.testing.assert_allclose(found, answered, rtol=0, atol=1e-6)


def test_rows_without_a_label_may_get_one(bundle: Path, mixed_folder: Path, tmp_path: Path) -> None:
    logged(bundle, lines(mixed_folder, 6), tmp_path / "log", size=1)
    (tmp_path / "clicks.csv").write_text("request_id,click\nr1,1\nr4,1\n")
    arguments = ["join-labels", "--log", str(tmp_path / "log"), "--labels", str(tmp_path / "clicks.csv")]
    arguments += ["--output", str(tmp_path / "out.csv"), "--unlabelled", "0", "--time", "asked"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "6 of 6 logged rows" in done.output
    with (tmp_path / "out.csv").open() as opened:
        found = list(csv.DictReader(opened))
    assert [row["click"] for row in found] == ["0", "1", "0", "0", "1", "0"]
    assert all(row["asked"].startswith(f"{datetime.now(UTC):%Y-}") for row in found)


def test_days_of_the_log_are_chosen(bundle: Path, mixed_folder: Path, tmp_path: Path) -> None:
    logged(bundle, lines(mixed_folder, 4), tmp_path / "log", size=1)
    (today,) = (tmp_path / "log").iterdir()
    shutil.copytree(today, tmp_path / "log" / "2026-01-05")
    file = labelled(tmp_path / "labels.csv", {("r1", 0): 1})
    day = datetime(2026, 1, 5, tzinfo=UTC).date()
    done = join_labels(tmp_path / "log", file, tmp_path / "out.csv", since=day, until=day)
    assert (done.logged, done.written) == (4, 1)
    with pytest.raises(DataError, match="has no log of these days"):
        join_labels(tmp_path / "log", file, tmp_path / "out.csv", until=day.replace(day=4))


def test_faults_of_labels_are_named(bundle: Path, mixed_folder: Path, tmp_path: Path) -> None:
    logged(bundle, lines(mixed_folder, 4), tmp_path / "log", size=1)

    def failing(text: str, kind: type[Exception], match: str, **options: object) -> None:
        (tmp_path / "labels.csv").write_text(text)
        with pytest.raises(kind, match=match):
            join_labels(tmp_path / "log", str(tmp_path / "labels.csv"), tmp_path / "out.csv", **options)

    failing("id,click\nr1,1\n", DataError, "has no column 'request_id'")
    failing("request_id,row\nr1,1\n", DataError, "has no column with labels")
    failing("request_id,click\nr1,1\nr1,0\n", DataError, "different labels for row 0 of request 'r1'")
    failing("request_id,click\nr1,1\n", ConfigError, "must be one of", keep=["age"])
    failing("request_id,click\nr1,1\n", ConfigError, "--unlabelled none", unlabelled="none")
    failing("request_id,click\nr1,1\n,0\n", DataError, "1 rows have no request_id")
    failing("request_id,row,click\nr1,0.0,1\n", DataError, "'row' must have whole numbers")
    failing("request_id,row,click\nr1,,1\n", DataError, "'row' must have whole numbers")
    failing("request_id,click,click\nr1,1,0\n", DataError, "several columns 'click'")
    failing("request_id,age\nr1,1\n", DataError, "the column 'age', as logged rows have")
    failing("", DataError, "cannot be read")
    (tmp_path / "labels.csv").write_text("request_id,click\nr1,1\nr1,1\n")
    same = join_labels(tmp_path / "log", str(tmp_path / "labels.csv"), tmp_path / "out.csv")
    assert same.written == 1


def test_values_of_labels_stay_text(bundle: Path, mixed_folder: Path, tmp_path: Path) -> None:
    logged(bundle, lines(mixed_folder, 2), tmp_path / "log", size=1)
    (tmp_path / "labels.csv").write_text('request_id,click,zip,said\nr0,1,00720,"a\nb"\n')
    join_labels(tmp_path / "log", str(tmp_path / "labels.csv"), tmp_path / "out.parquet")
    (found,) = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert (found["click"], found["zip"], found["said"]) == ("1", "00720", "a\nb")


def test_labels_of_requests_with_one_id_are_counted(
    bundle: Path, mixed_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with served(bundle, log_to=tmp_path / "log", log_share=1.0) as running:
        for name in ("same", "same", "other"):
            running.infer(request_of(lines(mixed_folder, 1), id=name))
    (tmp_path / "labels.csv").write_text("request_id,click\nsame,1\nother,0\n")
    arguments = ["join-labels", "--log", str(tmp_path / "log"), "--labels", str(tmp_path / "labels.csv")]
    done = CliRunner().invoke(app, [*arguments, "--output", str(tmp_path / "out.csv")])
    assert "3 of 3 logged rows" in done.output
    assert "1 labels are of several logged rows" in done.output + capfd.readouterr().err


def test_a_part_of_the_log_is_there_as_a_whole(
    bundle: Path, mixed_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it is written, and if that fails, there is no file that `join_labels` reads."""
    seen = list[list[Path]]()

    class Failing(pq.ParquetWriter):
        def write_table(self, table: object, *more: object) -> None:
            super().write_table(table, *more)
            seen.append(parts(tmp_path / "log"))
            raise OSError("no space left")

    monkeypatch.setattr("ctrloom.data.parquet.writer.pq.ParquetWriter", Failing)
    with served(bundle, log_to=tmp_path / "log", log_share=1.0) as running:
        running.infer(request_of(lines(mixed_folder, 3), id="r0"))
    assert seen == [[]]
    assert [path for path in (tmp_path / "log").rglob("*") if path.is_file()] == []


def test_flipped_bytes_of_log_and_joined_rows_are_noticed(
    bundle: Path, mixed_folder: Path, tmp_path: Path
) -> None:
    rows = lines(mixed_folder, 6)
    logged(bundle, rows, tmp_path / "log", size=1)
    file = labelled(tmp_path / "labels.csv", {(f"r{n}", 0): n % 2 for n in range(6)})

    def join() -> bytes:
        join_labels(tmp_path / "log", file, tmp_path / "joined" / "rows.parquet")
        return (tmp_path / "joined" / "rows.parquet").read_bytes()

    undetected(join, tmp_path / "log", 100)
    join()

    columns = {"click": "label", "user": "categorical", "age": "numeric"}
    source = SourceConfig.parse({"format": "parquet", "columns": columns, "other_columns": "ignore"}, "test")

    def read() -> list[object]:
        batches = read_rows(source, [str(tmp_path / "joined" / "rows.parquet")])
        return [[str(row) for row in batch.dictionary_rows.to_pylist()] for batch in batches]

    undetected(read, tmp_path / "joined", 150)
    undetected(read, tmp_path / "joined", 2_500, last=True)
    rows = read()
    pq.write_table(pq.read_table(tmp_path / "joined" / "rows.parquet"), tmp_path / "joined" / "rows.parquet")
    assert read() == rows  # what another program wrote has no seal


def test_other_files_in_a_log_are_named(bundle: Path, mixed_folder: Path, tmp_path: Path) -> None:
    logged(bundle, lines(mixed_folder, 2), tmp_path / "log", size=1)
    (part,) = parts(tmp_path / "log")
    table = pq.read_table(part)
    file = labelled(tmp_path / "labels.csv", {("r1", 0): 1})
    other = part.with_name("zzz.parquet")
    for wrong in (table.drop_columns(["ctrloom.time"]), pa.table({"a": [1]})):
        pq.write_table(wrong, other)
        with pytest.raises(DataError, match=r"zzz\.parquet: is no part of a traffic log"):
            join_labels(tmp_path / "log", file, tmp_path / "out.csv")


def test_drift_and_gate_read_joined_rows_as_they_read_the_rows_themselves(tmp_path: Path) -> None:
    synthesize(SynthConfig(rows=600, fields=4, sizes=(12,), pairs=1, days=2, renewed=0.25), tmp_path)
    columns = {"click": "label", "field_00..field_03": "categorical", "time": "timestamp"}
    split = {"by": "time", "valid": 0.2, "test": 0.4}
    store, days = tmp_path / "store", sorted(tmp_path.glob("clicks-*.csv"))

    def ingested(file: Path) -> Path:
        data = {"files": [str(file)], "columns": columns, "split": split}
        return ingest(DataConfig.parse(data, "test"), store)

    first = Dataset.open(build_vocabulary(ingested(days[0]), VocabularyConfig(), store))
    old, new = (write_bundle(first, tmp_path / f"bundle-{seed}", seed) for seed in range(2))
    with days[1].open() as opened:
        rows = list(csv.DictReader(opened))
    labelled_later = tmp_path / "labels.csv"
    with (
        served(old, log_to=tmp_path / "log", log_share=1.0) as running,
        labelled_later.open("w") as labels,
    ):
        labels.write("request_id,row,click,time\n")
        for number, row in enumerate(rows):
            named = [name for name in row if name.startswith("field")]
            inputs = [{"name": n, "datatype": "BYTES", "shape": [1], "data": [row[n]]} for n in named]
            running.infer({"inputs": inputs, "id": f"r{number}"})
            labels.write(f"r{number},0,{row['click']},{row['time']}\n")
    done = join_labels(tmp_path / "log", str(labelled_later), tmp_path / "joined.csv")
    assert done.written == len(rows)
    stages.promote(str(tmp_path / "registry"), old)
    stages.champion(str(tmp_path / "registry"), tmp_path / "champion")
    gate = PromotionGateConfig(min_clicks=1, bootstrap=20)
    drifts, verdicts = [], []
    for name, file in (("rows", days[1]), ("joined", tmp_path / "joined.csv")):
        manifest = ingested(file)
        grown = stages.grow(manifest, old, GrowthConfig(min_count=3), store)
        drifts.append(stages.drift(grown, old, DriftConfig(), tmp_path / f"{name}-drift"))
        verdicts.append(stages.gate(manifest, new, tmp_path / "champion", gate, tmp_path / f"{name}-verdict"))
    assert drifts[0].fields == drifts[1].fields
    assert drifts[1].fields[0].unseen_now > 0.1
    assert drifts[0].label_rate_now == drifts[1].label_rate_now
    assert [check.value for check in verdicts[0].checks] == [check.value for check in verdicts[1].checks]
