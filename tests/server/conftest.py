from collections.abc import Iterator
from pathlib import Path

import pytest
from served import Served, served, write_bundle

from ctrloom.data.dataset import Dataset


@pytest.fixture(scope="session")
def bundles(mixed: Dataset, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Four bundles of one model with different weights."""
    folder = tmp_path_factory.mktemp("bundles")
    return [write_bundle(mixed, folder / str(seed), seed) for seed in range(4)]


@pytest.fixture(scope="session")
def bundle(bundles: list[Path]) -> Path:
    return bundles[0]


@pytest.fixture(scope="module")
def server(bundle: Path) -> Iterator[Served]:
    """A server of the first bundle, with small limits, that the tests of a module share."""
    with served(bundle) as running:
        yield running
