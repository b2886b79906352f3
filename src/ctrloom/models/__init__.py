"""Models, written as equations over shared layers and built from an architecture."""

from typing import Any, NamedTuple, Protocol

from torch import nn

from ctrloom.architecture import Architecture
from ctrloom.config import Hyperparameters, ModelName
from ctrloom.models.afn import AFN
from ctrloom.models.aim import AIM
from ctrloom.models.autoint import AutoInt, AutoIntPlus
from ctrloom.models.autopi import AutoPI
from ctrloom.models.cross import DCN, DCNv2, XDeepFM
from ctrloom.models.deep import FNN, AutoDeepFM, DeepCrossing, DeepFM, WideDeep
from ctrloom.models.finalmlp import FinalMLP
from ctrloom.models.hofm import HOFM
from ctrloom.models.optinter import OptInter
from ctrloom.models.pairwise import AFM, FFM, NFM, FmFM
from ctrloom.models.poly2 import Poly2
from ctrloom.models.products import IPNN, OPNN, PIN
from ctrloom.models.shallow import FM, LR, AutoFM, FwFM
from ctrloom.models.trees import GBDT, GBDTLR
from ctrloom.schema import Schema, SchemaMismatchError


class _Model(Protocol):  # settings classes are in `config.models`
    def __call__(self, architecture: Architecture, schema: Schema, hyper: Any) -> nn.Module: ...


class Entry(NamedTuple):
    """A model, its display name, and whether it models only the interactions of the architecture."""

    title: str
    model: _Model
    selects: bool = True


MODELS: dict[ModelName, Entry] = {
    "lr": Entry("LR", LR, selects=False),
    "poly2": Entry("Poly2", Poly2),
    "fm": Entry("FM", FM),
    "fwfm": Entry("FwFM", FwFM),
    "ffm": Entry("FFM", FFM),
    "fmfm": Entry("FmFM", FmFM),
    "afm": Entry("AFM", AFM),
    "nfm": Entry("NFM", NFM),
    "hofm": Entry("HOFM", HOFM),
    "fnn": Entry("FNN", FNN, selects=False),
    "widedeep": Entry("Wide & Deep", WideDeep, selects=False),
    "deepfm": Entry("DeepFM", DeepFM),
    "ipnn": Entry("IPNN", IPNN),
    "opnn": Entry("OPNN", OPNN),
    "pin": Entry("PIN", PIN),
    "deepcrossing": Entry("Deep Crossing", DeepCrossing, selects=False),
    "dcn": Entry("DCN", DCN, selects=False),
    "dcnv2": Entry("DCN-V2", DCNv2, selects=False),
    "xdeepfm": Entry("xDeepFM", XDeepFM, selects=False),
    "afn": Entry("AFN", AFN, selects=False),
    "finalmlp": Entry("FinalMLP", FinalMLP, selects=False),
    "autoint": Entry("AutoInt", AutoInt, selects=False),
    "autointplus": Entry("AutoInt+", AutoIntPlus, selects=False),
    "gbdt": Entry("GBDT", GBDT, selects=False),
    "gbdtlr": Entry("GBDT+LR", GBDTLR, selects=False),
    "autofm": Entry("AutoFM", AutoFM),
    "autodeepfm": Entry("AutoDeepFM", AutoDeepFM),
    "aim": Entry("AIM", AIM),
    "optinter": Entry("OptInter", OptInter),
    "autopi": Entry("AutoPI", AutoPI, selects=False),
}


def build(name: ModelName, architecture: Architecture, schema: Schema, hyper: Hyperparameters) -> nn.Module:
    """Build a model from an architecture: (ids_BC, factors_BC) -> logits (B,).

    Transfer means building a different model from the same architecture.

    Raises:
        SchemaMismatchError: the architecture has different fields.
    """
    if architecture.fields != schema.names:
        raise SchemaMismatchError(
            f"the architecture has the fields {', '.join(architecture.fields)}, "
            f"but the data has {', '.join(schema.names)}"
        )
    return MODELS[name].model(architecture, schema, hyper)
