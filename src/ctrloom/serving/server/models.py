"""The model that is served: loaded, tried out, and exchanged when the registry has another champion."""

import gc
import tempfile
import threading
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pyarrow as pa

from ctrloom import storage
from ctrloom.config.errors import UserError
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
        self.current = model
        gc.collect()
        gc.freeze()  # a collection during a request does not visit the model


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
        self.stopped = threading.Event()
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
        failures, wait = dict[str, int](), self.seconds
        told = ""
        while not self.stopped.wait(wait):
            wait, version = self.seconds, ""
            try:
                champion = self.registry.champion()
                version = champion[0] if champion else ""
                serving = self.models.current
                if version and (serving is None or serving.version != version):
                    self._load(version)
                failures.clear()
                told = ""
            except Exception as error:  # whatever is wrong with it, the current model is served
                failures = {version: failures.get(version, 0) + 1}
                wait = min(self.seconds * 2 ** failures[version], max(LONGEST_WAIT, self.seconds))
                told = self._rejected(version, error, told)

    def _load(self, version: str) -> None:
        self.models.exchange(from_registry(self.registry, version))
        self.models.reloads["loaded"] += 1
        note(f"serving version {version}")

    def _rejected(self, version: str, error: Exception, told: str) -> str:
        self.models.reloads["rejected"] += bool(version)
        reason = str(error) if isinstance(error, UserError | OSError) else repr(error)
        served = self.models.current.version if self.models.current else "no version"
        what = f"version {version} was rejected" if version else "the registry cannot be read"
        text = f"{what}, {served} is served: {storage.one_line(Exception(reason))}"
        if text != told:
            warn(text)
        return text
