"""Storage in local folders and object stores, with atomic writes."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ctrloom.storage.errors import ConflictError, StorageError, explained, one_line
from ctrloom.storage.json_files import as_json, exists, parse_json, read_json, write_json, write_text
from ctrloom.storage.local import atomic_directory, atomic_file, require_own, scratch_directory, sha256
from ctrloom.storage.location import Location, Place, place, relative
from ctrloom.storage.lock import LockedError, locked, locked_output, turn
from ctrloom.storage.outputs import is_stream, require_apart
from ctrloom.storage.records import (
    DamagedError,
    Digest,
    FolderRecord,
    StoredFile,
    as_record,
    described,
    read_record,
    record_of,
    verify_file,
    verify_files,
    write_folder_record,
    write_record,
)
from ctrloom.storage.remote import Listed
from ctrloom.storage.stream import BUFFER, Written, find, patiently, read_range, writing
from ctrloom.storage.transfer import (
    cached,
    download,
    files,
    folders,
    get,
    last_change,
    objects_in,
    put,
    remove,
    sizes,
    upload,
)

__all__ = [
    "BUFFER",
    "ConflictError",
    "DamagedError",
    "Digest",
    "FolderRecord",
    "Listed",
    "Location",
    "LockedError",
    "Place",
    "StorageError",
    "StoredFile",
    "Written",
    "as_json",
    "as_record",
    "atomic_directory",
    "atomic_file",
    "cached",
    "described",
    "download",
    "exists",
    "explained",
    "files",
    "find",
    "folders",
    "get",
    "is_stream",
    "last_change",
    "locked",
    "locked_output",
    "new_directory",
    "objects_in",
    "one_line",
    "parse_json",
    "patiently",
    "place",
    "put",
    "read_json",
    "read_range",
    "read_record",
    "record_of",
    "relative",
    "remove",
    "require_apart",
    "require_own",
    "scratch",
    "scratch_directory",
    "sha256",
    "sizes",
    "turn",
    "upload",
    "verify_file",
    "verify_files",
    "write_folder_record",
    "write_json",
    "write_record",
    "write_text",
    "writing",
]


@contextmanager
def new_directory(path: Place, *own: str) -> Iterator[Place]:
    """Yield a directory to fill that becomes `path` atomically.

    A local directory is written to a temporary one and renamed. Under a URL the objects are written in place,
    so the file that marks the directory as complete (a manifest) must be written last. `own`: see
    `atomic_directory`.
    """
    if isinstance(path, Location):
        yield path
        return
    with atomic_directory(path, *own) as temporary:
        yield temporary


def scratch(store: Place) -> Path:
    """A local folder for temporary files of work on `store`; it exists."""
    if isinstance(store, Location):
        return Path(tempfile.gettempdir())
    store.mkdir(parents=True, exist_ok=True)
    return store
