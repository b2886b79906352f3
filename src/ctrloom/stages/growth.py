"""Encode later rows with the vocabularies of a bundle, grown by what is new."""

from pathlib import Path

from ctrloom.config.engine import EngineConfig
from ctrloom.config.growth import GrowthConfig
from ctrloom.data.engines import EMBEDDED
from ctrloom.data.vocabulary.growth import grow_vocabulary
from ctrloom.models.bundle import load_bundle
from ctrloom.models.growth import cross_keys
from ctrloom.storage import Place


def grow(
    ingested: str | Place, bundle: Path, config: GrowthConfig, store: Place, engine: EngineConfig = EMBEDDED
) -> Place:
    """Encode ingested rows with a bundle's vocabularies, appending new values; returns the manifest.

    Raises:
        ConfigError: the rows have other columns than the bundle.
    """
    keys = cross_keys(load_bundle(bundle).model)
    return grow_vocabulary(ingested, bundle, config, store, keys, engine)
