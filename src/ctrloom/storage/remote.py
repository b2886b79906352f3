"""What an object store can do; `gcs` and `s3` do it."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from ctrloom.storage.errors import StorageError, explained
from ctrloom.storage.location import Location, Scheme

PATIENCE = 120.0  # seconds for which a transient error is answered by trying again, longer and longer apart
TRIES = 10  # of S3's clients, which count: with their backoff about as long
ATTEMPTS = 5  # of what arrived damaged
WORKERS = 8
CHUNK = 32 << 20  # larger files travel in chunks of this size, side by side

Done = TypeVar("Done")


@dataclass(frozen=True)
class Stored:
    """Content of an object, and what tells it from every other content that stood there."""

    content: bytes
    generation: str


@dataclass(frozen=True, order=True)
class Listed:
    """An object without its content."""

    at: Location
    bytes: int
    generation: str


class Remote(Protocol):
    """An object store. Every method tries again on transient errors, and raises StorageError in the end."""

    def read(self, at: Location) -> Stored | None:
        """The object, its checksum verified; None where there is none."""

    def write(self, at: Location, content: bytes) -> None:
        """Write an object, whatever stood there."""

    def replace(self, at: Location, content: bytes, expected: str | None) -> str:
        """Write an object if it has this generation (None: if there is none); returns the new one.

        Raises:
            ConflictError: it has another one.
        """

    def find(self, at: Location) -> Listed | None:
        """An object without its content; None where there is none."""

    def read_range(self, found: Listed, start: int, stop: int) -> bytes:
        """Bytes of an object if it is still the one that was found; nothing verifies them."""

    def listed(self, under: Location) -> list[Listed]:
        """All objects under a prefix."""

    def folders(self, under: Location) -> list[str]:
        """Names of the prefixes right under a prefix."""

    def checksum(self) -> Any:
        """A sum over bytes (with `update`) such as the store keeps; see `holds`."""

    def holds(self, at: Location, size: int, checksum: Any) -> bool:
        """Whether an object has this size and, where the store tells it, this checksum."""

    def upload(self, files: Sequence[tuple[Path, Location]]) -> None:
        """Copy files side by side, large ones in chunks, checksums verified by the store."""

    def download(self, files: Sequence[tuple[Listed, Path]]) -> None:
        """Copy objects side by side, large ones in chunks; their checksums are verified."""


def endpoint(scheme: Scheme) -> str:
    """Another server of the store's API, as the environment names it; empty for the store itself."""
    if scheme == "gs":
        return os.environ.get("STORAGE_EMULATOR_HOST", "")
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL", "")


def persistent(
    call: Callable[[], Done],
    damaged: Callable[[Exception], bool],
    place: object,
    task: str,
) -> Done:
    """The result of `call`, which is made again when its bytes arrived damaged."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return call()
        except StorageError:
            raise
        except Exception as error:
            if attempt == ATTEMPTS or not damaged(error):
                raise explained(error, place, task) from error
    raise AssertionError
