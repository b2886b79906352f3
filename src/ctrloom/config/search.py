"""Settings of the searches, one section per method; `controls` are the selections that each must beat."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, model_validator

from ctrloom.config.base import ConfigError, StrictModel
from ctrloom.config.types import BatchSize, Count, NotNegative, Passes, Positive

Order = Literal[2, 3, 4]


class AutoFISConfig(StrictModel):
    """AutoFIS: which interactions of each order a model needs (AutoFIS, section 3.2)."""

    method: Literal["autofis"] = "autofis"
    base: Literal["autofm", "autodeepfm"] = "autofm"
    order: Order = 2
    higher_order: Literal["sequential", "joint"] = "sequential"  # joint: lower orders are searched again
    # all: every interaction of an order; pool: the strongest ones of the order below, each with one field
    # more (AIM, Algorithm 1), at most fields * pool of them
    candidates: Literal["all", "pool"] = "all"
    pool: Count | None = None  # interactions of the order below that are extended; None: half the fields
    bi_level: bool = False  # gates learn on one half of the training rows, weights on the other (Table 8)
    warm_up: Passes = 1  # passes that train the linear part alone; 0 in the paper
    gate_warm_up: Passes = 3  # passes with fixed gates, per order above 2; 0 in the paper
    epochs: Count = 5
    batch_size: BatchSize | None = None  # 2000 as in the paper; less on small data, for 80 steps a pass
    learning_rate: Positive = 1e-2
    embedding_l2: NotNegative = 0.0  # as in the paper; much of it hides rare pairs
    gate_learning_rate: Positive = 1.0
    learning_rate_decay: Positive = 1.0  # factor after each fifth of the search
    gate_decay: Positive = 0.6  # the same for the gates
    gate_init: Positive = 0.6
    c: Positive | None = None  # GRDA's c; by default scaled to the number of steps, see `threshold`
    mu: Positive = 0.8
    threshold: Positive = 3.0  # soft threshold at the end of the search, in units of gate_init
    seed: int = 0
    # Control: random selections of the same size; seed number i is trained on draw i modulo their number.
    random_draws: Passes = 10

    @property
    def controls(self) -> tuple[str, ...]:
        """Selections that what is found must beat."""
        return ("random", "unpruned", "statistics-auc")


class AIMConfig(StrictModel):
    """AIM: which interactions, with which functions, at which embedding sizes (AIM, section 3)."""

    method: Literal["aim"] = "aim"
    base: Literal["aim"] = "aim"
    order: Order = 2
    functions: Annotated[
        tuple[Literal["inner", "vector_kernel", "scalar_kernel", "outer"], ...], Field(min_length=1)
    ] = (
        "inner",
        "vector_kernel",
        "scalar_kernel",
        "outer",
    )
    search_functions: bool = True  # off: all pairs with the inner product (the ablation without IFS)
    search_embeddings: bool = True  # off: every field keeps its whole embedding (the ablation without EDS)
    pool: Count | None = None  # interactions of the order below that are extended; None: half the fields
    warm_up: Passes = 1  # passes that train the linear part alone; 0 in the paper
    gate_warm_up: Passes = 3  # passes with fixed gates, per order above 2; 0 in the paper
    epochs: Count = 5
    batch_size: BatchSize | None = None  # 2000 as in the paper; less on small data, for 80 steps a pass
    learning_rate: Positive = 1e-2
    learning_rate_decay: Positive = 0.75
    gate_learning_rate: Positive = 1.0  # 0.1 in the paper, which has many more steps
    gate_decay: Positive = 0.75
    gate_init: Positive = 0.6
    mu: Positive = 0.6
    threshold: Positive = 3.0  # soft threshold at the end of the search, in units of gate_init
    embedding_warm_up: Passes = 1  # passes with fixed gates in the search for embedding sizes; 0 in the paper
    embedding_epochs: Count = 5  # of that search
    embedding_gate_learning_rate: Positive = 1.0
    embedding_mu: Positive = 0.55
    embedding_threshold: Positive = 2.0  # the same for the gates on embedding positions
    seed: int = 0
    random_draws: Passes = 10

    @model_validator(mode="after")
    def _searches(self) -> "AIMConfig":
        if not self.search_functions and self.order > 2:
            raise ValueError(
                "order: candidates of higher order extend the pairs that a search found; with "
                "search_functions: false there are only pairs, so use order: 2"
            )
        return self

    @property
    def controls(self) -> tuple[str, ...]:
        """Selections that what is found must beat."""
        return (
            *(("random", "unpruned") if self.search_functions else ()),
            *(("whole-embeddings",) if self.search_embeddings else ()),
        )


class OptInterConfig(StrictModel):
    """OptInter: memorize, factorize or ignore each pair (OptInter, section II)."""

    method: Literal["optinter"] = "optinter"
    base: Literal["optinter"] = "optinter"
    warm_up: Passes = 0  # passes with fixed logits before those below; 0 in the paper
    epochs: Count = 10
    patience: Count = 1  # epochs without a better validation AUC before the search ends
    batch_size: BatchSize | None = None  # 2000 as in the paper; less on small data, for 1000 steps a pass
    learning_rate: Positive = 3e-3
    embedding_l2: NotNegative = 0.0
    cross_l2: NotNegative = 3e-8  # of the rows that a batch touches
    gate_learning_rate: Positive = 1e-2
    # Fall of the temperature per training step: 5e-5 in the paper, which on its data takes one pass from 1 to
    # the floor. None: such that it takes one pass here.
    temperature_decay: NotNegative | None = None
    temperature_floor: Positive = 0.01
    gumbel: bool = False  # noise on the logits (Eq. 16), which the published code leaves out
    bi_level: bool = False  # logits learn on half of the training rows, weights on the other
    seed: int = 0
    random_draws: Passes = 10

    @property
    def controls(self) -> tuple[str, ...]:
        """Selections that what is found must beat."""
        return ("random", "all-memorize", "all-hadamard")


class AutoPIConfig(StrictModel):
    """AutoPI: a graph of interaction operators (AutoPI, section 4)."""

    method: Literal["autopi"] = "autopi"
    base: Literal["autopi"] = "autopi"
    # one_shot: graphs share weights, and the best of many by these; random: AutoPI-R, the control
    strategy: Literal["differentiable", "one_shot", "random"] = "differentiable"
    nodes: Count = 4  # intermediate nodes of each cell
    epochs: Count = 50
    frozen: Passes = 15  # first epochs in which only weights learn; at most a third of all
    batch_size: BatchSize = 4096
    optimizer: Literal["sgd", "adam"] = "sgd"  # of weights; adam gets there in fewer epochs
    learning_rate: Positive = 0.1
    momentum: NotNegative = 0.9  # sgd
    weight_decay: NotNegative = 3e-4  # sgd
    embedding_l2: NotNegative = 0.0  # adam
    clip: Positive = 5.0
    gate_learning_rate: Positive | None = None  # None: PC-DARTS' 6e-4, and more where steps are fewer
    gate_weight_decay: NotNegative = 1e-3
    anneal: bool = True
    noisy_skip: bool = False
    # What stays: the strongest operators (section 4.4.1), or those that the mixture misses most
    choose_by: Literal["strength", "perturbation"] = "strength"
    # perturbation: of the gates' half, one_shot: of the validation rows, on which the loss is measured
    choosing_rows: Count = 10_000
    candidates: Count = 600  # one_shot: graphs that are compared by the weights they share
    finalists: Count = 5  # one_shot: the best of these, which are trained briefly from scratch
    finalist_epochs: Count = 4
    samples: Count = 20  # random strategy: graphs that are trained and compared on validation rows
    seed: int = 0
    random_draws: Passes = 10

    @property
    def controls(self) -> tuple[str, ...]:
        """Selections that what is found must beat; random graphs are a control themselves."""
        return () if self.strategy == "random" else ("random",)


class SelectionConfig(StrictModel):
    """The top interactions by a statistic, or random ones: a method of its own and a yardstick."""

    method: Literal["random", "statistics_auc", "mutual_information"]
    base: Literal["autofm", "autodeepfm"] = "autofm"
    keep: Annotated[dict[Annotated[int, Field(ge=2, le=4)], Count], Field(min_length=1)]  # per order
    corrected: bool = False  # mutual information less that of shuffled labels: fair to fields of few values
    seed: int = 0
    random_draws: Passes = 10

    @property
    def controls(self) -> tuple[str, ...]:
        """Selections that what is found must beat: all but the method itself."""
        own = self.method.replace("_", "-")
        return tuple(name for name in ("random", "unpruned", "statistics-auc") if name != own)


Kinds = AutoFISConfig | AIMConfig | OptInterConfig | AutoPIConfig | SelectionConfig
SearchConfig = Annotated[Kinds, Discriminator("method")]
METHODS: dict[str, type[Kinds]] = {
    "autofis": AutoFISConfig,
    "aim": AIMConfig,
    "optinter": OptInterConfig,
    "autopi": AutoPIConfig,
    "random": SelectionConfig,
    "statistics_auc": SelectionConfig,
    "mutual_information": SelectionConfig,
}


def search_config(raw: Mapping[str, Any], where: str = "search") -> Kinds:
    """The section of the method that `raw` names; AutoFIS when it names none.

    Raises:
        ConfigError: no such method, or a key or value that does not fit it.
    """
    method = raw.get("method", "autofis")
    if method not in METHODS:
        raise ConfigError(f"{where}.method: must be one of {', '.join(METHODS)}, not {method!r}")
    parsed: Kinds = METHODS[method].parse(raw, where)
    return parsed
