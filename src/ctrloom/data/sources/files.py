"""Finding and opening input files: local paths, globs and URLs; plain or compressed."""

import codecs
import fnmatch
import glob
import io
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import fsspec
import pyarrow as pa
from pyarrow import fs

from ctrloom import storage
from ctrloom.config.extras import training_packages
from ctrloom.config.url_secrets import revealed
from ctrloom.data.errors import DataError
from ctrloom.data.sources.signatures import HEAD_BYTES, codec_of
from ctrloom.storage import Listed, Location

_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def is_remote(path: str) -> bool:
    """True for a URL other than file://."""
    return "://" in path and not path.startswith("file://")


def is_stored(path: str) -> bool:
    """True for a URL of an object store."""
    return path.startswith(("gs://", "s3://"))


def stored(pattern: str) -> list[Listed]:
    """The object of a URL, or those that match a glob, sorted.

    Raises:
        StorageError: the object does not exist, or the store cannot be queried.
    """
    if not glob.has_magic(pattern):
        return [storage.find(_location(pattern))]
    there = storage.objects_in(_location(_folder(pattern)))
    return sorted(each for each in there if fnmatch.fnmatchcase(str(each.at), pattern))


def resolve(patterns: Sequence[str]) -> list[str]:
    """Files and URLs that match `patterns`, in the given order; matches of one glob are sorted.

    Raises:
        DataError: no file matches a pattern, or a match is not a regular file.
    """
    return [path for pattern in patterns for path in _resolve(pattern.removeprefix("file://"))]


def _resolve(pattern: str) -> list[str]:
    if pattern.startswith(("http://", "https://")):
        return [pattern]
    if is_stored(pattern) and glob.has_magic(pattern):
        found = [str(each.at) for each in stored(pattern)]
    elif "://" in pattern:
        found = _matches(pattern) if glob.has_magic(revealed(pattern)) else [pattern]
    else:
        found = [pattern] if Path(pattern).exists() else sorted(glob.glob(pattern, recursive=True))
        for path in found:
            _require_regular(path)
    if not found:
        raise DataError(f"{pattern}: no file matches; check `files` and the folder it is relative to")
    return found


def _require_regular(path: str) -> None:
    mode = Path(path).stat().st_mode
    if stat.S_ISDIR(mode):
        raise DataError(f"{path}: is a directory; use its files, for example {path}/*.csv")
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "of a special kind")
        raise DataError(f"{path}: is {kind}, not a regular file; write its content to a file, and use that")


def _matches(pattern: str) -> list[str]:
    scheme = pattern.split("://")[0]
    with _explained(pattern):
        pattern = revealed(pattern)
        folder = _folder(pattern)
        system, base = fs.FileSystem.from_uri(folder)
        paths = [f.path for f in system.get_file_info(fs.FileSelector(base, recursive=True)) if f.is_file]
    wanted = base + pattern[len(folder) :]
    return sorted(f"{scheme}://{path}" for path in paths if fnmatch.fnmatchcase(path, wanted))


def _folder(pattern: str) -> str:
    return pattern[: min(pattern.find(c) for c in "*?[" if c in pattern)].rsplit("/", 1)[0]


def _location(url: str) -> Location:
    at = storage.place(url)
    assert isinstance(at, Location)
    return at


@contextmanager
def _fetched(path: str) -> Iterator[BinaryIO]:
    """A temporary copy of an object with a verified checksum."""
    with tempfile.NamedTemporaryFile(prefix="ctrloom-") as copy:
        storage.get(storage.find(_location(path)), Path(copy.name))
        with open(copy.name, "rb") as stream:
            yield stream


@contextmanager
def open_bytes(path: str) -> Iterator[BinaryIO]:
    """Open a file or URL for a single sequential read, without decompression.

    Raises:
        DataError: it cannot be opened or read.
    """
    with _explained(path), ExitStack() as stack:  # errors while it is read become OSError first
        if path.startswith(("http://", "https://")):
            yield stack.enter_context(_http(path, block_size=0))  # 0: one request, no seeking
        elif is_stored(path):
            yield stack.enter_context(_fetched(path))
        elif is_remote(path):
            system, inner = fs.FileSystem.from_uri(revealed(path))
            yield stack.enter_context(system.open_input_stream(inner, compression=None))
        else:
            yield stack.enter_context(open(path, "rb"))


