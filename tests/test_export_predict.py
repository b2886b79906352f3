import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq
import pytest
import torch
from scipy.special import expit
from small import LITTLE, mixed_csv
from typer.testing import CliRunner

from ctrloom.architecture import Architecture
from ctrloom.cli import app
from ctrloom.config import ModelsConfig
from ctrloom.data.dataset import Dataset
from ctrloom.data.errors import DataError
from ctrloom.models.bundle import load_bundle, save_bundle
from ctrloom.serving.predict import predict
from ctrloom.training.loop import score
from ctrloom.training.plans import Plan, train_runs
from ctrloom.training.runs import open_runs


@pytest.fixture(scope="module")
def bundle(mixed: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    every = Architecture.complete(mixed.schema.names, (2, 3))
    hyper = ModelsConfig({"default": {**LITTLE.model_dump(), "batch_norm": True, "embedding_std": 0.3}})
    plan = Plan("autodeepfm", "AutoDeepFM", "retrained", "autodeepfm", (every,))
    train_runs(mixed, [plan], hyper, [4], folder / "runs")
    open_runs(folder / "runs")[0].export(mixed, folder / "bundle")
    return folder / "bundle"


def predicted(bundle: Path, output: Path, *files: Path) -> dict[str, list]:
    predict(bundle, [str(file) for file in files], output)
    return pq.read_table(output).to_pydict()


def without_label(csv: str) -> str:
    """The lines of a raw file without label and weight, its first and last column."""
    return "".join(",".join(line.split(",")[1:-1]) + "\n" for line in csv.splitlines())


def test_a_bundle_holds_everything_and_nothing_else(mixed: Dataset, bundle: Path) -> None:
    files = {str(path.relative_to(bundle)) for path in bundle.rglob("*") if path.is_file()}
    assert files == {
        "model.safetensors",
        "model.json",
        "architecture.json",
        "schema.json",
        "reference.json",
        "vocabulary/user.parquet",
        "vocabulary/age.parquet",
        "vocabulary/tags.parquet",
    }
    loaded = load_bundle(bundle)
    assert loaded.schema == mixed.schema
    assert loaded.architecture == Architecture.complete(mixed.schema.names, (2, 3))
    assert (loaded.card.model, loaded.card.seed) == ("autodeepfm", 4)
    assert loaded.card.data_fingerprint == mixed.data_fingerprint


def test_a_prediction_is_the_score_of_the_encoded_rows(
    mixed: Dataset, bundle: Path, mixed_folder: Path, tmp_path: Path
) -> None:
    got = predicted(bundle, tmp_path / "p.parquet", mixed_folder / "test.csv")
    expected = expit(score(load_bundle(bundle).model, mixed.rows("test")).astype(float))
    assert got["row"] == list(range(300))
    assert got["malformed"] == [None] * 300
    np.testing.assert_allclose(got["probability"], expected, rtol=0, atol=1e-6)
    assert len(set(got["probability"])) > 100


def test_probability_corrects_for_downsampled_negatives(
    bundle: Path, mixed: Dataset, mixed_folder: Path, tmp_path: Path
) -> None:
    thinned = tmp_path / "thinned"
    loaded = load_bundle(bundle)
    schema = loaded.schema.model_copy(update={"negatives_kept": 0.05})
    card = loaded.card.model_copy(update={"schema_fingerprint": schema.fingerprint})
    save_bundle(replace(loaded, schema=schema, card=card), mixed.directory, thinned)
    before = np.array(predicted(bundle, tmp_path / "a.parquet", mixed_folder / "test.csv")["probability"])
    after = predicted(thinned, tmp_path / "b.parquet", mixed_folder / "test.csv")["probability"]
    np.testing.assert_allclose(after, before / (before + (1 - before) / 0.05), rtol=1e-5)


def test_label_and_weight_may_be_absent(bundle: Path, mixed_folder: Path, tmp_path: Path) -> None:
    raw = mixed_folder / "test.csv"
    (tmp_path / "unlabelled.csv").write_text(without_label(raw.read_text()))
    assert "click" not in (tmp_path / "unlabelled.csv").read_text()
    assert predicted(bundle, tmp_path / "a.parquet", raw) == predicted(
        bundle, tmp_path / "b.parquet", tmp_path / "unlabelled.csv"
    )


def test_more_columns_than_in_training_are_ignored_with_one_line(
    bundle: Path, tmp_path: Path, capsys: Any
) -> None:
    rows = ["u1,30,9.5,t1|t2", "u2,41,3,t1"]
    (tmp_path / "a.csv").write_text("\n".join(["user,age,price,tags", *rows]))
    (tmp_path / "b.csv").write_text("\n".join(["user,age,price,tags,day,shop", *(f"{r},1,x" for r in rows)]))
    shutil.copy(tmp_path / "b.csv", tmp_path / "c.csv")
    expected = predicted(bundle, tmp_path / "p.parquet", tmp_path / "a.csv")["probability"]
    capsys.readouterr()
    got = predicted(bundle, tmp_path / "p.parquet", tmp_path / "b.csv", tmp_path / "c.csv")["probability"]
    assert got == expected * 2
    ignored = [line for line in capsys.readouterr().err.splitlines() if "ignoring" in line]
    assert len(ignored) == 1
    assert f"{tmp_path / 'b.csv'}: ignoring the column 'day' and 1 more" in ignored[0]


def test_a_row_of_several_lines_is_one_prediction(bundle: Path, tmp_path: Path) -> None:
    lines = ["u1,30,9.5,t1", '"a\nu2,41,3",30,9.5,t1', "u1,old,9.5,t1", "u1,30,9.5,t1"]
    (tmp_path / "a.csv").write_text("\n".join(["user,age,price,tags", *lines]))
    got = predicted(bundle, tmp_path / "p.parquet", tmp_path / "a.csv")
    assert got["row"] == [0, 1, 2, 3]
    assert got["malformed"] == [None, None, f"{tmp_path / 'a.csv'}:5: age is not a number: 'old'", None]
    assert got["probability"][0] == got["probability"][3] != got["probability"][1]


def test_batch_and_single_rows_have_the_same_probabilities(bundle: Path, tmp_path: Path) -> None:
    lines = mixed_csv(np.random.default_rng(5), 60, unseen=True).splitlines()
    (tmp_path / "all.csv").write_text("\n".join(lines) + "\n")
    singles = []
    for i, line in enumerate(lines[1:]):
        singles.append(tmp_path / f"{i:03}.csv")
        singles[-1].write_text(f"{lines[0]}\n{line}\n")
    together = predicted(bundle, tmp_path / "a.parquet", tmp_path / "all.csv")
    one_by_one = predicted(bundle, tmp_path / "b.parquet", *singles)
    assert together["row"] == one_by_one["row"] == list(range(60))
    np.testing.assert_allclose(together["probability"], one_by_one["probability"], rtol=0, atol=1e-6)


def test_malformed_rows_have_a_reason_instead_of_a_probability(bundle: Path, tmp_path: Path) -> None:
    lines = ["u1,30,9.5,t1|t2", "u1,old,9.5,t1", "stranger,,,", "u1,30", "u2,41,1e400,t1", "u3,7,12,new|t4"]
    (tmp_path / "a.csv").write_text("user,age,price,tags\n" + "\n".join(lines) + "\n")
    (tmp_path / "b.csv").write_text("user,age,price,tags\nu1,x,1,t1\nu1,30,9.5,t1|t2\n")
    done = predict(bundle, [str(tmp_path / "*.csv")], tmp_path / "p.parquet")
    assert (done.rows, done.malformed) == (8, 4)
    got = pq.read_table(tmp_path / "p.parquet").to_pydict()
    assert got["row"] == list(range(8))
    bad = [1, 3, 4, 6]
    for row in range(8):
        assert (got["probability"][row] is None) == (got["malformed"][row] is not None) == (row in bad)
    reasons = [got["malformed"][row] for row in bad]
    assert reasons[0].startswith(f"{tmp_path / 'a.csv'}:3: age is not a number")
    assert reasons[1].startswith(f"{tmp_path / 'a.csv'}:5: ")
    assert reasons[2].startswith(f"{tmp_path / 'a.csv'}:6: price is not a number")
    assert reasons[3].startswith(f"{tmp_path / 'b.csv'}:2: age is not a number")
    assert got["probability"][0] == pytest.approx(
        got["probability"][7], abs=1e-6
    )  # the same row in another file


def test_unseen_values_and_missing_values_each_share_one_probability(bundle: Path, tmp_path: Path) -> None:
    lines = ["x,30,9.5,t1", "y,30,9.5,t1", ",30,9.5,t1", "u1,30,9.5,new", "u1,30,9.5,newer", "u1,30,9.5,"]
    (tmp_path / "a.csv").write_text("user,age,price,tags\n" + "\n".join(lines) + "\n")
    p = predicted(bundle, tmp_path / "p.parquet", tmp_path / "a.csv")["probability"]
    assert p[0] == p[1] != p[2]
    assert p[3] == p[4] != p[5]


def test_shares_of_missing_and_unseen_values(bundle: Path, tmp_path: Path, capsys: Any) -> None:
    lines = ["x,30,9.5,t1|new", "u1,,,", "u1,30,9.5,newer|new|t1", ",30,9.5,t2", "u2,old,9.5,new"]
    (tmp_path / "a.csv").write_text("user,age,price,tags\n" + "\n".join(lines) + "\n")
    done = predict(bundle, [str(tmp_path / "a.csv")], tmp_path / "p.parquet")
    found = {shares.name: shares for shares in done.fields}
    assert list(found) == ["user", "age", "price", "tags"]
    assert {name: (each.rows, each.values) for name, each in found.items()} == {
        "user": (4, 3),
        "age": (4, 3),
        "price": (4, 3),
        "tags": (4, 6),
    }
    assert {name: (each.missing, each.unseen, each.unseen_value) for name, each in found.items()} == {
        "user": (0.25, 1 / 3, "x"),
        "age": (0.25, 0.0, None),
        "price": (0.25, 0.0, None),
        "tags": (0.25, 0.5, "new"),
    }
    assert 0 < found["user"].missing_in_training < 0.2  # a tenth of the rows
    assert found["user"].unseen_in_training == 0
    warnings = capsys.readouterr().err.splitlines()
    place = f"{tmp_path / 'a.csv'}, line 6: age is not a number: 'old'"
    assert f"- warning: 1 of 5 rows are malformed, the first in {place}" in warnings
    assert "- warning: user: 33.3% of 3 values are unseen (0.0% in training), such as 'x'" in warnings
    assert len([line for line in warnings if "warning" in line]) == 6


def test_values_of_another_type_are_loud_and_usual_ones_silent(
    bundle: Path, mixed_folder: Path, tmp_path: Path, capsys: Any
) -> None:
    table = arrow_csv.read_csv(mixed_folder / "train.csv")
    arrow_csv.write_csv(table, tmp_path / "same.csv")
    predict(bundle, [str(tmp_path / "same.csv")], tmp_path / "p.parquet")
    assert "warning" not in capsys.readouterr().err
    users = pc.binary_join_element_wise(table["user"], pa.scalar(".0"), "")
    changed = table.set_column(table.schema.get_field_index("user"), "user", users)
    arrow_csv.write_csv(changed, tmp_path / "changed.csv")
    predict(bundle, [str(tmp_path / "changed.csv")], tmp_path / "p.parquet")
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert "user: 100.0% of" in line
    assert "compare type and spelling of the column" in line


def test_the_command_writes_the_shares(bundle: Path, mixed_folder: Path, tmp_path: Path) -> None:
    raw, scores, report = mixed_folder / "test.csv", tmp_path / "p.parquet", tmp_path / "report.json"
    command = ["predict", "--bundle", bundle, "--input", raw, "--output", scores, "--report", report]
    assert CliRunner().invoke(app, [str(part) for part in command]).exit_code == 0
    written = json.loads(report.read_text())
    assert (written["rows"], written["malformed"]) == (300, 0)
    user = next(field for field in written["fields"] if field["name"] == "user")
    users = [line.split(",")[1] for line in raw.read_text().splitlines()[1:]]
    assert user["missing"] == users.count("") / 300
    assert user["unseen"] == users.count("stranger") / (300 - users.count(""))
    assert user["unseen_value"] == "stranger"


def test_invalid_file_is_an_error_and_writes_nothing(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("user,age\nu1,30\n")
    with pytest.raises(DataError, match=r"a\.csv.*price"):
        predict(bundle, [str(tmp_path / "a.csv")], tmp_path / "out" / "p.parquet")
    with pytest.raises(DataError, match=r"none\.csv: no file"):
        predict(bundle, [str(tmp_path / "none.csv")], tmp_path / "out" / "p.parquet")
    assert not list((tmp_path / "out").glob("*"))


def test_bundle_works_without_its_data_set(bundle: Path, mixed_folder: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(bundle, tmp_path / "elsewhere"))
    (tmp_path / "raw.csv").write_text(without_label((mixed_folder / "test.csv").read_text()))
    assert predicted(moved, tmp_path / "a.parquet", tmp_path / "raw.csv") == predicted(
        bundle, tmp_path / "b.parquet", mixed_folder / "test.csv"
    )


def test_weights_round_trip_bit_for_bit(bundle: Path) -> None:
    first, second = load_bundle(bundle).model, load_bundle(bundle).model
    assert all(
        torch.equal(a, b)
        for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )
    assert not first.training
