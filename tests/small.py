"""Small schemas, rows and clicks shared by several tests."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ctrloom.config import Hyperparameters, SourceConfig
from ctrloom.data.batches.batch import Batch
from ctrloom.data.synthetic import Planted, SynthConfig
from ctrloom.schema import CountedKeys, Cross, CrossKeys, Field, Schema

COLUMNS = {
    "click": "label",
    "user": "categorical",
    "age": "numeric",
    "price": "numeric",
    "tags": "multivalued",
    "share": "weight",
}
LITTLE = Hyperparameters(
    embedding_size=4, hidden=(8,), dropout=0, epochs=2, batch_size=128, learning_rate=0.01, decays=0
)


def schema_of(*fields: tuple[str, int] | tuple[str, int, int]) -> Schema:
    """A schema from (kind, size) or (kind, size, width) per field; the fields are called a, b, c, ..."""
    made = [
        Field(name=chr(97 + i), column=chr(97 + i), kind=f[0], size=f[1], width=f[2] if len(f) == 3 else 1)
        for i, f in enumerate(fields)
    ]
    columns: dict[str, Any] = {"click": "label", **{field.name: field.kind for field in made}}
    return Schema(fields=tuple(made), source=SourceConfig.parse({"columns": columns}, "test"))


def crossed(schema: Schema, share: float = 0.6, seed: int = 0) -> tuple[Schema, CrossKeys]:
    """The schema with cross features of all categorical pairs, and a random share of their keys."""
    rng, keys = np.random.default_rng(seed), {}
    for a, b in combinations([field for field in schema.fields if field.kind == "categorical"], 2):
        every = np.arange(a.size * b.size)
        known = every[(every // b.size != 1) & (every % b.size != 1)]
        kept = known[rng.random(len(known)) < share]
        keys[a.name, b.name] = CountedKeys(kept, rng.integers(1, 4, len(kept)))
    crosses = tuple(Cross(fields=pair, size=1 + len(kept.key_K), digest="") for pair, kept in keys.items())
    return schema.model_copy(update={"crosses": crosses}), keys


def categorical_schema(count: int, size: int = 7) -> Schema:
    """A schema of `count` categorical fields."""
    return schema_of(*[("categorical", size)] * count)


def rows_of(schema: Schema, count: int, seed: int = 0) -> Batch:
    """Random rows in the layout of the encoder, built by loops over values."""
    rng = np.random.default_rng(seed)
    ids = np.zeros((count, len(schema.field_of_column)), dtype=np.int32)
    factors = np.ones(ids.shape, dtype=np.float32)
    for n in range(count):
        c = 0
        for field, offset in zip(schema.fields, schema.offsets, strict=True):
            if field.kind == "categorical":
                ids[n, c] = offset + rng.integers(field.size)
            elif field.kind == "numeric":
                present = rng.random() < 0.8
                ids[n, c] = offset + int(present)
                factors[n, c] = rng.normal() if present else 1
            else:
                values = int(rng.integers(field.width + 1))
                for k in range(field.width):
                    ids[n, c + k] = offset + (rng.integers(field.size) if k < values else 0)
                    factors[n, c + k] = 1 / values if k < values else 0
                if values == 0:
                    factors[n, c] = 1
            c += field.width
    label = torch.from_numpy((rng.random(count) < 0.4).astype(np.float32))
    return Batch(torch.from_numpy(ids), label, torch.from_numpy(factors) if schema.has_factors else None)


@dataclass(frozen=True)
class Planting:
    """Synthetic clicks and their planted interactions."""

    schema: Schema
    rows: Batch
    interactions: frozenset[tuple[str, ...]]


def planting(**config: Any) -> Planting:
    """Clicks of `SynthConfig`, encoded without files: value v has id v + 2."""
    made = Planted(SynthConfig(**config))
    values, labels = (np.concatenate(part) for part in zip(*made.chunks(), strict=True))
    fields = [
        Field(name=n, column=n, kind="categorical", size=s + 2)
        for n, s in zip(made.names, made.sizes, strict=True)
    ]
    source = SourceConfig.parse(
        {"columns": {"click": "label", **dict.fromkeys(made.names, "categorical")}}, "test"
    )
    schema = Schema(fields=tuple(fields), source=source)
    ids = (values + 2 + np.array(schema.offsets)).astype(np.int32)
    rows = Batch(torch.from_numpy(ids), torch.from_numpy(labels.astype(np.float32)))
    return Planting(schema, rows, frozenset(tuple(made.names[f] for f in t) for t in made.interactions))


def mixed_csv(rng: np.random.Generator, rows: int, unseen: bool = False, label: bool = True) -> str:
    """CSV lines with the columns of `COLUMNS`; some values are missing and, with `unseen`, some unknown."""
    lines = [",".join(name for name in COLUMNS if label or name not in ("click", "share"))]
    for _ in range(rows):
        user = int(rng.integers(20))
        tags = [f"t{t}" for t in rng.choice(6, int(rng.integers(4)), replace=False)]
        click = int(rng.random() < 0.25 + 0.5 * (user % 3 == 0))
        values = {
            "click": str(click),
            "user": "stranger" if unseen and rng.random() < 0.1 else "" if rng.random() < 0.1 else f"u{user}",
            "age": "" if rng.random() < 0.1 else str(int(rng.integers(80))),
            "price": "" if rng.random() < 0.1 else f"{rng.normal(10, 5):.3f}",
            "tags": "|".join([*tags, "new"] if unseen and rng.random() < 0.1 else tags),
            "share": f"{rng.integers(1, 4)}",
        }
        lines.append(",".join(v for k, v in values.items() if label or k not in ("click", "share")))
    return "\n".join(lines) + "\n"


def edit_json(path: Path, change: Callable[[Any], object]) -> None:
    """Change what a JSON file holds, its checksum included."""
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def made_older(folder: Path) -> Path:
    """A folder without checksums, as older versions wrote it."""
    for path in folder.rglob("*.json"):
        listing = path.name in ("model.json", "run.json", "search.json", "job.json")
        keys = ("checksum", "files") if listing else ("checksum",)
        edit_json(path, lambda value, keys=keys: [value.pop(key, None) for key in keys])
    return folder


# Settings of a run that takes seconds
QUICK: dict[str, Any] = {
    "search.method": "autofis",
    "search.epochs": 1,
    "search.random_draws": 1,
    "baselines": ["fm"],
    "transfer": ["ipnn"],
    "seeds": [0],
    "models.default": {"embedding_size": 4, "hidden": [8], "epochs": 1},
    "evaluation.bootstrap": 100,
}
