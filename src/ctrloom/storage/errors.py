"""Storage errors and their messages."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from ssl import SSLError
from typing import Any

import pyarrow as pa

from ctrloom.config.errors import UserError

LOGIN = {
    "gs": "log in with `gcloud auth application-default login`, or give this account the role Storage Object "
    "User on the bucket",
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give this account the right to list, get and "
    "put objects in the bucket",
}
# Errors of pyarrow's file systems have no status code, only text.
_ABSENT = ("NOT_FOUND", "NoSuchKey", "NoSuchBucket", "HTTP status 404", "Path does not exist", "[errno 2]")
_REFUSED = ("PERMISSION_DENIED", "UNAUTHENTICATED", "ACCESS_DENIED", "HTTP status 403", "HTTP status 401")
_NO_CREDENTIALS = (
    "DefaultCredentialsError",
    "InvalidOperation",
    "RefreshError",
    "NoCredentialsError",
    "PartialCredentialsError",
)


class StorageError(UserError):
    """A failed read or write; the message names the path and how to fix it."""


class ConflictError(StorageError):
    """Another process wrote first; nothing was written."""


def status(error: BaseException) -> int:
    """HTTP status behind an error of an object store client or of pyarrow; 0 if there is none."""
    if isinstance(answer := getattr(error, "response", None), dict):  # botocore
        return int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    code: Any = getattr(error, "code", None) or getattr(answer, "status_code", None)
    if isinstance(code, int):
        return int(code)
    if type(error).__name__ in _NO_CREDENTIALS or any(word in str(error) for word in _REFUSED):
        return 403
    if isinstance(error, FileNotFoundError) or any(word in str(error) for word in _ABSENT):
        return 404
    return 0


# Faults of this machine: its disk, permissions, open files.
_LOCAL = {
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EMFILE,
    errno.ENFILE, errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG,
}  # fmt: skip


def is_local(error: BaseException) -> bool:
    """True for errors of this machine, which no retry fixes."""
    return isinstance(error, OSError) and not isinstance(error, SSLError) and error.errno in _LOCAL


def one_line(error: BaseException) -> str:
    """The message of an error of another library, without line breaks and not endless."""
    return " ".join(str(error).split())[:500] or type(error).__name__


def explained(error: BaseException, place: object, task: str) -> StorageError:
    """A one-line StorageError; `task` is what failed: read, written."""
    scheme = str(place).partition("://")[0]
    match status(error):
        case 404:
            return StorageError(f"{place}: cannot be {task}: no such object or bucket; check the name")
        case 401 | 403:
            return StorageError(f"{place}: cannot be {task}: access denied; {LOGIN.get(scheme, '')}")
    said = next(iter(str(error).splitlines()), "") or type(error).__name__
    if is_local(error):
        return StorageError(f"{place}: cannot be {task}: {said[:300]}; check the disk of this machine")
    return StorageError(
        f"{place}: cannot be {task}: {said[:300]}; all retries failed: check the store and the network"
    )


@contextmanager
def explaining(place: object, task: str) -> Iterator[None]:
    """Turn the errors of pyarrow's file systems into StorageError."""
    try:
        yield
    except (OSError, KeyError, pa.ArrowException) as error:
        raise explained(error, place, task) from error