@contextmanager
def open_seekable(path: str) -> Iterator[Any]:
    """Open a file or URL for random access.

    Raises:
        DataError: it cannot be opened or read.
    """
    with _explained(path), ExitStack() as stack:  # errors while it is read become OSError first
        if path.startswith(("http://", "https://")):
            yield stack.enter_context(_http(path))
        elif is_stored(path):
            yield stack.enter_context(_fetched(path))
        elif is_remote(path):
            system, inner = fs.FileSystem.from_uri(revealed(path))
            yield stack.enter_context(system.open_input_file(inner))
        else:
            yield stack.enter_context(open(path, "rb"))


@contextmanager
def open_text(
    path: str, encoding: str = "utf-8", on_read: Callable[[int], None] = lambda size: None
) -> Iterator[Any]:
    """Open a file or URL decompressed and as UTF-8.

    The compression is detected from the first bytes, not the name. `on_read` is called with the number of
    stored bytes of each read.

    Raises:
        DataError: it cannot be opened or read, or is damaged or of another encoding.
    """
    with open_bytes(path) as raw:
        stored = _Reporting(raw, on_read)
        codec = codec_of(stored.peek())
        stream: Any = pa.CompressedInputStream(pa.PythonFile(stored, "r"), codec) if codec else stored
        if codecs.lookup(encoding).name not in ("utf-8", "utf-8-sig", "ascii"):
            stream = stream if codec else pa.PythonFile(stored, "r")
            stream = pa.transcoding_input_stream(stream, encoding, "utf-8")
        try:
            yield stream
        except UnicodeError as error:
            reason = getattr(error, "reason", str(error))
            raise DataError(f"{path}: is not {encoding} ({reason}); correct `encoding`") from None
        except (OSError, pa.ArrowInvalid) as error:
            if not codec or getattr(error, "errno", None):  # of the disk or network
                raise
            reason = f"{path}: cannot be read as {codec} ({str(error).splitlines()[0]})"
            raise DataError(f"{reason}; it is incomplete or damaged: create or copy it again") from error


@contextmanager
def _http(path: str, **options: Any) -> Iterator[Any]:
    with training_packages():
        import aiohttp

    # The default limits the total transfer time, which is too short for large files.
    patience = aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=60)
    try:
        with fsspec.open(revealed(path), "rb", client_kwargs={"timeout": patience}, **options) as stream:
            yield stream
    except (aiohttp.ClientError, FileNotFoundError) as error:  # fsspec raises the latter for all answers
        raise OSError(_answer(error.__cause__ or error)) from error


def _answer(error: BaseException) -> str:
    """What a server answered; errors of aiohttp have the URL with its secrets."""
    import aiohttp

    match error:
        case aiohttp.TooManyRedirects():
            return "it redirects without end; check the URL"
        case aiohttp.ClientResponseError():
            return f"the server answers {error.status} {error.message}; check the URL and who may read it"
        case aiohttp.InvalidURL() | FileNotFoundError():
            return "no such file; check the URL"
        case aiohttp.ClientPayloadError():
            return "the server ended the transfer too early; try again"
    return next(iter(str(error).splitlines()), type(error).__name__)


class _Reporting(io.RawIOBase):
    """A sequential stream that reports the bytes read and supports `peek` at the start."""

    def __init__(self, raw: BinaryIO, on_read: Callable[[int], None]) -> None:
        self.raw, self.on_read, self.head = raw, on_read, b""

    def peek(self) -> bytes:
        while len(self.head) < HEAD_BYTES and (more := self.raw.read(HEAD_BYTES - len(self.head))):
            self.head += more
        return self.head

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        head, self.head = self.head, b""
        taken = head + self.raw.read(-1 if size < 0 else max(size - len(head), 0))
        self.on_read(len(taken))
        return taken


@contextmanager
def _explained(path: str) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowInvalid) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise DataError(f"{path}: cannot be read: {reason}") from error
