"""The model that is served: loaded, tried out, and exchanged when the registry has another champion."""

import gc
import tempfile
import threading
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pyarrow as pa

from ctrloom import storage
from ctrloom.data.sources.header import wanted_columns
from ctrloom.progress import note, warn
from ctrloom.serving.predictor import Predictor
from ctrloom.serving.registry import Registry, version_name
from ctrloom.serving.server.errors import NotFoundError, NotReadyError

DATATYPES = {"numeric": "FP64"}  # of a column by its kind; other values are text, or numbers as they are
LONGEST_WAIT = 300.0  # seconds between two attempts to load a version that cannot be loaded


@dataclass(frozen=True)
class ServedModel:
    """A model and its version in the registry."""

    version: str
    predictor: Predictor

    @cached_property
    def columns(self) -> dict[str, str]:
        """Raw columns that a request must have, with the datatype of each."""
        source = self.predictor.schema.source
        return {
            name: DATATYPES.get(source.columns[name].kind, "BYTES") for name in wanted_columns(source, False)
        }

    def tried(self) -> "ServedModel":
        """Itself, after it has scored rows without any value.

        Raises:
            StorageError: their probability is not between 0 and 1.
        """
        for count in (1, 128):
            nothing = [pa.nulls(count, pa.string()) for _ in self.columns]
            scored = self.predictor.score(pa.RecordBatch.from_arrays(nothing, list(self.columns)))
            if not ((scored.probability_N >= 0) & (scored.probability_N <= 1)).all():
                raise storage.StorageError(f"version {self.version}: gives probabilities that are none")
        return self


class Models:
    """The current model, exchanged as a whole: a request keeps the one that it began with."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.current: ServedModel | None = None
        self.reloads = {"loaded": 0, "rejected": 0}

    def get(self, name: str, version: str = "") -> ServedModel:
        """The current model.

        Raises:
            NotFoundError: it has another name or version.
            NotReadyError: there is none yet.
        """
        if name != self.name:
            raise NotFoundError(f"there is no model {name!r:.60}; it is called {self.name!r}")
        if self.current is None:
            raise NotReadyError("the registry has no champion yet")
        if version and version != self.current.version:
            raise NotFoundError(
                f"version {version!r:.60} is not served; the current one is {self.current.version}"
            )
        return self.current

    def exchange(self, model: ServedModel) -> None:
        """Serve this model from the next request on."""
        first, self.current = self.current is None, model
        if first:  # collections during requests do not visit all that was imported and loaded
            gc.collect()
            gc.freeze()


def from_bundle(bundle: Path) -> ServedModel:
    """The model of a bundle.

    Raises:
        StorageError: it is incomplete or damaged.
    """
    predictor = Predictor.load(bundle)
    return ServedModel(version_name(storage.described(bundle)), predictor).tried()


def from_registry(registry: Registry, version: str) -> ServedModel:
    """A version of a registry, by a copy that is verified and then deleted.

    Raises:
        RegistryError, StorageError: it is incomplete or damaged.
    """
    with tempfile.TemporaryDirectory(prefix="ctrloom-serve-") as folder:
        bundle = registry.fetch(version, Path(folder) / "bundle")
        return ServedModel(version, Predictor.load(bundle)).tried()


class Follower:
    """Loads the champion of a registry, and polls for another one in a thread."""

    def __init__(self, registry: Registry, models: Models, seconds: float) -> None:
        self.registry, self.models, self.seconds = registry, models, seconds
        self.stopped, self.rejected = threading.Event(), Rejected()
        self.thread = threading.Thread(target=self._run, name="registry", daemon=True)

    def start(self) -> None:
        """Load the champion, if there is one, and poll from then on.

        Raises:
            RegistryError, StorageError: the registry cannot be read, or its champion not be loaded.
        """
        if champion := self.registry.champion():
            self.models.exchange(from_registry(self.registry, champion[0]))
        else:
            note(f"{self.registry.base}: has no champion yet; waiting for one")
        self.thread.start()

    def stop(self) -> None:
        """Poll no more."""
        self.stopped.set()

    def _run(self) -> None:
        while not self.stopped.wait(self.seconds):
            version = ""
            try:
                champion = self.registry.champion()
                version = champion[0] if champion else ""
                serving = self.models.current
                if (
                    version
                    and (serving is None or serving.version != version)
                    and self.rejected.is_due(version)
                ):
                    self._load(version)
            except Exception as error:  # whatever is wrong with it, the current model is served
                self._reject(version, error)

    def _load(self, version: str) -> None:
        self.models.exchange(from_registry(self.registry, version))
        self.models.reloads["loaded"] += 1
        self.rejected = Rejected()
        note(f"serving version {version}")

    def _reject(self, version: str, error: Exception) -> None:
        self.models.reloads["rejected"] += bool(version)
        served = self.models.current.version if self.models.current else "no version"
        what = f"version {version} was rejected" if version else "the registry cannot be read"
        text = f"{what}, {served} is served: {storage.one_line(error)}"
        if text != self.rejected.warning:
            warn(text)
        self.rejected = self.rejected.again(version, text, self.seconds)


@dataclass(frozen=True)
class Rejected:
    """A version that could not be loaded: it is tried again, after longer and longer times."""

    version: str = ""
    attempts: int = 0
    due: float = 0.0  # by `time.monotonic`
    warning: str = ""

    def is_due(self, version: str) -> bool:
        """True for another version, or if it is time to try this one again."""
        return version != self.version or time.monotonic() >= self.due

    def again(self, version: str, warning: str, seconds: float) -> "Rejected":
        """After another attempt with this version."""
        attempts = self.attempts + 1 if version == self.version else 1
        wait = min(seconds * 2 ** min(attempts, 30), max(LONGEST_WAIT, seconds))
        return Rejected(version, attempts, time.monotonic() + wait, warning)
