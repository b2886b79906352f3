"""Models, written as equations over shared layers and built from an architecture."""

from typing import cast

from torch import nn

from ctrloom.architecture import Architecture
from ctrloom.config import MODELS, Hyperparameters
from ctrloom.config.catalog import resolve
from ctrloom.nn.embedding import drop_embeddings
from ctrloom.schema import Schema, SchemaMismatchError


def build(name: str, architecture: Architecture, schema: Schema, settings: Hyperparameters) -> nn.Module:
    """Build a model from an architecture: (ids_BC, factors_BC) -> logits (B,).

    Transfer means building a different model from the same architecture.

    Raises:
        ConfigError: no model has this name.
        SchemaMismatchError: the architecture has different fields.
    """
    if architecture.fields != schema.names:
        raise SchemaMismatchError(
            f"the architecture has the fields {', '.join(architecture.fields)}, "
            f"but the data has {', '.join(schema.names)}"
        )
    model = cast(nn.Module, resolve(MODELS[name].build)(architecture, schema, settings))
    drop_embeddings(model, settings.embedding_dropout)
    return model
