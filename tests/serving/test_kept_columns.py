"""Columns that `predict` passes through have the values that pandas reads from the file."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from ctrloom import storage
from ctrloom.cli import app
from ctrloom.config.base import ConfigError
from ctrloom.config.data import SourceConfig
from ctrloom.data.errors import DataError
from ctrloom.data.sources import read_raw
from ctrloom.schema import Schema
from ctrloom.serving.predict import predict

TEXT = {"dtype": str, "keep_default_na": False}
ROWS = ["u1,30,9.5,t1|t2", "u2,41,3,t1", "stranger,,,"]


def scored(bundle: Path, files: Sequence[Path], output: Path, *keep: str) -> pd.DataFrame:
    predict(bundle, [str(file) for file in files], output, keep)
    return pq.read_table(output).to_pandas() if output.suffix == ".parquet" else pd.read_csv(output, **TEXT)


def with_columns(rows: Sequence[str], **columns: Sequence[str]) -> str:
    """CSV as the standard library writes it, with these columns around those of the model."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    (first, *others) = columns
    writer.writerow([first, "user", "age", "price", "tags", *others])
    for i, row in enumerate(rows):
        writer.writerow([columns[first][i], *row.split(","), *(columns[name][i] for name in others)])
    return text.getvalue()


@pytest.mark.parametrize("ending", ["parquet", "csv", "csv.gz"])
def test_kept_columns_are_those_that_pandas_reads(
    fm_bundle: Path, mixed_folder: Path, tmp_path: Path, ending: str
) -> None:
    raw = mixed_folder / "test.csv"
    truth = pd.read_csv(raw, **TEXT)
    rng = np.random.default_rng(1)
    truth["request id"] = [f"{number:016x}" for number in rng.integers(0, 2**60, len(truth))]
    truth["note"] = rng.choice(["", "NA", " 007 ", 'a "b", c', "two\nlines", "Straße"], len(truth))
    truth.to_csv(tmp_path / "raw.csv", index=False)
    keep = ["note", "click", "request id", "user", "tags", "price"]
    got = scored(fm_bundle, [tmp_path / "raw.csv"], tmp_path / f"p.{ending}", *keep)
    assert list(got) == ["row", "probability", "malformed", *keep]
    pd.testing.assert_frame_equal(got[keep], truth[keep], check_dtype=False)
    plain = scored(fm_bundle, [raw], tmp_path / f"plain.{ending}")
    pd.testing.assert_frame_equal(got[list(plain)], plain, check_exact=True)


def test_a_malformed_row_keeps_its_values_unless_it_cannot_be_split(fm_bundle: Path, tmp_path: Path) -> None:
    lines = ["id,user,age,price,tags", "a,u1,30,9.5,t1", "b,u1,old,9.5,t1", "c,u1,30", "d,u2,41,3,t1"]
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n")
    got = scored(fm_bundle, [tmp_path / "a.csv"], tmp_path / "p.parquet", "id", "age")
    assert got["id"].to_list() == ["a", "b", None, "d"]
    assert got["age"].to_list() == ["30", "old", None, "41"]
    assert got["probability"].isna().to_list() == [False, True, True, False]


def test_a_kept_value_that_is_not_utf8_changes_no_score(fm_bundle: Path, tmp_path: Path) -> None:
    head, body = b"user,age,price,tags,note\n", b"u1,30,9.5,t1,caf\xe9 \xc3\xa9\nu2,41,3,t1,plain\n"
    (tmp_path / "a.csv").write_bytes(head + body)
    got = scored(fm_bundle, [tmp_path / "a.csv"], tmp_path / "p.parquet", "note")
    assert got["note"].to_list() == ["caf\\xe9 é", "plain"]
    plain = scored(fm_bundle, [tmp_path / "a.csv"], tmp_path / "q.parquet")
    pd.testing.assert_frame_equal(got[list(plain)], plain, check_exact=True)
    assert plain["malformed"].isna().all()


