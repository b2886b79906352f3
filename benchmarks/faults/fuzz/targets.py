"""Every parser of bytes that others may have written."""

import hashlib
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
import yaml
from hostile import assets

import ctrloom
from ctrloom import storage
from ctrloom.architecture import Architecture
from ctrloom.config import CompareConfig, SourceConfig
from ctrloom.config.files import load_run_config
from ctrloom.config.retraining import RetrainingConfig
from ctrloom.data.dataset import Dataset
from ctrloom.data.ingest.cast import read_rows
from ctrloom.data.manifest import IngestedManifest
from ctrloom.data.vocabulary.encode import Encoder
from ctrloom.evaluation.promotion_gate import load_verdict
from ctrloom.evaluation.regression import load_baseline
from ctrloom.evaluation.results import Results
from ctrloom.models.bundle import load_bundle
from ctrloom.runners.placement import load_hardware
from ctrloom.search_trace import SearchTrace
from ctrloom.serving import prediction_file
from ctrloom.serving.prediction_folder import ScoredFile
from ctrloom.serving.registry import Registry
from ctrloom.stages.batch_scores import read_scores
from ctrloom.stages.job_records import read_failure
from ctrloom.training.checkpoints.files import CheckpointRecord, Checkpoints
from ctrloom.training.checkpoints.state import as_safetensors, encoded
from ctrloom.training.runs import open_runs
from ctrloom.tuning.record import Tuning
from fuzz.kinds import Cluster, Configuration, Dates, File, Json, Labels, Part, Rows, Setting, Target
from fuzz.serving_kinds import LogParts, RestRequests, RpcRequests, parquet_labels, read_labels

ROOT = Path(__file__).parents[3]
sys.path.append(str(ROOT / "tests" / "evaluation"))  # invented_results


def _registry(folder: Path) -> None:
    registry = Registry(folder)
    for version in registry.versions():
        registry.version(version.version)
    if found := registry.champion():
        registry.record()
        shutil.rmtree(folder.parent / "fetched", ignore_errors=True)
        registry.fetch(found[0], folder.parent / "fetched")


def _rows(folder: Path) -> None:
    dataset = Dataset.open(folder)
    for split in ("train", "valid", "test"):
        dataset.rows(split)  # type: ignore[arg-type]
    dataset.encoder()


def _trained(folder: Path) -> None:
    for run in open_runs(folder):
        run.record.model_dump()


def _results() -> dict[str, Any]:
    from invented_results import made_up

    return made_up()[0].model_dump(mode="json")


def _trace() -> dict[str, Any]:
    from invented_results import made_up_trace

    return made_up_trace().model_dump(mode="json")


def _architecture() -> dict[str, Any]:
    return Architecture.complete(["a", "b", "c"]).model_dump(mode="json")


def _tuning() -> dict[str, Any]:
    return {"budget": None, "models": []}


def _export() -> dict[str, Any]:
    texts = ("model", "title", "data_fingerprint", "schema_fingerprint", "architecture_fingerprint")
    ids = {"name": "ids", "dtype": "int32", "shape": ["batch", 2]}
    return {
        **dict.fromkeys((*texts, "code_version", "torch_version"), "x"),
        **{"format": "onnx", "model_file": "model.onnx", "seed": 0, "negatives_kept": 1.0},
        **{"inputs": [ids], "outputs": [ids]},
        "parity": {"rows": 1, "batch_sizes": [1], "probability": 0.0, "logit": 0.0},
    }


def _scored() -> dict[str, Any]:
    counts = {"rows": 2, "malformed": 1, "first_malformed": "x", "fields": {"a": {}}}
    return {"input": "x", "input_state": "x", "output_state": "x", "request": "0" * 64, "counts": counts}


def _scores() -> dict[str, Any]:
    predicted = {"rows": 2, "malformed": 0, "fields": [], "files": []}
    return {"output": "x/", "bundle": "v", "predicted": predicted}


def _failure() -> dict[str, Any]:
    return {"entry": "fm", "seed": 0, "reason": "x", "code_version": "x"}


def _predictions() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "predictions.parquet"
        with prediction_file.writing(file, "parquet", prediction_file.COLUMNS) as write:
            write(pa.table([[0, 1], [0.5, None], [None, "x"]], schema=prediction_file.COLUMNS))
        return file.read_bytes()


def _checkpoint(path: Path) -> None:
    path.with_suffix(".safetensors").write_bytes(_TENSORS)
    if Checkpoints(path.parent).load() is None:
        raise storage.DamagedError(f"{path}: not used")


