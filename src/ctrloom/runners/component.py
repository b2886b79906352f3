"""Helpers for components."""

from typing import Any

from ctrloom import storage
from ctrloom.storage import Place


def folder(store: str) -> Place:
    """The store: a directory, or a prefix of an object store.

    Raises:
        StorageError: the URL has an unsupported scheme.
    """
    return storage.place(store)


def publish(manifest: Place, artifact: Any) -> None:
    """Copy a manifest into the artifact; the rows that it names are not copied."""
    storage.write_json(artifact.path, storage.read_json(manifest))
    artifact.metadata["manifest"] = str(manifest)
