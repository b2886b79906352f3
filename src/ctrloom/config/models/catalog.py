"""All models: the name of each, how it is built, and how it takes part in a run."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ctrloom.config.catalog import Catalog
from ctrloom.config.models.peer_settings import (
    AutoGroupSettings,
    DCNv3Settings,
    FiGNNSettings,
    FinalNetSettings,
    GDCNSettings,
    MaskNetSettings,
)
from ctrloom.config.models.settings import (
    AFMSettings,
    AFNSettings,
    AIMSettings,
    AutoIntSettings,
    AutoPISettings,
    CINSettings,
    CrossSettings,
    FinalMLPSettings,
    GatedSettings,
    GBDTPoly2Settings,
    GBDTSettings,
    HOFMSettings,
    Hyperparameters,
    LowRankCrossSettings,
    OptInterSettings,
    PINSettings,
    Poly2Settings,
)


@dataclass(frozen=True)
class ModelEntry:
    """A model: display name, how it is built, its settings, and how it takes part in a run."""

    title: str
    # "module:name", imported when it is needed, or a callable: (architecture, schema, settings) -> nn.Module
    build: str | Callable[..., Any]
    settings: type[Hyperparameters] = Hyperparameters
    selects: bool = True  # models only the interactions of the architecture
    # Takes any order and AIM's functions from the architecture; otherwise it has its own function of a pair
    carries_functions: bool = False
    baseline: bool = True  # can be trained without a search
    trees: bool = False  # trained by LightGBM
    without_interactions: str | None = None  # the model that it equals if no interaction is kept
    deterministic: bool = False  # every seed gives the same model, unless its settings draw rows or fields
    lacks: tuple[str, ...] = ()  # common settings that do not apply, and are an error if set for it

    @property
    def transfers(self) -> bool:
        """Whether found interactions can be transferred to it."""
        return self.baseline and self.selects

    def same_for_every_seed(self, settings: Hyperparameters) -> bool:
        """True if every seed gives the same model with these settings, so that one is trained."""
        return self.deterministic and not settings.draws


_NO_MLP = ("layer_norm", "layer_norm_after_relu")
_LINEAR = ("embedding_dropout", *_NO_MLP)
_ONE_NORM = ("batch_norm", "layer_norm_after_relu")

MODELS = Catalog(
    "model",
    {
        "lr": ModelEntry("LR", "ctrloom.models.shallow:LR", selects=False, lacks=_LINEAR),
        "poly2": ModelEntry("Poly2", "ctrloom.models.poly2:Poly2", Poly2Settings, lacks=_LINEAR),
        "fm": ModelEntry("FM", "ctrloom.models.shallow:FM", carries_functions=True, lacks=_NO_MLP),
        "ffm": ModelEntry("FFM", "ctrloom.models.pairwise:FFM", lacks=_NO_MLP),
        "fwfm": ModelEntry("FwFM", "ctrloom.models.shallow:FwFM", carries_functions=True, lacks=_NO_MLP),
        "fmfm": ModelEntry("FmFM", "ctrloom.models.pairwise:FmFM", lacks=_NO_MLP),
        "afm": ModelEntry("AFM", "ctrloom.models.pairwise:AFM", AFMSettings, lacks=_NO_MLP),
        "nfm": ModelEntry("NFM", "ctrloom.models.pairwise:NFM"),
        "hofm": ModelEntry(
            "HOFM", "ctrloom.models.hofm:HOFM", HOFMSettings, carries_functions=True, lacks=_NO_MLP
        ),
        "fnn": ModelEntry("FNN", "ctrloom.models.deep:FNN", selects=False),
        "widedeep": ModelEntry("Wide & Deep", "ctrloom.models.deep:WideDeep", selects=False),
        "deepfm": ModelEntry("DeepFM", "ctrloom.models.deep:DeepFM", carries_functions=True),
        "ipnn": ModelEntry("IPNN", "ctrloom.models.products:IPNN", carries_functions=True),
        "opnn": ModelEntry("OPNN", "ctrloom.models.products:OPNN"),
        "pin": ModelEntry("PIN", "ctrloom.models.products:PIN", PINSettings),
        "deepcrossing": ModelEntry("Deep Crossing", "ctrloom.models.deep:DeepCrossing", selects=False),
        "dcn": ModelEntry("DCN", "ctrloom.models.cross:DCN", CrossSettings, selects=False),
        "dcnv2": ModelEntry("DCN-V2", "ctrloom.models.cross:DCNv2", LowRankCrossSettings, selects=False),
        "crossnet": ModelEntry(
            "CrossNet", "ctrloom.models.cross:CrossNet", CrossSettings, selects=False, lacks=_NO_MLP
        ),
        "cin": ModelEntry("CIN", "ctrloom.models.cross:CIN", CINSettings, selects=False, lacks=_NO_MLP),
        "xdeepfm": ModelEntry("xDeepFM", "ctrloom.models.cross:XDeepFM", CINSettings, selects=False),
        "afn": ModelEntry("AFN", "ctrloom.models.afn:AFN", AFNSettings, selects=False),
        "finalmlp": ModelEntry(
            "FinalMLP", "ctrloom.models.finalmlp:FinalMLP", FinalMLPSettings, selects=False
        ),
        "finalnet": ModelEntry(
            "FinalNet",
            "ctrloom.models.finalnet:FinalNet",
            FinalNetSettings,
            selects=False,
            lacks=("layer_norm_after_relu",),
        ),
        "gdcn": ModelEntry("GDCN", "ctrloom.models.cross:GDCN", GDCNSettings, selects=False),
        "masknet": ModelEntry(
            "MaskNet", "ctrloom.models.masknet:MaskNet", MaskNetSettings, selects=False, lacks=_ONE_NORM
        ),
        "dcnv3": ModelEntry(
            "DCNv3", "ctrloom.models.dcnv3:DCNv3", DCNv3Settings, selects=False, lacks=_ONE_NORM
        ),
        "fignn": ModelEntry(
            "Fi-GNN",
            "ctrloom.models.fignn:FiGNN",
            FiGNNSettings,
            selects=False,
            lacks=_NO_MLP,
        ),
        "autogroup": ModelEntry(
            "AutoGroup", "ctrloom.models.autogroup:AutoGroup", AutoGroupSettings, selects=False
        ),
        "autoint": ModelEntry(
            "AutoInt", "ctrloom.models.autoint:AutoInt", AutoIntSettings, selects=False, lacks=_NO_MLP
        ),
        "autointplus": ModelEntry(
            "AutoInt+", "ctrloom.models.autoint:AutoIntPlus", AutoIntSettings, selects=False
        ),
        "gbdt": ModelEntry(
            "GBDT",
            "ctrloom.models.trees:GBDT",
            GBDTSettings,
            selects=False,
            trees=True,
            deterministic=True,
            lacks=_LINEAR,
        ),
        "gbdtlr": ModelEntry(
            "GBDT+LR", "ctrloom.models.trees:GBDTLR", GBDTSettings, selects=False, trees=True, lacks=_LINEAR
        ),
        "gbdtpoly2": ModelEntry(
            "GBDT+Poly2", "ctrloom.models.trees:GBDTPoly2", GBDTPoly2Settings, trees=True, lacks=_LINEAR
        ),
        "autofm": ModelEntry(
            "AutoFM",
            "ctrloom.models.shallow:AutoFM",
            GatedSettings,
            carries_functions=True,
            baseline=False,
            without_interactions="lr",
            lacks=_NO_MLP,
        ),
        "autodeepfm": ModelEntry(
            "AutoDeepFM",
            "ctrloom.models.deep:AutoDeepFM",
            GatedSettings,
            carries_functions=True,
            baseline=False,
            without_interactions="widedeep",
        ),
        "aim": ModelEntry(
            "AIM",
            "ctrloom.models.aim:AIM",
            AIMSettings,
            carries_functions=True,
            baseline=False,
            without_interactions="lr",
        ),
        "optinter": ModelEntry(
            "OptInter",
            "ctrloom.models.optinter:OptInter",
            OptInterSettings,
            baseline=False,
            without_interactions="fnn",
        ),
        "autopi": ModelEntry(
            "AutoPI",
            "ctrloom.models.autopi:AutoPI",
            AutoPISettings,
            selects=False,
            baseline=False,
            lacks=_NO_MLP,
        ),
    },
)
