"""Bundles with the shape of Criteo, for benchmarks of scoring: 39 fields, about 300,000 ids, initial weights.

    python benchmarks/criteo_bundle.py --model deepfm --output DIR

13 numeric fields have the buckets of AutoInt, 26 categorical ones have tokens of eight hexadecimal digits.
"""

import argparse
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from plain import PLAIN
from training.shapes import draw, sizes_of

from ctrloom import storage
from ctrloom.architecture import Architecture, Interaction
from ctrloom.config import ModelsConfig, SourceConfig
from ctrloom.config.vocabulary import LogSquared
from ctrloom.data.vocabulary.encode import Encoder, Vocabulary
from ctrloom.data.vocabulary.stored_crosses import keys_digest
from ctrloom.models import build
from ctrloom.models.bundle import ARCHITECTURE, MODEL, WEIGHTS, ModelCard, save_weights
from ctrloom.nn.cross_features import fill_crosses
from ctrloom.schema import CountedKeys, Cross, CrossKeys, Field, Schema
from ctrloom.serving.predictor import Predictor

IDS = 300_000
NUMERIC = [f"I{i}" for i in range(1, 14)]
CATEGORICAL = [f"C{i}" for i in range(1, 27)]
MEMORIZED, FACTORIZED = 100, 200  # pairs of OptInter
KEYS = 2000  # of a memorized pair
MODELS = {"fm": "FM", "deepfm": "DeepFM", "ipnn": "IPNN", "optinter": "OptInter"}


Row = dict[str, Any]


def token(field: int, number: int) -> str:
    """A token of eight hexadecimal digits."""
    return f"{(number * 2654435761 + field * 40503) % 2**32:08x}"


@cache
def encoder() -> tuple[Encoder, CrossKeys]:
    """An encoder with the crosses of some pairs, and the keys of these."""
    buckets = [str(code) for code in range(-1, 200)]
    tokens = {name: buckets for name in NUMERIC}
    for i, (name, size) in enumerate(zip(CATEGORICAL, sizes_of("criteo", IDS), strict=False)):
        tokens[name] = list(dict.fromkeys(token(i, number) for number in range(size)))
    vocabularies = {
        name: Vocabulary(pa.array(each), pa.array(np.ones(len(each), np.int64)))
        for name, each in tokens.items()
    }
    fields = tuple(
        Field(
            name=name,
            column=name,
            kind="categorical",
            size=len(vocabulary) + 2,
            bucketing=LogSquared() if name in NUMERIC else None,
            vocabulary_digest=vocabulary.digest,
        )
        for name, vocabulary in vocabularies.items()
    )
    columns = {
        "label": "label",
        **dict.fromkeys(NUMERIC, "numeric"),
        **dict.fromkeys(CATEGORICAL, "categorical"),
    }
    source = SourceConfig.parse({"format": "tsv", "header": False, "columns": columns}, "benchmark")
    keys, size, rng = {}, {field.name: field.size for field in fields}, np.random.default_rng(0)
    for a, b in list(combinations(size, 2))[:MEMORIZED]:
        kept = np.unique(rng.integers(0, size[a] * size[b], KEYS))
        keys[a, b] = CountedKeys(kept, np.full(len(kept), 5))
    crosses = tuple(
        Cross(fields=pair, size=1 + len(key_K), digest=keys_digest(key_K))
        for pair, (key_K, _) in keys.items()
    )
    return Encoder(Schema(fields=fields, source=source, crosses=crosses), vocabularies), keys


def predictor(name: str) -> Predictor:
    """A predictor with initial weights; OptInter memorizes some pairs and factorizes others."""
    made, keys = encoder()
    architecture = Architecture.complete(made.schema.names)
    if name == "optinter":
        every = list(combinations(made.schema.names, 2))
        chosen = [Interaction(fields=pair, function="memorize") for pair in every[:MEMORIZED]]
        chosen += [Interaction(fields=pair, function="hadamard") for pair in every[-FACTORIZED:]]
        architecture = architecture.model_copy(update={"interactions": tuple(chosen)})
    settings = ModelsConfig({name: {**PLAIN, "embedding_size": 16}}).of(name)
    model = build(name, architecture, made.schema, settings)
    fill_crosses(model, keys)
    card = ModelCard(
        title=MODELS[name],
        model=name,
        hyperparameters=settings,
        seed=0,
        data_fingerprint="",
        schema_fingerprint=made.schema.fingerprint,
        architecture_fingerprint=architecture.fingerprint,
        code_version="benchmark",
    )
    return Predictor(card, architecture, made.schema, model.eval(), made)


def rows(number: int, seed: int = 0) -> list[Row]:
    """Raw rows as a JSON request has them; one value in ten is missing."""
    rng = np.random.default_rng(seed)
    token_NF, _ = draw(sizes_of("criteo", IDS)[:26], number, seed)
    count_NF = np.floor(np.exp(rng.normal(1.5, 2, (number, len(NUMERIC))))).astype(int)
    found = []
    for n in range(number):
        row: Row = {name: int(count) for name, count in zip(NUMERIC, count_NF[n], strict=True)}
        row |= {name: token(f, int(token_NF[n, f])) for f, name in enumerate(CATEGORICAL)}
        found.append({name: None if rng.random() < 0.1 else value for name, value in row.items()})
    return found


def save(made: Predictor, folder: Path) -> None:
    """Write a bundle that `ctrloom predict` and `ctrloom serve` can load."""
    folder.mkdir(parents=True)
    save_weights(made.model, folder / WEIGHTS)
    made.architecture.save(folder / ARCHITECTURE)
    made.encoder.save(folder)
    storage.write_folder_record(folder / MODEL, made.card)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=MODELS, default="deepfm")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    save(predictor(arguments.model), arguments.output)


if __name__ == "__main__":
    main()
