"""A recipe for a public data set: original files with checksums, terms, and their preparation."""

import hashlib
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ctrloom import storage
from ctrloom.data.errors import DataError
from ctrloom.data.sources.files import open_bytes
from ctrloom.progress import progress

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Original:
    """A published file, pinned by its SHA-256 or its Git blob id.

    `name` may be a glob for files that are published in parts.
    """

    name: str
    url: str | None = None
    sha256: str | None = None
    git_blob: str | None = None

    def within(self, folder: Path) -> list[Path]:
        """The copies in a folder, sorted."""
        return sorted(path for path in folder.glob(self.name) if path.is_file())

    def check(self, file: Path, say: Callable[[str], None]) -> None:
        """Verify the checksum of a copy, or report that no checksum is known.

        Raises:
            DataError: the checksum differs.
        """
        found = storage.sha256(file)
        if self.sha256 is None and self.git_blob is None:
            say(f"{file.name}: SHA-256 {found}, not verified: no published checksum is known")
        elif self.sha256 not in (None, found) or self.git_blob not in (None, _git_blob(file)):
            raise DataError(
                f"{file}: is not the published {self.name} (SHA-256 {found}); "
                "download it again; if this persists, the publisher has changed the file"
            )
        else:
            say(f"{file.name}: checksum verified")

    def download(self, folder: Path) -> None:
        """Download the file to `folder` atomically.

        Raises:
            DataError: the URL cannot be read.
        """
        assert self.url is not None
        with (
            open_bytes(self.url) as stream,
            storage.atomic_file(folder / self.name) as temporary,
            open(temporary, "wb") as copy,
            progress(self.name, None, "bytes") as advance,
        ):
            while chunk := stream.read(_CHUNK):
                copy.write(chunk)
                advance(len(chunk))


@dataclass(frozen=True)
class Layout:
    """A set of original files, and how they are converted to the files that configurations read."""

    originals: tuple[Original, ...]
    prepare: Callable[[Path, Path], list[Path]]  # folder of the originals, output folder -> files

    def lies_in(self, folder: Path) -> bool:
        """True if the folder contains all original files."""
        return all(original.within(folder) for original in self.originals)


def unchanged(*originals: Original) -> Layout:
    """Original files that are used unchanged."""

    def prepare(folder: Path, to: Path) -> list[Path]:
        for original in originals:
            with storage.atomic_file(to / original.name) as temporary:
                shutil.copyfile(folder / original.name, temporary)
        return [to / original.name for original in originals]

    return Layout(originals, prepare)


def zipped(archive: Original, inside: str, layout: Layout) -> Layout:
    """A layout whose original files are in the folder `inside` of a zip archive."""

    def prepare(folder: Path, to: Path) -> list[Path]:
        with tempfile.TemporaryDirectory(dir=to) as unpacked, zipfile.ZipFile(folder / archive.name) as zip:
            for original in layout.originals:
                Path(unpacked, original.name).write_bytes(zip.read(f"{inside}/{original.name}"))
            return layout.prepare(Path(unpacked), to)

    return Layout((archive,), prepare)


@dataclass(frozen=True)
class Recipe:
    """A public data set; the first layout is downloaded."""

    name: str
    title: str
    terms: str
    citation: str
    layouts: tuple[Layout, ...]
    by_hand: str | None = None  # how to get files that cannot be downloaded automatically

    @property
    def notice(self) -> str:
        """Title, terms of use and citation."""
        return f"{self.title}\nTerms: {self.terms}\nPlease cite: {self.citation}"


def _git_blob(file: Path) -> str:
    digest = hashlib.sha1(f"blob {file.stat().st_size}\0".encode(), usedforsecurity=False)
    with open(file, "rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
