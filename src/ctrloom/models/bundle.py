"""Model bundles: self-contained directories for scoring raw rows on another machine."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from ctrloom import storage
from ctrloom.architecture import Architecture
from ctrloom.config import ConfiguredModel
from ctrloom.models import build
from ctrloom.schema import Schema
from ctrloom.storage import DamagedError, Place, StoredFile, objects

WEIGHTS, MODEL, ARCHITECTURE, SCHEMA = "model.safetensors", "model.json", "architecture.json", "schema.json"
REFERENCE, VOCABULARY = "reference.json", "vocabulary"
FILES = WEIGHTS, MODEL, ARCHITECTURE, SCHEMA, REFERENCE, VOCABULARY


class ModelCard(ConfiguredModel, storage.FolderRecord):
    """`model.json`: the model's settings and provenance, and checksums of the other files."""

    version: Literal[1] = 1
    title: str
    seed: int
    data_fingerprint: str
    schema_fingerprint: str
    architecture_fingerprint: str
    code_version: str
    days: tuple[date, date] | None = None  # the first and the last of the data, if they have timestamps
    valid_auc: float | None = None
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
        StorageError: the file is missing, damaged, of another model, or has a weight that is not finite.
    """
    try:
        tensors = load_file(path)
        for name, tensor in model.state_dict().items():
            if name in tensors and tensors[name].dtype != tensor.dtype:
                raise TypeError(f"{name} is {tensors[name].dtype} instead of {tensor.dtype}")
        model.load_state_dict(tensors)
    except FileNotFoundError:
        raise storage.StorageError(f"{path}: no such file; is this the directory of a model?") from None
    except Exception as error:
        raise storage.StorageError(
            f"{path}: does not contain the weights of this model: {storage.one_line(error)}"
        ) from None
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise storage.StorageError(
                f"{path}: {name} has a weight that is not finite; train the model again, "
                "with a lower learning rate if that is the reason"
            )


def save_bundle(bundle: Bundle, dataset: Place, output: Path, files: Iterable[StoredFile] = ()) -> None:
    """Write a bundle; `dataset` is the directory of the data set, which has the vocabularies.

    `files` are those of the data set with their checksums, as its manifest lists them.

    Raises:
        DamagedError: a vocabulary is not as it was written.
        StorageError: a file cannot be read or written.
    """
    with storage.atomic_directory(output, *FILES) as temporary:
        save_weights(bundle.model, temporary / WEIGHTS)
        bundle.architecture.save(temporary / ARCHITECTURE)
        storage.write_record(temporary / SCHEMA, bundle.schema)
        storage.download(dataset / VOCABULARY, temporary / VOCABULARY)
        if reference := objects.read(dataset / REFERENCE):  # data sets of older versions have none
            (temporary / REFERENCE).write_bytes(reference.content)
        _require_same(temporary, dataset, files)
        storage.write_folder_record(temporary / MODEL, bundle.card)


def _require_same(copy: Path, dataset: Place, files: Iterable[StoredFile]) -> None:
    """Raise DamagedError if copied files are not those that the manifest of the data set lists."""
    for file in files:
        copied = file.path == REFERENCE or file.path.startswith(f"{VOCABULARY}/")
        if copied and (not (copy / file.path).is_file() or storage.sha256(copy / file.path) != file.sha256):
            raise DamagedError(
                f"{dataset / file.path}: was changed or damaged after it was written; "
                "delete the folder of this data set and create it again"
            )


def load_card(directory: Path) -> ModelCard:
    """Read the model card of a bundle, and verify all files.

    Raises:
        StorageError: the directory has no bundle, or a file is missing, additional or damaged.
    """
    card = storage.read_record(directory / MODEL, ModelCard)
    storage.verify_files(directory, card.files, MODEL)
    return card


def load_bundle(directory: Path, device: torch.device | None = None) -> Bundle:
    """Read a bundle and build its model.

    Raises:
        StorageError: a file is missing, additional or damaged.
        SchemaMismatchError: weights and schema do not match.
    """
    card = load_card(directory)
    schema = storage.read_record(directory / SCHEMA, Schema)
    if schema.fingerprint != card.schema_fingerprint:
        raise storage.StorageError(f"{directory / SCHEMA}: was changed after the model was trained")
    architecture = Architecture.load(directory / ARCHITECTURE)
    if architecture.fingerprint != card.architecture_fingerprint:
        raise storage.StorageError(f"{directory / ARCHITECTURE}: was changed after the model was trained")
    model = build(card.model, architecture, schema, card.hyperparameters)
    load_weights(model, directory / WEIGHTS)
    return Bundle(card, architecture, schema, model.to(device or torch.device("cpu")).eval())
