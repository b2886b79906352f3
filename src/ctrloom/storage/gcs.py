"""gs://: Google Cloud Storage."""

import base64
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ctrloom.config.extras import install
from ctrloom.storage import remote
from ctrloom.storage.errors import ConflictError, StorageError, explained, status
from ctrloom.storage.location import Location
from ctrloom.storage.remote import (
    ATTEMPTS,
    WORKERS,
    Done,
    Listed,
    Stored,
    persistent,
    until_last,
)


class GoogleStorage:
    """Google Cloud Storage client; STORAGE_EMULATOR_HOST overrides the server."""

    def __init__(self) -> None:
        try:
            from google.auth.exceptions import DefaultCredentialsError
            from google.cloud.storage import Client, transfer_manager
            from google.cloud.storage.retry import DEFAULT_RETRY
            from google_crc32c import Checksum
        except ImportError:
            raise StorageError(f"gs:// needs the client library: {install('gcs')}") from None
        # Otherwise the client fetches bucket metadata for traces in a thread of its own, which needs an extra
        # permission and keeps retrying if the store is unreachable.
        os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")
        try:
            self.client = Client()
        except (DefaultCredentialsError, OSError) as error:
            raise explained(error, "gs://", "opened") from error
        self.transfers, self.crc32c = transfer_manager, Checksum
        self.retry = DEFAULT_RETRY.with_timeout(remote.PATIENCE)

    def read(self, at: Location) -> Stored | None:
        """See Remote."""

        def attempt() -> Stored | None:
            blob = self.client.bucket(at.bucket).get_blob(at.key, retry=self.retry)
            if blob is None:
                return None
            generation = blob.generation
            content = blob.download_as_bytes(
                if_generation_match=generation, checksum="crc32c", retry=self.retry
            )
            return Stored(content, str(generation))

        return self._persistent(attempt, at, "read")

    def write(self, at: Location, content: bytes) -> None:
        """See Remote."""
        self._persistent(lambda: self._put(at, content), at, "written")

    def replace(self, at: Location, content: bytes, expected: str | None) -> str:
        """See Remote."""

        def attempt() -> str:
            try:
                return self._put(at, content, if_generation_match=int(expected or 0))
            except Exception as error:
                if status(error) != 412:
                    raise
            # An earlier attempt may have succeeded although its response was lost.
            now = self.read(at)
            if now and now.content == content:
                return now.generation
            raise ConflictError(f"{at}: was changed by another process")

        if expected is not None and not expected.isdigit():
            raise ConflictError(f"{at}: never had the generation {expected!r}")
        return self._persistent(attempt, at, "written")

    def find(self, at: Location) -> Listed | None:
        """See Remote."""

        def attempt() -> Listed | None:
            blob = self.client.bucket(at.bucket).get_blob(at.key, retry=self.retry)
            return Listed(at, blob.size or 0, str(blob.generation)) if blob else None

        return self._persistent(attempt, at, "read")

    def read_range(self, found: Listed, start: int, stop: int) -> bytes:
        """See Remote."""
        blob = self._blob(found.at, found.generation)
        options = {"start": start, "end": stop - 1, "checksum": None, "retry": self.retry}
        return self._persistent(lambda: bytes(blob.download_as_bytes(**options)), found.at, "read")

    def listed(self, under: Location) -> list[Listed]:
        """See Remote."""

        def attempt() -> list[Listed]:
            _, pages = self._pages(under)
            base = Location("gs", under.bucket)
            return [
                Listed(
                    base / blob.name,
                    blob.size or 0,
                    str(blob.generation),
                    blob.updated.timestamp() if blob.updated else 0.0,
                )
                for page in pages
                for blob in page
            ]

        return self._persistent(attempt, under, "read")

    def folders(self, under: Location) -> list[str]:
        """See Remote."""

        def attempt() -> list[str]:
            blobs, pages = self._pages(under, delimiter="/")
            for page in pages:  # the prefixes are known after all pages were read
                list(page)
            return sorted(found.rstrip("/").rpartition("/")[2] for found in blobs.prefixes)

        return self._persistent(attempt, under, "read")

    def delete(self, objects: Sequence[Location]) -> None:
        """See Remote."""

        def attempt(at: Location) -> None:
            try:
                self._blob(at).delete(retry=self.retry)
            except Exception as error:
                if status(error) != 404:
                    raise

        for at in objects:
            self._persistent(partial(attempt, at), at, "deleted")

    def checksum(self) -> Any:
        """See Remote."""
        return self.crc32c()

    def holds(self, at: Location, size: int, checksum: Any) -> bool:
        """See Remote."""
        blob = self._blob(at)
        self._persistent(lambda: blob.reload(retry=self.retry), at, "read")
        digest = base64.b64encode(checksum.digest()).decode()
        return bool(blob.size == size and blob.crc32c == digest)

    def upload(self, files: Sequence[tuple[Path, Location]]) -> None:
        """See Remote."""
        small = [pair for pair in files if pair[0].stat().st_size <= remote.CHUNK]
        options = {"checksum": "crc32c", "retry": self.retry, "timeout": remote.PATIENCE}
        self._all(
            [((str(path), self._blob(to)), to) for path, to in small],
            lambda pairs: self.transfers.upload_many(
                pairs, upload_kwargs=options, worker_type=self.transfers.THREAD, max_workers=WORKERS
            ),
            "written",
        )
        for path, to in files:
            if path.stat().st_size > remote.CHUNK:
                self._upload_chunks(path, to)

    def download(self, files: Sequence[tuple[Listed, Path]]) -> None:
        """See Remote."""
        small = [(found, to) for found, to in files if found.bytes <= remote.CHUNK]
        self._all(
            [((self._blob(found.at, found.generation), str(to)), found.at) for found, to in small],
            lambda pairs: self.transfers.download_many(
                pairs,
                download_kwargs={"checksum": "crc32c", "retry": self.retry},
                worker_type=self.transfers.THREAD,
                max_workers=WORKERS,
            ),
            "read",
        )
        for found, to in files:
            if found.bytes > remote.CHUNK:
                self._download_chunks(found, to)

    def _all(
        self, work: list[tuple[Any, Location]], transfer: Callable[[list[Any]], list[Any]], task: str
    ) -> None:
        """Pass pairs to the transfer manager; retry those whose data was corrupted in transfer."""
        for attempt in range(1, ATTEMPTS + 1):
            results = transfer([pair for pair, _ in work]) if work else []
            again = []
            for (pair, at), result in zip(work, results, strict=True):
                if isinstance(result, Exception):
                    if attempt == ATTEMPTS or not _damaged(result):
                        raise explained(result, at, task) from result
                    again.append((pair, at))
            work = again

    def _upload_chunks(self, path: Path, to: Location) -> None:
        def attempt() -> None:
            self.transfers.upload_chunks_concurrently(
                str(path),
                self._blob(to),
                chunk_size=remote.CHUNK,
                worker_type=self.transfers.THREAD,
                max_workers=WORKERS,
                checksum="crc32c",
                retry=self.retry,
            )

        # 404: the upload was complete, but the response was lost and its completion was requested again.
        persistent(attempt, lambda error: _damaged(error) or status(error) == 404, to, "written")

    def _download_chunks(self, found: Listed, to: Path) -> None:
        def attempt() -> None:
            blob = self._blob(found.at, found.generation)
            blob.reload(retry=self.retry)  # for its size and checksum
            self.transfers.download_chunks_concurrently(
                blob,
                str(to),
                chunk_size=remote.CHUNK,
                download_kwargs={"retry": self.retry},
                worker_type=self.transfers.THREAD,
                max_workers=WORKERS,
            )

        self._persistent(attempt, found.at, "read")

    def _pages(self, under: Location, **options: str) -> tuple[Any, Iterator[Any]]:
        """A list of objects, and its pages."""
        prefix = f"{under.key}/" if under.key else ""
        blobs = self.client.list_blobs(under.bucket, prefix=prefix, retry=self.retry, **options)
        return blobs, until_last(blobs.pages, lambda _: blobs.next_page_token, under)

    def _put(self, at: Location, content: bytes, **precondition: int) -> str:
        blob = self._blob(at)
        blob.upload_from_string(
            content, "application/octet-stream", checksum="crc32c", retry=self.retry, **precondition
        )
        return str(blob.generation)

    def _blob(self, at: Location, generation: str | None = None) -> Any:
        return self.client.bucket(at.bucket).blob(
            at.key, chunk_size=None, generation=int(generation) if generation else None
        )

    @staticmethod
    def _persistent(call: Callable[[], Done], at: Location, task: str) -> Done:
        return persistent(call, _damaged, at, task)


def _damaged(error: Exception) -> bool:
    """True if data or response was corrupted in transfer, so that a retry may succeed."""
    # 400: the store computed another checksum than the client. 412: the object was replaced during the read.
    return type(error).__name__ in ("DataCorruption", "JSONDecodeError") or status(error) in (400, 412)
