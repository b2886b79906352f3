from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from served import Served, served
from small import LITTLE

from ctrloom.architecture import Architecture
from ctrloom.config import ModelsConfig
from ctrloom.data.dataset import Dataset
from ctrloom.models import build
from ctrloom.models.bundle import Bundle, ModelCard, save_bundle


@pytest.fixture(scope="session")
def bundles(mixed: Dataset, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Four bundles of one model with different weights."""
    folder = tmp_path_factory.mktemp("bundles")
    every = Architecture.complete(mixed.schema.names)
    settings = ModelsConfig({"default": {**LITTLE.model_dump(), "embedding_std": 0.5}}).of("deepfm")
    for seed in range(4):
        torch.manual_seed(seed)
        card = ModelCard(
            model="deepfm",
            title="DeepFM",
            hyperparameters=settings,
            seed=seed,
            data_fingerprint=mixed.data_fingerprint,
            schema_fingerprint=mixed.schema.fingerprint,
            architecture_fingerprint=every.fingerprint,
            code_version="test",
        )
        made = Bundle(card, every, mixed.schema, build("deepfm", every, mixed.schema, settings))
        save_bundle(made, mixed.directory, folder / str(seed), mixed.manifest.encoder)
    return [folder / str(seed) for seed in range(4)]


@pytest.fixture(scope="session")
def bundle(bundles: list[Path]) -> Path:
    return bundles[0]


@pytest.fixture(scope="module")
def server(bundle: Path) -> Iterator[Served]:
    """A server of the first bundle, with small limits, that the tests of a module share."""
    with served(bundle) as running:
        yield running
