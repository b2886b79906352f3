"""The interface of an object store, implemented by `gcs` and `s3`."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from ctrloom.storage.errors import StorageError, explained
from ctrloom.storage.location import Location, Scheme

PATIENCE = 120.0  # seconds for which transient errors are retried, with backoff
TRIES = 10  # of S3 clients, which count attempts: with backoff, about the same time
ATTEMPTS = 5  # for data that was corrupted in transfer
WORKERS = 8
MOST_PAGES = 100_000  # of a list, which have a thousand objects each
CHUNK = 32 << 20  # larger files are transferred in parallel chunks of this size

Done = TypeVar("Done")
Page = TypeVar("Page")


@dataclass(frozen=True)
class Stored:
    """Content of an object, and the generation that identifies it."""

    content: bytes
    generation: str


@dataclass(frozen=True, order=True)
class Listed:
    """An object without its content."""

    at: Location
    bytes: int
    generation: str
    written: float = field(default=0.0, compare=False)  # seconds since 1970


class Remote(Protocol):
    """An object store. Every method retries transient errors, then raises StorageError."""

    def read(self, at: Location) -> Stored | None:
        """The object, its checksum verified; None if it does not exist."""

    def write(self, at: Location, content: bytes) -> None:
        """Write an object; an existing one is overwritten."""

    def replace(self, at: Location, content: bytes, expected: str | None) -> str:
        """Write an object if it has this generation (None: if it does not exist); returns the new one.

        Raises:
            ConflictError: it has another generation.
        """

    def find(self, at: Location) -> Listed | None:
        """An object without its content; None if it does not exist."""

    def read_range(self, found: Listed, start: int, stop: int) -> bytes:
        """Bytes of an object if it is still the same generation; they are not verified."""

    def listed(self, under: Location) -> list[Listed]:
        """All objects under a prefix."""

    def folders(self, under: Location) -> list[str]:
        """Names of the prefixes directly under a prefix."""

    def delete(self, objects: Sequence[Location]) -> None:
        """Delete objects; those that do not exist are deleted already."""

    def checksum(self) -> Any:
        """A checksum object (with `update`) of the store's algorithm; see `holds`."""

    def holds(self, at: Location, size: int, checksum: Any) -> bool:
        """True if an object has this size and, if the store reports it, this checksum."""

    def upload(self, files: Sequence[tuple[Path, Location]]) -> None:
        """Copy files in parallel, large ones in chunks; the store verifies their checksums."""

    def download(self, files: Sequence[tuple[Listed, Path]]) -> None:
        """Copy objects in parallel, large ones in chunks; their checksums are verified."""


def endpoint(scheme: Scheme) -> str:
    """Server of the store's API that the environment sets; empty for the default."""
    if scheme == "gs":
        return os.environ.get("STORAGE_EMULATOR_HOST", "")
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL", "")


def until_last(pages: Iterable[Page], next_token: Callable[[Page], str | None], of: object) -> Iterator[Page]:
    """The pages of a list that a server sends.

    Raises:
        StorageError: a page refers to an earlier one as its next, or there are too many.
    """
    seen: set[str] = set()
    for page in pages:
        yield page
        if (token := next_token(page)) and (token in seen or len(seen) == MOST_PAGES):
            raise StorageError(
                f"{of}: cannot be listed: the server repeats pages without end; check the server"
            )
        seen.add(token or "")


def persistent(
    call: Callable[[], Done],
    damaged: Callable[[Exception], bool],
    place: object,
    task: str,
) -> Done:
    """The result of `call`, retried while `damaged` is true for its error."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return call()
        except StorageError:
            raise
        except Exception as error:
            if attempt == ATTEMPTS or not damaged(error):
                raise explained(error, place, task) from error
    raise AssertionError
