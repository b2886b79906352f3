"""s3://: Amazon S3 and S3-compatible stores."""

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from ctrloom.config.extras import install
from ctrloom.storage import remote
from ctrloom.storage.errors import ConflictError, StorageError, is_local, status
from ctrloom.storage.local import sha256
from ctrloom.storage.location import Location
from ctrloom.storage.remote import TRIES, WORKERS, Done, Listed, Stored, persistent, until_last

DIGEST = "sha256"  # metadata key of objects that were uploaded as files


class S3:
    """S3 client; AWS_ENDPOINT_URL overrides the server."""

    def __init__(self) -> None:
        try:
            import boto3
            from boto3.exceptions import S3UploadFailedError
            from boto3.s3.transfer import TransferConfig
            from botocore.config import Config
        except ImportError:
            raise StorageError(f"s3:// needs the client library: {install('s3')}") from None
        config = Config(retries={"mode": "standard", "total_max_attempts": TRIES})
        self.client = boto3.client("s3", config=config)
        self.transfer = TransferConfig(
            multipart_threshold=remote.CHUNK, multipart_chunksize=remote.CHUNK, max_concurrency=WORKERS
        )
        self.failed = S3UploadFailedError
        self.whole = TransferConfig(multipart_threshold=1 << 50)

    def read(self, at: Location) -> Stored | None:
        """See Remote."""

        def attempt() -> Stored | None:
            try:
                got = self.client.get_object(Bucket=at.bucket, Key=at.key, ChecksumMode="ENABLED")
            except Exception as error:
                if _said(error) == "NoSuchKey":
                    return None
                raise
            return Stored(got["Body"].read(), got["ETag"])

        return self._persistent(attempt, at, "read")

    def write(self, at: Location, content: bytes) -> None:
        """See Remote."""
        self._persistent(lambda: self._put(at, content), at, "written")

    def replace(self, at: Location, content: bytes, expected: str | None) -> str:
        """See Remote.

        Raises:
            StorageError: the server does not support conditional writes.
        """
        self._knows_conditions(at)
        condition = {"IfNoneMatch": "*"} if expected is None else {"IfMatch": expected}

        def attempt() -> str:
            try:
                return self._put(at, content, **condition)
            except Exception as error:
                if status(error) not in (404, 409, 412):
                    raise
            # An earlier attempt may have succeeded although its response was lost.
            now = self.read(at)
            if now and now.content == content:
                return now.generation
            raise ConflictError(f"{at}: was changed by another process")

        return self._persistent(attempt, at, "written")

    def find(self, at: Location) -> Listed | None:
        """See Remote."""

        def attempt() -> Listed | None:
            try:
                found = self.client.head_object(Bucket=at.bucket, Key=at.key)
            except Exception as error:
                if status(error) == 404:
                    return None
                raise
            return Listed(at, found["ContentLength"], found["ETag"])

        return self._persistent(attempt, at, "read")

    def read_range(self, found: Listed, start: int, stop: int) -> bytes:
        """See Remote."""
        key = {"Bucket": found.at.bucket, "Key": found.at.key, "IfMatch": found.generation}

        def attempt() -> bytes:
            return bytes(self.client.get_object(**key, Range=f"bytes={start}-{stop - 1}")["Body"].read())

        return self._persistent(attempt, found.at, "read")

    def listed(self, under: Location) -> list[Listed]:
        """See Remote."""

        def attempt() -> list[Listed]:
            base = Location("s3", under.bucket)
            return [
                Listed(base / each["Key"], each["Size"], each["ETag"], each["LastModified"].timestamp())
                for page in self._pages(under)
                for each in page.get("Contents", [])
            ]

        return self._persistent(attempt, under, "read")

    def folders(self, under: Location) -> list[str]:
        """See Remote."""

        def attempt() -> list[str]:
            pages = self._pages(under, Delimiter="/")
            found = [each["Prefix"] for page in pages for each in page.get("CommonPrefixes", [])]
            return sorted(prefix.rstrip("/").rpartition("/")[2] for prefix in found)

        return self._persistent(attempt, under, "read")

    def delete(self, objects: Sequence[Location]) -> None:
        """See Remote."""
        for at in objects:
            delete = partial(self.client.delete_object, Bucket=at.bucket, Key=at.key)
            self._persistent(delete, at, "deleted")

    def checksum(self) -> Any:
        """See Remote: each part of an upload has its own checksum, which the store verifies."""
        return hashlib.sha256()

    def holds(self, at: Location, size: int, checksum: Any) -> bool:
        """See Remote."""
        found = self._persistent(lambda: self.client.head_object(Bucket=at.bucket, Key=at.key), at, "read")
        return bool(found["ContentLength"] == size)

    def upload(self, files: Sequence[tuple[Path, Location]]) -> None:
        """See Remote."""

        def one(pair: tuple[Path, Location]) -> None:
            path, to = pair
            options = {"Metadata": {DIGEST: sha256(path)}}

            def attempt() -> None:
                try:
                    self.client.upload_file(
                        str(path), to.bucket, to.key, ExtraArgs=options, Config=self.transfer
                    )
                except self.failed as error:  # has the cause only as text
                    raise error.__context__ or error from None

            self._persistent(attempt, to, "written")

        _in_parallel(one, files)

    def download(self, files: Sequence[tuple[Listed, Path]]) -> None:
        """See Remote."""

        def one(pair: tuple[Listed, Path]) -> None:
            found, to = pair
            key, options = {"Bucket": found.at.bucket, "Key": found.at.key}, {"ChecksumMode": "ENABLED"}

            def attempt() -> None:
                digest = self.client.head_object(**key)["Metadata"].get(DIGEST)
                config = self.transfer if digest else self.whole  # chunks have no checksums
                self.client.download_file(**key, Filename=str(to), ExtraArgs=options, Config=config)
                if to.stat().st_size != found.bytes or digest not in (None, sha256(to)):
                    raise OSError("corrupted in transfer")

            self._persistent(attempt, found.at, "read")

        _in_parallel(one, files)

    def _put(self, at: Location, content: bytes, **condition: str) -> str:
        done = self.client.put_object(Bucket=at.bucket, Key=at.key, Body=content, **condition)
        return str(done["ETag"])

    def _knows_conditions(self, at: Location) -> None:
        """Check support of conditional writes on a probe object: some servers silently ignore conditions."""
        if at.bucket in self._conditional:
            return
        probe = at.with_name(f".conditions-{uuid4().hex}")

        def attempt() -> bool:
            self._put(probe, b"1")
            try:
                for condition in ({"IfNoneMatch": "*"}, {"IfMatch": '"0"'}):
                    try:
                        self._put(probe, b"2", **condition)
                    except Exception as error:
                        if status(error) != 412:
                            raise
                    else:
                        return False
                return True
            finally:
                self.client.delete_object(Bucket=probe.bucket, Key=probe.key)

        if not self._persistent(attempt, probe, "written"):
            raise StorageError(
                f"{at}: this server ignores conditional writes (If-Match), so writers could overwrite each "
                "other; keep the registry in a store that supports them (gs://, Amazon S3) or in a folder"
            )
        self._conditional.add(at.bucket)

    @cached_property
    def _conditional(self) -> set[str]:
        """Buckets whose server is known to support conditional writes."""
        return set()

    def _pages(self, under: Location, **options: str) -> Any:
        prefix = f"{under.key}/" if under.key else ""
        paginator = self.client.get_paginator("list_objects_v2")
        pages = paginator.paginate(Bucket=under.bucket, Prefix=prefix, **options)
        return until_last(pages, lambda page: page.get("NextContinuationToken"), under)

    @staticmethod
    def _persistent(call: Callable[[], Done], at: Location, task: str) -> Done:
        return persistent(call, _damaged, at, task)


def _in_parallel(work: Callable[[Any], None], items: Sequence[Any]) -> None:
    with ThreadPoolExecutor(WORKERS) as pool:
        for _ in pool.map(work, items):
            pass


def _said(error: BaseException) -> str:
    """The error code in S3's response."""
    answer = getattr(error, "response", None)
    return str(answer.get("Error", {}).get("Code", "")) if isinstance(answer, dict) else ""


def _damaged(error: Exception) -> bool:
    """True if data or response was corrupted in transfer, so that a retry may succeed."""
    known = ("FlexibleChecksumError", "ResponseStreamingError", "IncompleteReadError", "ResponseParserError")
    # The code is an HTTP status if the response itself was corrupted and could not be parsed.
    unread = ("BadDigest", "400", "404")
    lost = isinstance(error, OSError) and not is_local(error)
    return type(error).__name__ in known or lost or _said(error) in unread
