"""Exports of a bundle: files, record, the independent path from raw rows to probabilities, and failures."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from damage import undetected
from encoder_reader import Reader
from typer.testing import CliRunner

import ctrloom
from ctrloom import storage
from ctrloom.cli import app
from ctrloom.config import extras
from ctrloom.config.base import ConfigError
from ctrloom.data.dataset import Dataset
from ctrloom.data.errors import DataError
from ctrloom.models.bundle import load_bundle
from ctrloom.serving.export import check
from ctrloom.serving.export.formats import FORMATS
from ctrloom.serving.export.record import ExportRecord
from ctrloom.training.loop import score

RAW: list[dict[str, Any]] = [
    {"user": "u3", "age": "41", "price": "9.5", "tags": "t1|t2"},
    {"user": "stranger", "age": "7", "price": "-2", "tags": "t1|new|t5"},
    {"user": None, "age": "", "price": "", "tags": ""},
    {"user": "u3", "age": 41, "price": 9.5, "tags": ["t1", "t2"]},
]


@pytest.fixture(scope="module")
def as_onnx(fm_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("onnx") / "out"
    ctrloom.export(fm_bundle, folder, "onnx")
    return folder


def read(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Inputs of a model, from raw rows by the second reader of the encoder."""
    rows = [Reader(folder).encode(row) for row in RAW]
    ids, factors = ([row[part] for row in rows] for part in (0, 1))
    return np.array(ids, np.int32), np.array(factors, np.float32)


def test_onnxruntime_and_the_second_reader_predict_as_the_bundle(fm_bundle: Path, as_onnx: Path) -> None:
    ids, factors = read(as_onnx)
    session = onnxruntime.InferenceSession(as_onnx / "model.onnx", providers=["CPUExecutionProvider"])
    (probability,) = session.run(["probability"], {"ids": ids, "factors": factors})
    expected = ctrloom.load_bundle(fm_bundle).predict(RAW)
    np.testing.assert_allclose(probability, expected, rtol=0, atol=1e-6)
    assert len(set(expected.round(6).tolist())) == 3  # the first and the last row are the same


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # of torch's own modules
def test_aotinductor_and_the_second_reader_predict_as_the_bundle(fm_bundle: Path, tmp_path: Path) -> None:
    ctrloom.export(fm_bundle, tmp_path / "out", "torch")
    program = torch.export.load(tmp_path / "out" / "model.pt2")
    package = torch._inductor.aoti_compile_and_package(program, package_path=str(tmp_path / "compiled.pt2"))
    compiled = torch._inductor.aoti_load_package(package)
    ids, factors = map(torch.from_numpy, read(tmp_path / "out"))
    expected = ctrloom.load_bundle(fm_bundle).predict(RAW)
    for rows in (1, 2, 3, 4):
        probability = compiled(ids[:rows], factors[:rows])[1]
        np.testing.assert_allclose(probability.numpy(), expected[:rows], rtol=0, atol=1e-6)