texts = st.text(
    st.characters(codec="utf-8", exclude_characters="\0\r") | st.sampled_from(',"\n;\t| \\'), max_size=12
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(st.tuples(texts, texts), min_size=1, max_size=6))
def test_any_text_survives_csv(fm_bundle: Path, tmp_path: Path, values: list[tuple[str, str]]) -> None:
    """Read back by the csv module of the standard library, neither the reader nor the writer here."""
    first, last = zip(*values, strict=True)
    rows = (ROWS * 2)[: len(values)]
    (tmp_path / "a.csv").write_text(with_columns(rows, first=first, last=last), encoding="utf-8", newline="")
    for name in ("p.csv", "p.parquet"):
        predict(fm_bundle, [str(tmp_path / "a.csv")], tmp_path / name, ["last", "first"])
    with open(tmp_path / "p.csv", encoding="utf-8", newline="") as file:
        written = list(csv.DictReader(file))
    assert [row["malformed"] for row in written] == [""] * len(values)
    assert [(row["first"], row["last"]) for row in written] == values
    table = pq.read_table(tmp_path / "p.parquet")
    assert list(zip(table["first"].to_pylist(), table["last"].to_pylist(), strict=True)) == values
    assert [row["probability"] for row in written] == [str(p) for p in table["probability"].to_numpy()]


def test_the_name_of_a_column_can_need_quotes(fm_bundle: Path, tmp_path: Path) -> None:
    name = 'the "id", of it'
    (tmp_path / "a.csv").write_text(with_columns(ROWS, **{name: ["1", "2", "3"]}))
    got = scored(fm_bundle, [tmp_path / "a.csv"], tmp_path / "p.csv", name)
    assert got[name].to_list() == ["1", "2", "3"]
    where = ["--bundle", fm_bundle, "--input", tmp_path / "a.csv", "--output", tmp_path / "q.csv"]
    quoted = name.replace('"', '""')
    done = CliRunner().invoke(
        app, ["predict", *map(str, where), "--keep", f'"{quoted}",age', "--keep", "user"]
    )
    assert done.exit_code == 0, done.output
    assert list(pd.read_csv(tmp_path / "q.csv"))[3:] == [name, "age", "user"]


@pytest.mark.parametrize(
    ("keep", "error", "told"),
    [
        (["usr"], DataError, r"a\.csv: has no column 'usr' to keep; similar names are 'user'"),
        (["click"], DataError, r"a\.csv: has no column 'click' to keep"),
        (["age", "probability"], ConfigError, "--keep probability: predictions have a column of this name"),
        (["row"], ConfigError, "--keep row: predictions"),
        (["malformed"], ConfigError, "--keep malformed: predictions"),
        (["age", "age"], ConfigError, "--keep age: is given twice"),
        (["twin"], DataError, r"a\.csv: has 2 columns named 'twin'"),
    ],
)
def test_names_that_cannot_be_kept(
    fm_bundle: Path, tmp_path: Path, keep: list[str], error: type[Exception], told: str
) -> None:
    lines = ["twin,user,age,price,tags,twin", "1,u1,30,9.5,t1,2"]
    (tmp_path / "a.csv").write_text("\n".join(lines))
    with pytest.raises(error, match=told):
        predict(fm_bundle, [str(tmp_path / "a.csv")], tmp_path / "p.csv", keep)
    assert not (tmp_path / "p.csv").exists()


