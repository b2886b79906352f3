"""Local paths and object store URLs with a common interface."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from ctrloom.config.url_secrets import has_secret
from ctrloom.storage.errors import StorageError

Scheme = Literal["gs", "s3"]


@dataclass(frozen=True, order=True)
class Location:
    """An object or a prefix in a bucket, with the interface of a path where possible."""

    scheme: Scheme
    path: str  # bucket/key

    def __str__(self) -> str:
        return f"{self.scheme}://{self.path}"

    def __truediv__(self, part: str) -> "Location":
        return Location(self.scheme, f"{self.path}/{part}")

    @property
    def bucket(self) -> str:
        """Name of the bucket."""
        return self.path.partition("/")[0]

    @property
    def key(self) -> str:
        """Name within the bucket; empty for the bucket itself."""
        return self.path.partition("/")[2]

    @property
    def name(self) -> str:
        """The part after the last slash."""
        return self.path.rpartition("/")[2]

    @property
    def parent(self) -> "Location":
        """The parent prefix; a bucket is its own parent."""
        return Location(self.scheme, self.path.rpartition("/")[0] or self.path)

    @property
    def suffix(self) -> str:
        """Ending of the name, such as `.parquet`."""
        return Path(self.name).suffix

    def with_name(self, name: str) -> "Location":
        """A location of this name in the same prefix."""
        return self.parent / name

    def relative_to(self, base: "Location") -> str:
        """The path relative to `base`; ValueError if it is not under `base`."""
        if base.scheme != self.scheme or not self.path.startswith(base.path + "/"):
            raise ValueError(f"{self} is not in {base}")
        return self.path[len(base.path) + 1 :]

    def resolve(self) -> "Location":
        """Itself: a URL is never relative."""
        return self


Place: TypeAlias = Path | Location


def relative(at: Place, base: Place) -> str:
    """The path of a place relative to `base`, with slashes."""
    if isinstance(at, Location) and isinstance(base, Location):
        return at.relative_to(base)
    assert isinstance(at, Path)
    assert isinstance(base, Path)
    return at.relative_to(base).as_posix()


def stays_inside(name: str) -> bool:
    """True if a relative path, from a record or a store, leads to something in its folder."""
    return bool(name) and not name.startswith("/") and not {"", ".", ".."} & set(name.split("/"))


def place(where: str | Place) -> Place:
    """Parse a path or a URL.

    Raises:
        StorageError: the scheme is not file://, gs:// or s3://, there is no bucket, or there is a password.
    """
    if not isinstance(where, str):
        return where
    if has_secret(where):
        raise StorageError(
            f"{where}: keys, passwords and signatures do not belong in this URL; give the process "
            "credentials of the store"
        )
    scheme, found, path = where.partition("://")
    if not found:
        return Path(where)
    if scheme == "file":
        return Path(path)
    if scheme not in ("gs", "s3"):
        raise StorageError(f"{where}: give a path, or a URL that begins with file://, gs:// or s3://")
    if not (path := path.strip("/")):
        raise StorageError(f"{where}: has no bucket; give {scheme}://<bucket>/<folder>")
    return Location("gs" if scheme == "gs" else "s3", path)
