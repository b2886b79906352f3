"""Folders of predictions and exports: what is in the way, damaged, or of others."""

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pyarrow.parquet as pq
from program import Done

from ctrloom import storage
from ctrloom.serving.prediction_folder import Counts, ScoredFile
from hostile.assets import SCORED
from hostile.case import Case, Check, Content

PREDICT = "predict --bundle {assets}/bundle --input rows.csv --output out/ "
EXPORT = "export --bundle {assets}/bundle --format torch --output out"


def folder(
    name: str,
    files: Mapping[str, Content],
    error: str = "",
    command: str = PREDICT,
    check: Check = Case.check,
) -> Case:
    """A folder of predictions."""
    return Case(f"folder: {name}", {"rows.csv": SCORED, **files}, command, error, check)


def export(name: str, files: Mapping[str, Content], error: str, command: str = EXPORT) -> Case:
    """An export."""
    return Case(f"export: {name}", {"rows.csv": SCORED, **files}, command, error)


def _scored(folder: Path, done: Done) -> bool:
    return pq.read_table(folder / "out" / "rows.parquet").num_rows == 3


def _of_another(path: Path) -> None:
    record = ScoredFile(
        input="/elsewhere/rows.csv", input_state="0", output_state="0", request="0" * 64, counts=Counts()
    )
    storage.write_record(path, record)


def _bundle(change: Callable[[Path], None]) -> Content:
    def make(path: Path) -> None:
        shutil.copytree(os.environ["CTRLOOM_ASSETS"] + "/bundle", path.parent, dirs_exist_ok=True)
        change(path.parent)

    return make


def _flip(folder: Path) -> None:
    file = folder / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


RECORD = "out/_scores/rows.parquet.json"
CASES = [
    folder("new", {}, check=_scored),
    folder("a record that is empty", {RECORD: ""}, check=_scored),
    folder("a record that is no JSON", {RECORD: "{"}, check=_scored),
    folder("a record that is null", {RECORD: "null"}, check=_scored),
    folder("a record of a newer version", {RECORD: '{"version": 99}'}, check=_scored),
    folder("a record of another input", {RECORD: _of_another}, "predictions of another file"),
    folder("a record that is a folder", {f"{RECORD}/x": "x"}, r"rows\.parquet\.json"),
    folder("predictions that are a folder", {"out/rows.parquet/x": "x"}, r"rows\.parquet"),
    folder("records that are a file", {"out/_scores": "x"}, r"_scores"),
    folder("a damaged file of predictions", {"out/rows.parquet": "PAR1"}, check=_scored),
    folder("an input twice", {}, "given twice", PREDICT.replace("rows.csv", "rows.csv --input rows.csv")),
    folder("output is the folder of the input", {}, "input", PREDICT.replace("out/", "./")),
    folder("to keep a column that is missing", {}, "'?zzz'?", PREDICT + "--keep zzz"),
    folder("to keep a column of the predictions", {}, "--keep row", PREDICT + "--keep row"),
    folder("to keep a column twice", {}, "given twice", PREDICT + "--keep a,a"),
    folder("inputs of two layouts", {"b.csv": "n\n1\n"}, r"b\.csv.*'a'", PREDICT + "--input b.csv"),
    folder("no input matches", {}, "no file matches", PREDICT.replace("rows.csv", "'x*.csv'")),
    folder("an unknown format", {}, "format", PREDICT + "--format xls"),
    export("over the bundle", {}, "input", EXPORT.replace("--output out", "--output {assets}/bundle")),
    export("over a folder of others", {"out/notes.txt": "x"}, r"notes\.txt|out"),
    export("over a file", {"out": "x"}, "out"),
    export("of no bundle", {}, "none", EXPORT.replace("{assets}/bundle", "none")),
    export(
        "of a damaged bundle",
        {"b/.copy": _bundle(_flip)},
        r"model\.safetensors",
        EXPORT.replace("{assets}/bundle", "b"),
    ),
    export("with rows that are missing", {}, "no file matches", EXPORT + " --rows none.csv"),
    export("with rows of another layout", {"b.csv": "n\n1\n"}, "'a'", EXPORT + " --rows b.csv"),
    export("with rows without labels", {}, "click", EXPORT + " --tables int8 --rows rows.csv"),
    export("smaller tables of another type", {}, "tables", EXPORT + " --tables int4"),
]
