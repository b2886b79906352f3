"""Models, each readable as its equation over shared layers; all are built from an architecture."""

from typing import NamedTuple, Protocol

from torch import nn

from ctrloom.architecture import Architecture
from ctrloom.config import Hyperparameters, ModelName
from ctrloom.models.deep import FNN, IPNN, AutoDeepFM, DeepFM
from ctrloom.models.shallow import FM, LR, AutoFM, FwFM
from ctrloom.schema import Schema, SchemaMismatchError


class _Model(Protocol):
    def __call__(self, architecture: Architecture, schema: Schema, hyper: Hyperparameters) -> nn.Module: ...


class Entry(NamedTuple):
    """A model, and its name as people write it."""

    title: str
    model: _Model


MODELS: dict[ModelName, Entry] = {
    "lr": Entry("LR", LR),
    "fm": Entry("FM", FM),
    "fwfm": Entry("FwFM", FwFM),
    "fnn": Entry("FNN", FNN),
    "deepfm": Entry("DeepFM", DeepFM),
    "ipnn": Entry("IPNN", IPNN),
    "autofm": Entry("AutoFM", AutoFM),
    "autodeepfm": Entry("AutoDeepFM", AutoDeepFM),
}


def build(name: ModelName, architecture: Architecture, schema: Schema, hyper: Hyperparameters) -> nn.Module:
    """Any model from any architecture: (ids_BC, factors_BC) -> logits (B,).

    Transfer is nothing but building another model from the same architecture.

    Raises:
        SchemaMismatchError: the architecture was found on other fields.
    """
    if architecture.fields != schema.names:
        raise SchemaMismatchError(
            f"the architecture was found on the fields {', '.join(architecture.fields)}; "
            f"the data has {', '.join(schema.names)}"
        )
    return MODELS[name].model(architecture, schema, hyper)