def test_only_columns_that_are_not_kept_are_said_to_be_ignored(
    fm_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.csv").write_text(with_columns(ROWS, id=["1", "2", "3"], day=["x", "y", "z"]))
    predict(fm_bundle, [str(tmp_path / "a.csv")], tmp_path / "p.csv", ["id"])
    assert "ignoring the column 'day', which" in capsys.readouterr().err


def parquet_bundle(bundle: Path, to: Path, **source: object) -> Path:
    """The bundle for files of another format."""
    from shutil import copytree

    from ctrloom.models.bundle import load_bundle

    copytree(bundle, to)
    schema = load_bundle(bundle).schema
    changed = schema.model_copy(update={"source": schema.source.model_copy(update=source)})
    storage.write_record(to / "schema.json", changed)
    card = storage.read_json(to / "model.json")
    for key in ("checksum", "files"):
        card.pop(key, None)
    card["schema_fingerprint"] = storage.read_record(to / "schema.json", Schema).fingerprint
    storage.write_json(to / "model.json", card)
    return to


def parquet_rows() -> pa.Table:
    return pa.table(
        {
            "id": pa.array([2**60 + 1, None, 3], pa.int64()),
            "user": ["u1", "u2", None],
            "age": [30, 41, None],
            "price": [9.5, 3.0, None],
            "tags": [["t1", "t2"], ["t1"], []],
            "when": pa.array([0, 1, None], pa.timestamp("us", "UTC")),
            "blob": pa.array([b"\xff\t", b"ok", None]),
            "nested": [{"a": 1}, {"a": None}, None],
            "kind": pa.array(["x", None, "x"]).dictionary_encode(),
        }
    )


def test_columns_of_parquet_keep_their_types(fm_bundle: Path, tmp_path: Path) -> None:
    bundle, raw = parquet_bundle(fm_bundle, tmp_path / "bundle", format="parquet"), parquet_rows()
    pq.write_table(raw, tmp_path / "a.parquet", row_group_size=2)
    keep = ["nested", "id", "tags", "when", "blob", "kind"]
    predict(bundle, [str(tmp_path / "a.parquet")], tmp_path / "p.parquet", keep)
    got = pq.read_table(tmp_path / "p.parquet").select(keep)
    plain = raw.select(keep).set_column(5, "kind", raw["kind"].cast(pa.string()))
    assert got.equals(plain)
    predict(bundle, [str(tmp_path / "a.parquet")], tmp_path / "p.csv", keep)
    text = pd.read_csv(tmp_path / "p.csv", **TEXT)
    assert text["id"].to_list() == [str(2**60 + 1), "", "3"]
    assert [json.loads(cell) for cell in text["tags"]] == raw["tags"].to_pylist()
    assert text["nested"].to_list() == ['{"a": 1}', '{"a": null}', ""]
    assert text["blob"].to_list() == ["\\xff\t", "ok", ""]
    assert pd.to_datetime(text["when"][1]) == pd.Timestamp(1, unit="us", tz="UTC")


def test_a_file_without_rows_has_the_types_too(fm_bundle: Path, tmp_path: Path) -> None:
    bundle = parquet_bundle(fm_bundle, tmp_path / "bundle", format="parquet")
    pq.write_table(parquet_rows().slice(0, 0), tmp_path / "none.parquet")
    done = predict(bundle, [str(tmp_path / "none.parquet")], tmp_path / "p.parquet", ["id", "when"])
    got = pq.read_table(tmp_path / "p.parquet")
    assert (done.rows, got.num_rows) == (0, 0)
    assert got.schema.field("id").type == pa.int64()
    assert got.schema.field("when").type == pa.timestamp("us", "UTC")
    (tmp_path / "none.csv").write_text("id,user,age,price,tags\n")
    assert list(scored(fm_bundle, [tmp_path / "none.csv"], tmp_path / "q.csv", "id"))[3:] == ["id"]


def test_a_column_of_two_types_is_an_error_in_one_output(fm_bundle: Path, tmp_path: Path) -> None:
    bundle, raw = parquet_bundle(fm_bundle, tmp_path / "bundle", format="parquet"), parquet_rows()
    pq.write_table(raw, tmp_path / "a.parquet")
    pq.write_table(raw.set_column(0, "id", pa.array(["x", "y", "z"])), tmp_path / "b.parquet")
    files = [str(tmp_path / "a.parquet"), str(tmp_path / "b.parquet")]
    with pytest.raises(DataError, match=r"b\.parquet: column 'id' to keep is string, and int64 in the rows"):
        predict(bundle, files, tmp_path / "p.parquet", ["id"])
    assert predict(bundle, files, f"{tmp_path}/each/", ["id"]).rows == 6


@pytest.mark.parametrize(
    ("config", "text", "keep", "expected"),
    [
        (
            {"header": False, "columns": {"y": "label", "skip": "ignored", "c": "categorical"}},
            "1, x ,a\n0,,b\n",
            ["skip", "y"],
            {"skip": [" x ", ""], "y": ["1", "0"]},
        ),
        (
            {"format": "libsvm", "columns": {"y": "label", "c": "categorical", "d": "categorical"}},
            "1 3:1 7:1\n0 4:1 7:0.5\n",
            ["d", "y"],
            {"d": ["7:1", "7:0.5"], "y": ["1", "0"]},
        ),
        (
            {"trim": True, "header": True, "columns": {"y": "label", "c": "categorical"}},
            'y , c , z \n1, a , q \n0,"b", "r" \n',
            ["z"],
            {"z": [" q ", "r"]},
        ),
        (
            {"encoding": "latin-1", "header": True, "columns": {"y": "label", "c": "categorical"}},
            "y,c,z\n1,a,é\n",
            ["z"],
            {"z": ["é"]},
        ),
    ],
    ids=["no header", "libsvm", "trimmed", "latin-1"],
)
def test_values_are_those_of_the_file_in_every_text_format(
    tmp_path: Path, config: dict, text: str, keep: list[str], expected: dict[str, list[str]]
) -> None:
    (tmp_path / "a").write_bytes(text.encode(config.get("encoding", "utf-8")))
    source = SourceConfig.parse(config, "test")
    (parse,) = read_raw(str(tmp_path / "a"), source, False, keep)
    kept = parse().kept
    assert kept is not None
    assert kept.to_pydict() == expected
