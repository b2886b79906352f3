"""Checks what is left of the packages in the image of the server: bundles of all models score raw rows."""

import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa

import ctrloom
import ctrloom.cli
import ctrloom.serving.server.run
from ctrloom.architecture import Architecture
from ctrloom.config import MODELS, ModelsConfig, SourceConfig
from ctrloom.data.vocabulary.encode import Encoder, Vocabulary
from ctrloom.models import build
from ctrloom.models.bundle import Bundle, ModelCard, save_bundle
from ctrloom.schema import Field, Schema

NAMES = "a", "b", "c"
NEED_MORE = "poly2", "autopi", "gbdt", "gbdtlr", "gbdtpoly2"  # crosses, cells or LightGBM
ROWS = [{"a": "x", "b": "y", "c": "z"}, {"a": "y", "b": "new"}]
WIDE = {"default": {"hidden": [300, 300]}}  # layers that oneDNN scores
BATCHES = ROWS, 10 * ROWS, pa.Table.from_pylist(600 * ROWS)  # value by value, also with oneDNN, and by Arrow


def write(folder: Path, model: str, schema: Schema) -> Path:
    """A bundle of a model with initial weights."""
    architecture, settings = Architecture.complete(NAMES), ModelsConfig(WIDE).of(model)
    card = ModelCard(
        model=model,
        title=model,
        hyperparameters=settings,
        seed=0,
        data_fingerprint="",
        schema_fingerprint=schema.fingerprint,
        architecture_fingerprint=architecture.fingerprint,
        code_version="check",
    )
    made = Bundle(card, architecture, schema, build(model, architecture, schema, settings))
    save_bundle(made, folder, folder / model)
    return folder / model


def main() -> None:
    """Score rows with a bundle of each model."""
    words = Vocabulary(pa.array(["x", "y", "z"]), pa.array([3, 2, 1]))
    kind = {"kind": "categorical", "size": 5, "vocabulary_digest": words.digest}
    columns = {"click": "label", **dict.fromkeys(NAMES, "categorical")}
    schema = Schema(
        fields=tuple(Field(name=each, column=each, **kind) for each in NAMES),
        source=SourceConfig.parse({"columns": columns}, "check"),
    )
    with tempfile.TemporaryDirectory() as temporary:
        Encoder(schema, dict.fromkeys(NAMES, words)).save(temporary)
        for model in set(MODELS) - {*NEED_MORE}:
            predictor = ctrloom.load_bundle(write(Path(temporary), model, schema))
            expected_N = predictor.predict(ROWS)
            for rows in BATCHES:
                score_N = predictor.predict(rows)
                if not np.allclose(score_N.reshape(-1, len(ROWS)), expected_N, atol=1e-5):  # or NaN
                    raise SystemExit(f"{model}: {len(rows)} rows have the scores {score_N}, not {expected_N}")


main()
