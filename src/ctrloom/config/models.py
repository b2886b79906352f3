"""Models by name, and their hyper-parameters."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SerializeAsAny, model_validator

from ctrloom.config.base import StrictModel
from ctrloom.config.types import BatchSize, Count, Fraction, NotNegative, Passes, Positive

BaselineName = Literal[
    "lr",
    "poly2",
    "fm",
    "ffm",
    "fwfm",
    "fmfm",
    "afm",
    "nfm",
    "hofm",
    "fnn",
    "widedeep",
    "deepfm",
    "ipnn",
    "opnn",
    "pin",
    "deepcrossing",
    "dcn",
    "dcnv2",
    "xdeepfm",
    "afn",
    "finalmlp",
    "autoint",
    "autointplus",
    "gbdt",
    "gbdtlr",
]
FoundName = Literal["autofm", "autodeepfm", "aim", "optinter", "autopi"]  # models that a search trains
TransferName = Literal[
    "poly2", "fm", "fwfm", "ffm", "fmfm", "afm", "nfm", "hofm", "deepfm", "ipnn", "opnn", "pin"
]  # the baselines that can use a found architecture
ModelName = Literal[BaselineName, FoundName]
Widths = tuple[Count, ...]
SomeWidths = Annotated[Widths, Field(min_length=1)]


Precision = Literal["float32", "tf32", "bfloat16"]  # tf32 is float32 on a CPU
EmbeddingOptimizer = Literal["adam", "lazy_adam", "rowwise_adagrad"]


class Hyperparameters(StrictModel):
    """Settings common to all models."""

    embedding_size: Count = 10
    embedding_std: Positive | None = None  # None: Xavier over the whole table, as in AutoFIS
    hidden: Widths = (400, 400, 400)
    dropout: Fraction = 0.0
    batch_norm: bool = False
    epochs: Count = 20
    batch_size: BatchSize = 4096
    base_batch_size: BatchSize | None = None  # CowClip: the batch size that the other settings were tuned for
    learning_rate: Positive = 1e-3
    embedding_l2: NotNegative = 0.0  # adds l2/2 * |table|^2 to the loss
    embedding_optimizer: EmbeddingOptimizer = "adam"  # all but adam update only the rows in the batch
    embedding_learning_rate: Positive | None = None  # in training; None: learning_rate
    patience: Count = (
        2  # epochs without a better validation score before the learning rate decays or training ends
    )
    decays: Passes = 0  # how often the learning rate is divided by 10 before training ends
    monitor: Literal["auc", "logloss"] = "auc"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    rows: Literal["auto", "memory", "stream"] = (
        "auto"  # stream: read from disk in every epoch; auto: stream if rows do not fit
    )
    precision: Precision = "float32"  # of matrix products in training

    @model_validator(mode="after")
    def _scales(self) -> Self:
        if self.base_batch_size and self.base_batch_size > self.batch_size:
            raise ValueError(
                f"base_batch_size: {self.base_batch_size} is larger than batch_size ({self.batch_size}); "
                "leave it out: smaller batches need no scaling"
            )
        if self.base_batch_size and self.embedding_optimizer == "adam":
            raise ValueError(
                "base_batch_size requires embedding_optimizer: lazy_adam or rowwise_adagrad, "
                "which update and clip single rows"
            )
        return self

    @classmethod
    def of(cls, models: Mapping[Any, Mapping[str, Any]], name: str) -> "Hyperparameters":
        """Settings of one model: `models.default`, overridden by `models.<name>`."""
        raw = {**models.get("default", {}), **models.get(name, {})}
        return OWN.get(name, Hyperparameters).parse(raw, f"models.{name}")


class AFMSettings(Hyperparameters):
    """Attentional FM."""

    attention_size: Count = 8


class HOFMSettings(Hyperparameters):
    """Higher-order FM; `order` is ignored if an architecture selects the interactions."""

    order: Annotated[int, Field(ge=2, le=5)] = 3


class PINSettings(Hyperparameters):
    """Product-network in network (PIN)."""

    subnet_hidden: SomeWidths = (40, 5)  # layers of the micro network of each pair


class CrossSettings(Hyperparameters):
    """Deep & Cross networks."""

    cross_layers: Count = 3


class LowRankCrossSettings(CrossSettings):
    """DCN-V2."""

    low_rank: Count | None = None  # rank of the cross matrices; None: full rank


class CINSettings(Hyperparameters):
    """xDeepFM: compressed interaction network."""

    cin_layers: SomeWidths = (64, 64)  # feature maps of each layer


class AFNSettings(Hyperparameters):
    """Adaptive factorization network; AFN+ adds a parallel MLP."""

    logarithmic_neurons: Count = 400
    plus: bool = False


class FinalMLPSettings(Hyperparameters):
    """FinalMLP: two MLP streams with bilinear fusion."""

    hidden: SomeWidths = (400, 400, 400)
    second_hidden: SomeWidths = (400, 400, 400)
    heads: Count = 1
    gate_hidden: Count | None = None  # width of the feature gates; None: no gates
    first_context: tuple[str, ...] = ()  # input fields of the stream's gate; empty: a learned vector
    second_context: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for key, width in (("hidden", self.hidden[-1]), ("second_hidden", self.second_hidden[-1])):
            if width % self.heads:
                raise ValueError(
                    f"heads: {self.heads} heads cannot share the {width} outputs of {key}; choose a divisor"
                )
        if self.gate_hidden is None and (self.first_context or self.second_context):
            raise ValueError("gate_hidden: required with first_context and second_context; set a width")
        return self


class AutoIntSettings(Hyperparameters):
    """AutoInt: `code` is the published code's layer, `paper` that of its equations 5-8."""

    embedding_size: Count = 16
    embedding_std: Positive | None = 0.01
    hidden: Widths = (400, 400)  # AutoInt+: layers of the parallel MLP
    attention_layers: Count = 3
    heads: Count = 2
    head_size: Count = 32
    attention_dropout: Fraction = 0.0
    residual: bool = True
    reading: Literal["code", "paper"] = "code"