def test_record_describes_the_files(fm_bundle: Path, as_onnx: Path) -> None:
    record = storage.read_record(as_onnx / "export.json", ExportRecord)
    storage.verify_files(as_onnx, record.files, "export.json")
    files = {str(path.relative_to(as_onnx)) for path in as_onnx.rglob("*") if path.is_file()}
    assert files == {"export.json", "encoder.json", "model.onnx", "tokens/user.jsonl", "tokens/tags.jsonl"}
    model = onnx.load(as_onnx / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert record.opset == next(each.version for each in model.opset_import if each.domain == "")
    shapes = {
        each.name: [dim.dim_value or dim.dim_param for dim in each.type.tensor_type.shape.dim]
        for each in (*model.graph.input, *model.graph.output)
    }
    assert {spec.name: list(spec.shape) for spec in (*record.inputs, *record.outputs)} == shapes
    card = load_bundle(fm_bundle).card
    assert record.schema_fingerprint == card.schema_fingerprint
    assert (record.parity.given, record.parity.batch_sizes) == (0, (1, 2, 7, 1000))
    assert 0 <= record.parity.probability < 1e-5
    assert json.loads((as_onnx / "encoder.json").read_text())["schema_fingerprint"] == card.schema_fingerprint


def test_damage_of_an_export_is_noticed(as_onnx: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(as_onnx, copy)
    assert ctrloom.read_export(copy).format == "onnx"
    assert undetected(lambda: ctrloom.read_export(copy), copy, 15) == 0
    (copy / "tokens" / "more.txt").write_text("x")
    with pytest.raises(ctrloom.UserError, match=r"more\.txt: is not one of the files"):
        ctrloom.read_export(copy)


def test_a_model_that_differs_is_an_error_and_leaves_nothing(
    fm_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = FORMATS["torch"]

    def opened(path: Path) -> Any:
        run = kind.open(path)
        return lambda rows: (run(rows)[0], run(rows)[1] + (2e-5 if len(rows) == 7 else 0))

    monkeypatch.setitem(FORMATS, "torch", kind._replace(open=opened))
    with pytest.raises(
        check.ParityError, match=r"bundle as torch: .*differs from the bundle.*nothing was written"
    ):
        ctrloom.export(fm_bundle, tmp_path / "out", "torch")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("tables", ["int8", "bf16"])
def test_compressed_tables_report_their_cost(
    mixed: Dataset, mixed_folder: Path, fm_bundle: Path, tmp_path: Path, tables: Any
) -> None:
    raw = mixed_folder / "test.csv"
    record = ctrloom.export(fm_bundle, tmp_path / "out", "torch", [str(raw)], tables)
    assert record.parity.given == 300
    cost = record.tables_cost
    assert cost is not None
    assert cost.rows == 300
    rows = mixed.rows("test")
    logits = score(load_bundle(fm_bundle).model, rows)
    positive, negative = logits[rows.label_N == 1], logits[rows.label_N == 0]
    weight = rows.weight_N.numpy()
    weights = np.outer(weight[rows.label_N == 1], weight[rows.label_N == 0])
    pairs = (positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)
    assert cost.auc == pytest.approx(np.average(pairs, weights=weights), abs=1e-9)
    assert abs(cost.auc_exported - cost.auc) < 0.01
    assert 1e-7 < cost.probability < 0.05


def test_given_rows_are_checked_and_must_have_the_columns(
    fm_bundle: Path, mixed_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "few.csv").write_text("user,age\nu1,30\n")
    with pytest.raises(DataError, match=r"few\.csv.*price"):
        ctrloom.export(fm_bundle, tmp_path / "out", "torch", [str(tmp_path / "few.csv")])
    assert not (tmp_path / "out").exists()
    record = ctrloom.export(fm_bundle, tmp_path / "out", "torch", [str(mixed_folder / "test.csv")])
    assert (record.parity.given, record.parity.rows) == (300, 1310)


def test_a_missing_package_is_one_line(
    fm_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ConfigError, match=r"--format onnx needs .*onnxscript.*\[export\]"):
        ctrloom.export(fm_bundle, tmp_path / "out", "onnx")


def test_an_installation_that_cannot_trace_is_one_line(
    fm_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The image of the server leaves out what PyTorch needs only for that."""
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == "mpmath" else name)
    with pytest.raises(ConfigError, match="cannot trace models here: mpmath is missing"):
        ctrloom.export(fm_bundle, tmp_path / "exported")


def test_the_command_exports_and_replaces_only_exports(
    fm_bundle: Path, mixed_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = ["export", "--bundle", fm_bundle, "--output", out, "--format", "torch"]
    more = ["--rows", mixed_folder / "test.csv", "--tables", "bf16"]
    for extra in ([], more):  # the second replaces the first
        result = CliRunner().invoke(app, [str(part) for part in (*command, *extra)])
        assert result.exit_code == 0, result.output
    assert "model.pt2: the largest difference of a probability from the bundle is" in result.output
    assert "tables as bf16: AUC " in result.output
    (out / "notes.txt").write_text("mine")
    result = CliRunner().invoke(app, [str(part) for part in command])
    assert "notes.txt" in str(result.exception)
    assert (out / "notes.txt").read_text() == "mine"
