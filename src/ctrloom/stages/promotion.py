"""Fetch the champion, and replace it with a challenger that passed the gate."""

from pathlib import Path
from typing import Literal

from ctrloom import storage
from ctrloom.config.base import StrictModel
from ctrloom.config.errors import UserError
from ctrloom.config.retraining import TrainingConfig
from ctrloom.evaluation.promotion_gate import load_verdict
from ctrloom.models.bundle import load_card
from ctrloom.serving.registry import Registry, RegistryError, version_name

CHAMPION, BUNDLE = "champion.json", "bundle"


class ChampionRecord(StrictModel):
    """`champion.json`: which promotion was fetched; a later one has another generation."""

    version: Literal[1] = 1
    registry: str
    name: str  # version in the registry
    generation: str


def champion(registry: str, output: Path, training: TrainingConfig | None = None) -> ChampionRecord:
    """Write the champion's `bundle/`, and `champion.json`, into the folder `output`.

    Raises:
        RegistryError: there is no champion yet.
        StorageError: the registry cannot be read.
        ConfigError: the settings of the `training` to come do not fit the champion.
    """
    found = require_champion(registry)
    record = ChampionRecord(registry=registry, name=found[0], generation=found[1])
    with storage.atomic_directory(output, CHAMPION, BUNDLE) as temporary:
        Registry(registry).fetch(record.name, temporary / BUNDLE)
        if training:
            training.over(load_card(temporary / BUNDLE).hyperparameters)
        storage.write_record(temporary / CHAMPION, record)
    return record


def require_champion(registry: str) -> tuple[str, str]:
    """Version and generation of the champion.

    Raises:
        RegistryError: there is none yet.
        StorageError: the registry cannot be read.
    """
    if found := Registry(registry).champion():
        return found
    raise RegistryError(
        f"{registry}: has no champion yet; search and train one (`ctrloom run`), then promote it: "
        "`ctrloom promote --registry URL --bundle runs/<name>/bundle`"
    )


def read_champion(folder: Path) -> ChampionRecord:
    """Read the output of `champion`.

    Raises:
        StorageError: no such folder.
    """
    return storage.read_record(folder / CHAMPION, ChampionRecord)


def is_current_champion(registry: str, folder: Path, challenger: Path) -> bool:
    """True if no other bundle than `challenger` was promoted since `champion` wrote `folder`.

    Raises:
        StorageError: the registry cannot be read.
    """
    current = Registry(registry).champion()
    if current and challenger.is_dir() and current[0] == version_name(storage.described(challenger)):
        return True
    try:
        return current is not None and current[1] == read_champion(folder).generation
    except UserError:  # damaged
        return False


def promote(registry: str, bundle: Path, verdict: Path | None = None) -> str:
    """Add a bundle to the registry and make it the champion; returns its version.

    With a verdict, the promotion fails unless the current champion is the one that the gate compared with.

    Raises:
        RegistryError: the verdict rejects it or is of another model, or another process promoted first.
        StorageError: the registry cannot be written.
    """
    card, stored = load_card(bundle), Registry(registry)
    provenance = card.model_dump(mode="json", exclude={"files"})  # a version lists them itself
    if verdict is None:
        seen = stored.champion()
        name = stored.add(bundle, {}, provenance)
        stored.promote(name, seen and seen[1])
        return name
    decided = load_verdict(verdict)
    if not decided.promote:
        raise RegistryError(f"{verdict}: rejects the promotion: {decided.reason}")
    if decided.challenger.trained_on != card.data_fingerprint:
        raise RegistryError(f"{verdict}: is of another model than {bundle}; run the gate with this bundle")
    name = stored.add(bundle, decided.challenger.metrics.model_dump(mode="json"), provenance)
    current = stored.champion()
    if current is None or current[0] != name:  # a retried step has promoted it already
        stored.promote(name, decided.champion.generation if decided.champion else None)
    return name
