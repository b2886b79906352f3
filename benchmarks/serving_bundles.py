"""Bundles over random clicks with 39 fields, as Criteo has, for the benchmark of the server."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import torch

from ctrloom.architecture import Architecture, Interaction
from ctrloom.config import DataConfig, ModelsConfig, VocabularyConfig
from ctrloom.data.dataset import Dataset
from ctrloom.data.ingest.run import ingest
from ctrloom.data.vocabulary.build import build_vocabulary
from ctrloom.models import build
from ctrloom.models.bundle import Bundle, ModelCard, save_bundle
from ctrloom.nn.cross_features import fill_crosses

TOKENS, NUMBERS, ROWS = 26, 13, 20_000
MODELS = ("fm", "deepfm", "ipnn", "optinter")
SETTINGS = {"embedding_size": 16, "hidden": (400, 400, 400), "embedding_std": 0.1}


def write_clicks(file: Path) -> None:
    """Random clicks: 26 columns of tokens, 13 of numbers, a twentieth of the values missing."""
    rng = np.random.default_rng(7)  # not the seed that splits the rows
    columns = {"click": (rng.random(ROWS) < 0.25).astype(int).astype(str)}
    for f in range(TOKENS):
        size = (1000, 500, 3000, 200, 50, 20)[f % 6]
        value_N = np.minimum(size - 1, np.exp(rng.random(ROWS) * np.log(size + 1)).astype(int) - 1)
        columns[f"token_{f:02d}"] = np.char.add(f"{f}v", value_N.astype(str))
    for f in range(NUMBERS):
        columns[f"number_{f:02d}"] = np.exp(2 * rng.standard_normal(ROWS)).astype(int).astype(str)
    for name, values in columns.items():
        if name != "click":
            values[rng.random(ROWS) < 0.05] = ""
    pyarrow.csv.write_csv(pa.table({name: pa.array(values) for name, values in columns.items()}), file)


def dataset(folder: Path) -> Dataset:
    """The clicks, encoded, with crosses of all pairs of tokens."""
    folder.mkdir(parents=True, exist_ok=True)
    write_clicks(folder / "clicks.csv")
    columns = {
        "click": "label",
        f"token_00..token_{TOKENS - 1:02d}": "categorical",
        f"number_00..number_{NUMBERS - 1:02d}": "numeric",
    }
    files = [str(folder / "clicks.csv")]
    data = DataConfig.parse({"files": files, "columns": columns, "split": {"by": "random"}}, "data")
    vocabulary = VocabularyConfig.parse({"min_count": 2, "crosses": {"min_count": 4}}, "vocabulary")
    return Dataset.open(build_vocabulary(ingest(data, folder / "store"), vocabulary, folder / "store"))


def all_bundles(folder: Path, models: Sequence[str]) -> dict[str, Path]:
    """The bundle of each model, made if it is not there."""
    found = {model: folder / model for model in models}
    if missing := [model for model, bundle in found.items() if not (bundle / "model.json").exists()]:
        data = dataset(folder)
        for model in missing:
            write(data, model, found[model])
    return found


def architecture(model: str, names: tuple[str, ...]) -> Architecture:
    """All pairs; a third of them memorized and a third factorized for OptInter."""
    every = Architecture.complete(names)
    if model != "optinter":
        return every
    drawn = np.random.default_rng(0).integers(3, size=len(every.interactions))
    chosen = zip(every.interactions, drawn, strict=True)
    functions = "memorize", "hadamard"
    kept = tuple(
        Interaction(fields=pair.fields, function=functions[which])  # type: ignore[arg-type]
        for pair, which in chosen
        if which < 2
    )
    return every.model_copy(update={"interactions": kept})


def write(data: Dataset, model: str, output: Path, seed: int = 0) -> Path:
    """The bundle of a model with initial weights, which are as fast as trained ones."""
    torch.manual_seed(seed)
    settings = ModelsConfig({model: dict(SETTINGS)}).of(model)
    found = architecture(model, data.schema.names)
    card = ModelCard(
        model=model,
        title=model,
        hyperparameters=settings,
        seed=seed,
        data_fingerprint=data.data_fingerprint,
        schema_fingerprint=data.schema.fingerprint,
        architecture_fingerprint=found.fingerprint,
        code_version="benchmark",
    )
    built = build(model, found, data.schema, settings)
    fill_crosses(built, data.crosses())
    save_bundle(Bundle(card, found, data.schema, built), data.directory, output, data.manifest.encoder)
    return output