_TREE, _SAVED_TENSORS = encoded({"step": 3, "best": [0.5, None], "weights": {"a": torch.ones(2, 3)}})
_TENSORS = b"".join(as_safetensors(_SAVED_TENSORS))
_SAVED = CheckpointRecord(state=_TREE, sha256=hashlib.sha256(_TENSORS).hexdigest())
LISTS = {"click": "label", "a": "categorical", "m": {"kind": "multivalued", "format": "json"}}
CSV = b"click,a,n,m,t,w\n1,x,1.5,p|q,0,1\n0,y,,r,86400,2\n"
REGRESSION = json.loads((ROOT / "configs/regression/planted.json").read_text())
TARGETS: dict[str, Target] = {
    "run.yaml": File(
        load_run_config,
        lambda: [(ROOT / "configs/demo.yaml").read_bytes(), yaml.safe_dump(assets.RUN).encode()],
        "run.yaml",
    ),
    "comparison.yaml": Configuration(
        CompareConfig, "configs/compare/frappe.yaml", "configs/regression/planted.yaml"
    ),
    "retraining.yaml": Configuration(RetrainingConfig, "configs/retraining/daily.yaml"),
    "hardware.yaml": File(
        load_hardware, lambda: [(ROOT / "src/ctrloom/config/hardware.yaml").read_bytes()], "hardware.yaml"
    ),
    "overrides": Setting(),
    "csv": Rows("csv", CSV, CSV.replace(b"x", b'"x ""1"""')),
    "csv without header": Rows("csv", CSV.partition(b"\n")[2], header=False),
    "libsvm": Rows("libsvm", b"1 3:1 7:0.5\n0 4:1 7:2\n"),
    "libffm": Rows("libffm", b"1 0:3:1 1:7:0.5\n0 0:4:1 2:7:2\n"),
    "csv with JSON lists": Rows("csv", b'click,a,m\n1,x,"[""p"", 1]"\n0,y,[]\n', columns=LISTS),
    "parquet rows": File(
        lambda path: [
            list(
                read_rows(
                    SourceConfig.parse(
                        {"format": "parquet", "columns": {"click": "label", "a": "categorical"}}, "fuzz"
                    ),
                    [str(path)],
                )
            )
        ],
        lambda: [_parquet()],
    ),
    "predictions": File(
        ctrloom.read_predictions, lambda: [_parquet(), _predictions()], "predictions.parquet"
    ),
    "dates": Dates(),
    "label rules": Labels(),
    "schema.json": Part("bundle", "schema.json", Encoder.load),
    "vocabulary": Part("bundle", "vocabulary/a.parquet", Encoder.load),
    "model.json": Part("bundle", "model.json", load_bundle),
    "architecture.json": Part("bundle", "architecture.json", load_bundle),
    "model.safetensors": Part("bundle", "model.safetensors", load_bundle),
    "manifest.json": Part("encoded", "manifest.json", _rows),
    "encoded rows": Part("encoded", "valid/*.parquet", _rows),
    "run.json": Part("runs", "fm/run.json", _trained),
    "version.json": Part("registry", "versions/*/version.json", _registry),
    "champion.json": Part("registry", "champion.json", _registry),
    "ingested manifest": Json(IngestedManifest.load, lambda: {"kind": "ingested"}, "manifest.json"),
    "search.json": Json(SearchTrace.load, _trace, "search.json"),
    "architecture on its own": Json(Architecture.load, _architecture, "architecture.json"),
    "metrics.json": Json(Results.load, _results, "metrics.json"),
    "baseline.json": Json(load_baseline, lambda: REGRESSION, "baseline.json"),
    "verdict.json": Json(load_verdict, lambda: {"promote": True}, "verdict.json"),
    "tuning.json": Json(lambda path: Tuning.load(path.parent), _tuning, "tuning.json"),
    "checkpoint": Json(_checkpoint, lambda: _SAVED.model_dump(mode="json"), "1.json"),
    "export.json": Json(lambda path: ctrloom.read_export(path.parent), _export, "export.json"),
    "record of scores": Json(lambda path: storage.read_record(path, ScoredFile), _scored, "x.parquet.json"),
    "scores.json": Json(lambda path: read_scores(path.parent), _scores, "scores.json"),
    "failure.json": Json(lambda path: read_failure(path.parent), _failure, "failure.json"),
    "REST requests": RestRequests(),
    "gRPC requests": RpcRequests(),
    "traffic log": LogParts(),
    "labels csv": File(read_labels, lambda: [b"request_id,row,click\nr0,0,1\nr1,2,0\n"], "labels.csv"),
    "labels parquet": File(read_labels, parquet_labels, "labels.parquet"),
    "any JSON": Json(storage.read_json, lambda: {"a": [1, 2.5, None, "x"]}, "any.json"),
    "answers of KFP": Cluster(),
}


def _parquet() -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"click": [0, 1], "a": ["x", "y"]}), sink)
    return sink.getvalue().to_pybytes()
