"""Bundles that were damaged, or changed by hand, when they score rows."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from program import Done
from safetensors.torch import load_file, save_file

from hostile.assets import SCORED
from hostile.case import Case

PREDICT = "predict --bundle bundle --input rows.csv --output out.parquet"


def changed(name: str, file: str, change: Callable[[Path], None], error: str, sealed: bool = True) -> Case:
    """A copy of the bundle with one file changed; unless `sealed`, its checksums are removed first."""

    def make(path: Path) -> None:
        if not sealed:
            _unseal(path.parent)
        change(path)

    return Case(name, {"bundle/.copy": _copy, f"bundle/{file}": make, "rows.csv": SCORED}, PREDICT, error)


def edited(name: str, file: str, edit: Callable[[Any], Any], error: str) -> Case:
    """A JSON file of the bundle edited, without checksums."""

    def change(path: Path) -> None:
        value = json.loads(path.read_text())
        edited_value = edit(value)
        path.write_text(json.dumps(value if edited_value is None else edited_value))

    return changed(name, file, change, error, sealed=False)


def content(name: str, file: str, data: str | bytes, error: str, sealed: bool = True) -> Case:
    """Other content of a file."""
    data = data.encode() if isinstance(data, str) else data
    return changed(name, file, lambda path: path.write_bytes(data) and None, error, sealed)


def _copy(path: Path) -> None:
    shutil.copytree(os.environ["CTRLOOM_ASSETS"] + "/bundle", path.parent, dirs_exist_ok=True)


def _unseal(folder: Path) -> None:
    for path in folder.glob("*.json"):
        value = json.loads(path.read_text())
        for key in ("checksum", "files"):
            value.pop(key, None)
        path.write_text(json.dumps(value))


def weights(name: str, change: Callable[[dict[str, torch.Tensor]], Any], error: str) -> Case:
    """Other tensors, without checksums."""

    def make(path: Path) -> None:
        tensors = load_file(path)
        change(tensors)
        save_file(tensors, path)

    return changed(name, "model.safetensors", make, error, sealed=False)


def _header(length: int) -> bytes:
    return length.to_bytes(8, "little") + b"{}"


def _first(tensors: dict[str, torch.Tensor]) -> str:
    return next(iter(sorted(tensors)))


def _nan(tensors: dict[str, torch.Tensor]) -> None:
    tensors[_first(tensors)].view(-1)[0] = float("nan")


def _halved(tensors: dict[str, torch.Tensor]) -> None:
    for name, tensor in tensors.items():
        tensors[name] = tensor.double() if tensor.is_floating_point() else tensor


def _unlink(path: Path) -> None:
    path.unlink()


def _probabilities(folder: Path, done: Done) -> bool:
    return (folder / "out.parquet").is_file()


W, CARD, ARCH, SCHEMA = "model.safetensors", "model.json", "architecture.json", "schema.json"
A = r"bundle/vocabulary/a\.parquet"
CASES = [
    Case("as it was written", {"bundle/.copy": _copy, "rows.csv": SCORED}, PREDICT, check=_probabilities),
    *(
        changed(f"{file} is missing", file, _unlink, rf"{file}|bundle")
        for file in (W, CARD, ARCH, SCHEMA, "vocabulary/a.parquet")
    ),
    *(
        content(f"{file} is empty", file, b"", rf"{file}")
        for file in (W, CARD, ARCH, SCHEMA, "vocabulary/a.parquet")
    ),
    *(content(f"{file} is null", file, "null", rf"{file}", False) for file in (CARD, ARCH, SCHEMA)),
    *(content(f"{file} is a list", file, "[]", rf"{file}", False) for file in (CARD, ARCH, SCHEMA)),
    *(
        content(f"{file} is UTF-16", file, "{}".encode("utf-16"), rf"{file}", False)
        for file in (CARD, ARCH, SCHEMA)
    ),
    *(
        content(f"{file} is nested 100,000 deep", file, "[" * 100_000, rf"{file}", False)
        for file in (CARD, SCHEMA)
    ),
    *(
        content(
            f"{file} has a number of 5,000 digits", file, '{"version": ' + "1" * 5000 + "}", rf"{file}", False
        )
        for file in (CARD, ARCH)
    ),
    content("a pickle for weights", W, b"\x80\x04\x95\x10\0\0\0", r"model\.safetensors", False),
    content("weights with a huge header", W, _header(2**62), r"model\.safetensors", False),
    content("weights with a negative header", W, _header(2**64 - 1), r"model\.safetensors", False),
    content(
        "weights with a damaged header",
        W,
        (20).to_bytes(8, "little") + b"{" * 20,
        r"model\.safetensors",
        False,
    ),
    changed(
        "truncated weights",
        W,
        lambda path: os.truncate(path, path.stat().st_size - 4),
        r"model\.safetensors",
        False,
    ),
    changed(
        "more bytes after the weights",
        W,
        lambda path: path.write_bytes(path.read_bytes() + b"\0") and None,
        r"model\.safetensors",
    ),
    weights("a weight that is NaN", _nan, r"model\.safetensors.*(finite|NaN)"),
    weights("weights of another type", _halved, r"model\.safetensors.*(float64|dtype|type)"),
    weights("a missing tensor", lambda tensors: tensors.pop(_first(tensors)), r"model\.safetensors"),
    weights("an additional tensor", lambda tensors: tensors.update(x=torch.zeros(1)), r"model\.safetensors"),
    weights(
        "a tensor of another shape",
        lambda tensors: tensors.update({_first(tensors): torch.zeros(1, 2, 3)}),
        r"model\.safetensors",
    ),
    content("a vocabulary that is text", "vocabulary/a.parquet", "x,y\n", A, False),
    edited("a newer card", CARD, lambda card: card.update(version=99), r"model\.json.*version"),
    edited("a newer architecture", ARCH, lambda it: it.update(version=99), r"architecture\.json.*version"),
    edited("a newer schema", SCHEMA, lambda it: it.update(version=99), r"schema\.json.*version"),
    edited("a card with another key", CARD, lambda card: card.update(colour=1), r"model\.json.*colour"),
    edited("a card of an unknown model", CARD, lambda card: card.update(model="xyz"), r"model\.json.*xyz"),
    edited(
        "a card of another model",
        CARD,
        lambda card: card.update(model="deepfm"),
        r"model\.(safetensors|json)",
    ),
    edited(
        "a card of a billion dimensions",
        CARD,
        lambda card: card["hyperparameters"].update(embedding_size=10**9),
        r"(embedding_size|memory|GiB|GB|safetensors)",
    ),
    edited(
        "a schema with less negatives", SCHEMA, lambda it: it.update(negatives_kept=0.01), r"schema\.json"
    ),
    edited(
        "a schema without negatives",
        SCHEMA,
        lambda it: it.update(negatives_kept=0),
        r"schema\.json.*negatives_kept",
    ),
    edited("a schema with NaN", SCHEMA, lambda it: it.update(negatives_kept=float("nan")), r"schema\.json"),
    edited(
        "a schema with other missing values",
        SCHEMA,
        lambda it: it["source"].update(missing_values=["x"]),
        r"schema\.json",
    ),
    edited(
        "a field of another size",
        SCHEMA,
        lambda it: it["fields"][0].update(size=10**9),
        r"(schema\.json|vocabulary|GiB|GB)",
    ),
    edited("a field of size -1", SCHEMA, lambda it: it["fields"][0].update(size=-1), r"schema\.json"),
    edited(
        "a field that leaves the folder",
        SCHEMA,
        lambda it: it["fields"][0].update(name="../../x"),
        r"schema\.json|\.\./",
    ),
    edited(
        "a field twice",
        SCHEMA,
        lambda it: it["fields"].append(it["fields"][0]),
        r"schema\.json|architecture\.json",
    ),
    edited(
        "boundaries in another order",
        SCHEMA,
        lambda it: it["fields"][1].update(boundaries=[3.0, 1.0]),
        r"schema\.json",
    ),
    edited(
        "an architecture of other fields",
        ARCH,
        lambda it: it.update(fields=["x", "y"], interactions=[]),
        r"(architecture\.json|field named 'x')",
    ),
    edited(
        "an interaction twice",
        ARCH,
        lambda it: it["interactions"].append(it["interactions"][0]),
        r"architecture\.json.*duplicate",
    ),
    edited(
        "an interaction of an unknown field",
        ARCH,
        lambda it: it["interactions"].append({"fields": ["a", "z"]}),
        r"architecture\.json.*'z'",
    ),
    Case("no bundle", {"rows.csv": SCORED}, PREDICT, r"bundle"),
    Case("a bundle that is a file", {"rows.csv": SCORED, "bundle": "x"}, PREDICT, r"bundle"),
    Case("an empty bundle", {"rows.csv": SCORED, "bundle": lambda path: path.mkdir()}, PREDICT, r"bundle"),
    Case(
        "a bundle that is a run",
        {"rows.csv": SCORED},
        "predict --bundle {assets}/runs --input rows.csv --output o.parquet",
        r"runs/model\.json|bundle",
    ),
]
