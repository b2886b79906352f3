"""The hyper-parameters of each model."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ctrloom.config.base import StrictModel
from ctrloom.config.types import (
    BatchSize,
    Count,
    CountOrZero,
    Few,
    FewOrZero,
    Fraction,
    NotNegative,
    Positive,
    Share,
    Width,
)

Widths = Annotated[tuple[Width, ...], Field(max_length=100)]
SomeWidths = Annotated[tuple[Width, ...], Field(min_length=1, max_length=100)]


Precision = Literal["float32", "tf32", "bfloat16"]  # tf32 is float32 on a CPU
EmbeddingOptimizer = Literal["adam", "lazy_adam", "rowwise_adagrad"]


class Hyperparameters(StrictModel):
    """Settings common to all models."""

    embedding_size: Width = 10
    embedding_std: Positive | None = None  # None: Xavier over the whole table, as in AutoFIS
    embedding_dropout: Fraction = 0.0  # of the numbers of embeddings
    hidden: Widths = (200, 200)
    dropout: Fraction = 0.2
    batch_norm: bool = False
    layer_norm: bool = False  # before each ReLU of the MLP
    layer_norm_after_relu: bool = False  # after it instead: OptInter's Eq. 9; its code has it before
    epochs: Count = 100  # maximum; `patience` should end the training
    batch_size: BatchSize | None = None  # None: 4096, or less so that a pass has 80 steps; at least 256
    base_batch_size: BatchSize | None = None  # CowClip: the batch size that the other settings were tuned for
    learning_rate: Positive = 3e-3
    epsilon: Positive = 1e-8  # that Adam and Adagrad add to the denominator
    embedding_l2: NotNegative | None = None  # adds l2/2 * |table|^2 to the loss; None: 4 / training rows
    embedding_optimizer: EmbeddingOptimizer = "adam"  # all but adam update only the rows in the batch
    embedding_learning_rate: Positive | None = None  # in training; None: learning_rate
    patience: Count = (
        3  # epochs without a better validation score before the learning rate decays or training ends
    )
    decays: CountOrZero = 1  # how often the learning rate is divided by 10 before training ends
    monitor: Literal["auc", "logloss"] = "logloss"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    rows: Literal["auto", "memory", "stream"] = (
        "auto"  # stream: read from disk in every epoch; auto: stream if rows do not fit
    )
    precision: Precision = "float32"  # of matrix products in training

    @model_validator(mode="after")
    def _one_norm(self) -> Self:
        if self.batch_norm and self.layer_norm:
            raise ValueError("batch_norm and layer_norm exclude each other: set layer_norm: false")
        if self.layer_norm_after_relu and not self.layer_norm:
            raise ValueError("layer_norm_after_relu: moves the layer norm; set layer_norm: true, too")
        return self

    @model_validator(mode="after")
    def _scales(self) -> Self:
        if self.base_batch_size and self.batch_size is None:
            raise ValueError("base_batch_size: scales from it to batch_size; set batch_size, too")
        if self.base_batch_size and self.batch_size and self.base_batch_size > self.batch_size:
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

    @property
    def draws(self) -> bool:
        """True if settings make training random that is not otherwise."""
        return False


class GatedSettings(Hyperparameters):
    """AutoFM and AutoDeepFM: FM and DeepFM with a gate on each interaction."""

    # Batch norm of each interaction before its gate; false: an ablation (AutoFIS, section 4.6). In a search,
    # `search.batch_norm` applies instead
    interaction_norm: bool = True


class AFMSettings(Hyperparameters):
    """Attentional FM."""

    attention_size: Width = 8


class HOFMSettings(Hyperparameters):
    """Higher-order FM; `order` is ignored if an architecture selects the interactions."""

    order: Annotated[int, Field(ge=2, le=5)] = 3


class PINSettings(Hyperparameters):
    """Product-network in network (PIN)."""

    subnet_hidden: SomeWidths = (40, 5)  # layers of the micro network of each pair


class CrossSettings(Hyperparameters):
    """Deep & Cross networks."""

    cross_layers: Few = 3


class LowRankCrossSettings(CrossSettings):
    """DCN-V2."""

    low_rank: Width | None = None  # rank of the cross matrices; None: full rank


class CINSettings(Hyperparameters):
    """xDeepFM: compressed interaction network."""

    cin_layers: SomeWidths = (64, 64)  # feature maps of each layer


class AFNSettings(Hyperparameters):
    """Adaptive factorization network; AFN+ adds a parallel MLP."""

    learning_rate: Positive = 1e-3  # its products overfit at a higher one
    logarithmic_neurons: Width = 400
    plus: bool = False


class FinalMLPSettings(Hyperparameters):
    """FinalMLP: two MLP streams with bilinear fusion."""

    hidden: SomeWidths = (200, 200)
    second_hidden: SomeWidths = (200, 200)
    second_dropout: Fraction | None = None  # None: dropout
    heads: Few = 1
    gate_hidden: Width | None = None  # width of the feature gates; None: no gates
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

    learning_rate: Positive = 1e-3  # attention overfits at a higher one
    embedding_size: Width = 16
    embedding_std: Positive | None = 0.01
    attention_layers: FewOrZero = 3  # 0: a linear function of the embeddings
    heads: Few = 2
    head_size: Width = 32
    attention_dropout: Fraction = 0.0
    residual: bool = True
    reading: Literal["code", "paper"] = "code"


class AIMSettings(Hyperparameters):
    """AIM: gated interactions of several functions, and an MLP over their products."""

    perceptron: bool = True
    shared_embeddings: bool = False  # one table for all functions, instead of one each (ablation)


class MemorizingSettings(Hyperparameters):
    """Models with a cross embedding table: Poly2, GBDT+Poly2 and OptInter."""

    cross_l2: NotNegative = 0.0  # on the rows in the batch
    # probability that training replaces a value seen in only one row by the unseen id; 0 in the papers
    cross_hiding: Fraction = 0.5
    cross_learning_rate: Positive | None = None  # None: the learning rate


class Poly2Settings(MemorizingSettings):
    """Poly2; at a higher learning rate, weights of rare joint values overfit within the first epoch."""

    learning_rate: Positive = 1e-3


class OptInterSettings(MemorizingSettings):
    """OptInter: pairs that are memorized, factorized or left out."""

    cross_embedding_size: Width = 10  # also of the embeddings that are multiplied
    layer_norm: bool = True


class AutoPISettings(Hyperparameters):
    """AutoPI: settings of the operators in a found graph."""

    attention_heads: Few = 1
    senet_reduction: Few = 3
    operator_norm: bool = True  # batch norm over the fields in the found model
    # What it normalizes, in the search, too: the outputs of operators (Eq. 8), or their sums, the nodes
    normalized: Literal["operators", "nodes"] = "operators"

    @model_validator(mode="after")
    def _normalizes(self) -> Self:
        if self.normalized == "nodes" and not self.operator_norm:
            raise ValueError("normalized: nothing is without operator_norm; leave one of them out")
        return self


class GBDTSettings(Hyperparameters):
    """Gradient-boosted trees (LightGBM); the common settings apply to the logistic regression of GBDT+LR.

    Ten trees count as one epoch: the validation rows are scored after every ten trees, and boosting stops
    after `patience` epochs without a better score.
    """

    trees: Count = 3000  # maximum; `patience` should end the training
    patience: Count = 5
    leaves: Annotated[int, Field(ge=2, le=131_072)] = 31
    min_rows_in_leaf: Count = 20
    tree_learning_rate: Positive = 0.1
    tree_l2: NotNegative = 0.0
    field_share: Share = 1.0  # of the fields that each tree may use
    row_share: Share = 1.0  # of the rows that each tree is grown on
    # Of splits on categorical fields: the values of a field are sorted by their smoothed gradients
    category_smoothing: NotNegative = 10.0  # rows of the prior that each value is smoothed with
    category_l2: NotNegative = 10.0  # in place of tree_l2
    min_rows_in_category: Count = 100  # on each side of a split

    @property
    def draws(self) -> bool:
        """True if rows or fields are drawn at random for each tree."""
        return self.field_share < 1 or self.row_share < 1


class GBDTPoly2Settings(GBDTSettings, MemorizingSettings):
    """GBDT+Poly2; the common settings apply to its Poly2 part."""

    learning_rate: Positive = 1e-3  # as Poly2
