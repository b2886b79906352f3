"""Bundles over synthetic clicks with the shape of Criteo's 39 fields, for the benchmark of the server."""

from pathlib import Path

import numpy as np
import torch

from ctrloom.architecture import Architecture, Interaction
from ctrloom.config import DataConfig, ModelsConfig, VocabularyConfig
from ctrloom.data.dataset import Dataset
from ctrloom.data.ingest.run import ingest
from ctrloom.data.synthetic import SynthConfig, synthesize
from ctrloom.data.vocabulary.build import build_vocabulary
from ctrloom.models import build
from ctrloom.models.bundle import Bundle, ModelCard, save_bundle

FIELDS, ROWS = 39, 20_000
MODELS = ("fm", "deepfm", "ipnn", "optinter")
SETTINGS = {"embedding_size": 16, "hidden": (400, 400, 400), "embedding_std": 0.1}


def dataset(folder: Path) -> Dataset:
    """26 fields of tokens and 13 of numbers in buckets, with crosses of all pairs."""
    sizes = tuple([1000, 500, 3000, 200, 50, 20] * 6 + [1000, 500, 3000])
    clicks = synthesize(SynthConfig(rows=ROWS, fields=FIELDS, sizes=sizes), folder / "raw")
    columns = {"click": "label", **{f"field_{f:02d}": "categorical" for f in range(FIELDS)}}
    data = DataConfig.parse({"files": [str(clicks)], "columns": columns, "split": {"by": "random"}}, "data")
    vocabulary = VocabularyConfig.parse({"min_count": 2, "crosses": {"min_count": 4}}, "vocabulary")
    return Dataset.open(build_vocabulary(ingest(data, folder / "store"), vocabulary, folder / "store"))


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
    save_bundle(Bundle(card, found, data.schema, built), data.directory, output, data.manifest.encoder)
    return output
