"""The server follows a registry in every kind of store."""

import time
from pathlib import Path

from served import lines, request_of, served, write_bundle

from ctrloom.data.dataset import Dataset
from ctrloom.serving.registry import Registry


def test_a_server_follows_a_registry(store: str, mixed: Dataset, mixed_folder: Path, tmp_path: Path) -> None:
    registry = Registry(store)
    bundles = [write_bundle(mixed, tmp_path / str(seed), seed) for seed in range(2)]
    first, second = (registry.add(bundle, {}, {}) for bundle in bundles)
    generation = registry.promote(first, None)
    request = request_of(lines(mixed_folder, 3))
    with served(registry, poll_seconds=0.1) as running:
        assert running.infer(request)["model_version"] == first
        registry.promote(second, generation)
        deadline = time.monotonic() + 30
        while (found := running.infer(request)["model_version"]) == first:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    assert found == second
