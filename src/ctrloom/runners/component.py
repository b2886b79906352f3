"""What the components need besides the stages."""

from typing import Any

from ctrloom import storage
from ctrloom.storage import Place


def folder(store: str) -> Place:
    """The store: a directory, or a prefix of an object store.

    Raises:
        StorageError: a URL of another kind.
    """
    return storage.place(store)


def publish(manifest: Place, artifact: Any) -> None:
    """Make a manifest the artifact's content; the rows that it names stay where they are."""
    storage.write_json(artifact.path, storage.read_json(manifest))
    artifact.metadata["manifest"] = str(manifest)
