from collections.abc import Iterator

import pytest
from finished_run import Finished, finish
from mlflow_server import Server, mlflow_server

from ctrloom.data.dataset import Dataset


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real server, for all tests; each has an experiment of its own."""
    pytest.importorskip("mlflow", reason="the extra `mlflow` is not installed")
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as running:
        yield running


@pytest.fixture(scope="session")
def finished(mixed: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A small run: a search, its controls, two baselines, two seeds."""
    return finish(mixed, tmp_path_factory.mktemp("finished"))