class AIMSettings(Hyperparameters):
    """AIM: gated interactions of several functions, and an MLP over their products."""

    perceptron: bool = True
    shared_embeddings: bool = False  # one table for all functions, instead of one each (ablation)


class MemorizingSettings(Hyperparameters):
    """Models with a cross embedding table: Poly2 and OptInter."""

    cross_l2: NotNegative = 0.0  # on the rows in the batch
    # probability that training replaces a value seen in only one row by the unseen id; 0 in the papers
    cross_hiding: Fraction = 0.5
    cross_learning_rate: Positive | None = None  # None: the learning rate


class OptInterSettings(MemorizingSettings):
    """OptInter: pairs that are memorized, factorized or left out."""

    cross_embedding_size: Count = 10  # also of the embeddings that are multiplied
    layer_norm: bool = True  # before each ReLU of the MLP

    @model_validator(mode="after")
    def _one_norm(self) -> Self:
        if self.batch_norm and self.layer_norm:
            raise ValueError("batch_norm and layer_norm exclude each other: set layer_norm: false")
        return self


class AutoPISettings(Hyperparameters):
    """AutoPI: settings of the operators in a found graph."""

    attention_heads: Count = 1
    senet_reduction: Count = 3
    operator_norm: bool = True  # batch norm over the fields after each operator


class GBDTSettings(Hyperparameters):
    """Gradient-boosted trees (LightGBM); the common settings apply to the logistic regression of GBDT+LR.

    Ten trees count as one epoch: the validation rows are scored after every ten trees, and boosting stops
    after `patience` epochs without a better score.
    """

    trees: Count = 500  # maximum
    leaves: Annotated[int, Field(ge=2)] = 31
    min_rows_in_leaf: Count = 20
    tree_learning_rate: Positive = 0.1
    tree_l2: NotNegative = 0.0


OWN: dict[str, type[Hyperparameters]] = {
    "afm": AFMSettings,
    "hofm": HOFMSettings,
    "pin": PINSettings,
    "dcn": CrossSettings,
    "dcnv2": LowRankCrossSettings,
    "xdeepfm": CINSettings,
    "afn": AFNSettings,
    "finalmlp": FinalMLPSettings,
    "autoint": AutoIntSettings,
    "autointplus": AutoIntSettings,
    "aim": AIMSettings,
    "optinter": OptInterSettings,
    "poly2": MemorizingSettings,
    "autopi": AutoPISettings,
    "gbdt": GBDTSettings,
    "gbdtlr": GBDTSettings,
}


class ModelSettings(StrictModel):
    """A model by name with its hyper-parameters, of the type of that model."""

    model: ModelName
    hyperparameters: SerializeAsAny[Hyperparameters]

    @model_validator(mode="before")
    @classmethod
    def _own_type(cls, raw: Any) -> Any:
        if not isinstance(raw, Mapping) or not isinstance(raw.get("hyperparameters"), Mapping):
            return raw
        name = str(raw.get("model"))
        return {**raw, "hyperparameters": Hyperparameters.of({name: raw["hyperparameters"]}, name)}
