"""Model bundles: self-contained directories for scoring raw rows on another machine."""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from ctrloom import storage
from ctrloom.architecture import Architecture
from ctrloom.config import ConfiguredModel
from ctrloom.models import build
from ctrloom.schema import Schema
from ctrloom.storage import Place

WEIGHTS, MODEL, ARCHITECTURE, SCHEMA = "model.safetensors", "model.json", "architecture.json", "schema.json"
REFERENCE, VOCABULARY = "reference.json", "vocabulary"
FILES = WEIGHTS, MODEL, ARCHITECTURE, SCHEMA, REFERENCE, VOCABULARY


class ModelCard(ConfiguredModel):
    """`model.json`: the model's settings and provenance."""

    version: int = 1
    title: str
    seed: int
    data_fingerprint: str
    schema_fingerprint: str
    architecture_fingerprint: str
    code_version: str
    limited_by: str | None = None  # setting that ended its training while it was still improving


@dataclass(frozen=True)
class Bundle:
    """A model with everything needed to score rows."""

    card: ModelCard
    architecture: Architecture
    schema: Schema
    model: nn.Module


def save_weights(model: nn.Module, path: Path) -> None:
    """Write weights and batch statistics as safetensors, atomically."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    with storage.atomic_file(path) as temporary:
        try:
            save_file(tensors, temporary)
        except SafetensorError as error:  # such as a full disk
            raise OSError(str(error)) from error


def load_weights(model: nn.Module, path: Path) -> None:
    """Read weights into a model.

    Raises:
        StorageError: the file is missing, damaged, or belongs to another model.
    """
    try:
        model.load_state_dict(load_file(path))
    except FileNotFoundError:
        raise storage.StorageError(f"{path}: no such file; is this the directory of a model?") from None
    except Exception as error:
        raise storage.StorageError(f"{path}: does not contain the weights of this model: {error}") from None


def save_bundle(bundle: Bundle, dataset: Place, output: Path) -> None:
    """Write a bundle; `dataset` is the directory of the data set, which has the vocabularies."""
    with storage.atomic_directory(output, *FILES) as temporary:
        save_weights(bundle.model, temporary / WEIGHTS)
        storage.write_json(temporary / MODEL, bundle.card.model_dump(mode="json"))
        bundle.architecture.save(temporary / ARCHITECTURE)
        storage.write_json(temporary / SCHEMA, bundle.schema.model_dump(mode="json"))
        storage.download(dataset / VOCABULARY, temporary / VOCABULARY)
        if storage.exists(dataset / REFERENCE):  # data sets of older versions have none
            storage.write_json(temporary / REFERENCE, storage.read_json(dataset / REFERENCE))


def load_card(directory: Path) -> ModelCard:
    """Read the model card of a bundle.

    Raises:
        StorageError: the directory has no bundle.
    """
    return ModelCard.parse(storage.read_json(directory / MODEL), str(directory / MODEL))


def load_bundle(directory: Path, device: torch.device | None = None) -> Bundle:
    """Read a bundle and build its model.

    Raises:
        StorageError: a file is missing or damaged.
        SchemaMismatchError: weights and schema do not match.
    """
    card = load_card(directory)
    schema = Schema.parse(storage.read_json(directory / SCHEMA), str(directory / SCHEMA))
    if schema.fingerprint != card.schema_fingerprint:
        raise storage.StorageError(f"{directory / SCHEMA}: was changed after the model was trained")
    architecture = Architecture.load(directory / ARCHITECTURE)
    if architecture.fingerprint != card.architecture_fingerprint:
        raise storage.StorageError(f"{directory / ARCHITECTURE}: was changed after the model was trained")
    model = build(card.model, architecture, schema, card.hyperparameters)
    load_weights(model, directory / WEIGHTS)
    return Bundle(card, architecture, schema, model.to(device or torch.device("cpu")).eval())
