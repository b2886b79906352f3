"""What the components need besides the stages."""

import shutil
from pathlib import Path
from typing import Any


def folder(store: str) -> Path:
    """The store as a local directory.

    Raises:
        ValueError: the store is an object store.
    """
    if "://" in store:
        raise ValueError(
            f"store: {store}: only a directory can be a store so far; mount the bucket, or give a path"
        )
    return Path(store)


def publish(manifest: Path, artifact: Any) -> None:
    """Make a manifest the artifact's content; the rows that it names stay where they are."""
    shutil.copy(manifest, artifact.path)
    artifact.metadata["manifest"] = str(manifest)
