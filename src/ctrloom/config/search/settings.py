"""The settings of every search method."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ctrloom.config.base import StrictModel
from ctrloom.config.models_section import ModelName
from ctrloom.config.types import (
    BatchSize,
    Count,
    CountOrZero,
    Few,
    FewOrZero,
    NotNegative,
    Positive,
    Rate,
    Seed,
)

Order = Literal[2, 3, 4]
WITHOUT_RETRAINING = "without-retraining"  # the control that has the weights of the search


def shared_draws(place: int, seeds: int, draws: int) -> list[int]:
    """Numbers of the draws that one of several seeds trains: together they train all, and each trains one."""
    return [number % draws for number in range(place, max(draws, seeds), seeds)] if draws else []


DRAWS = 0x64726177  # the random stream of draws, which generated data with the same seed does not share


class MethodConfig(StrictModel):
    """Settings that every search method has."""

    method: str
    base: ModelName  # the model that the search trains and that is retrained with its result
    seed: Seed = 0
    # Control: random selections of the same size, all of which are trained, divided among the seeds
    random_draws: FewOrZero = 3

    @property
    def draw_seeds(self) -> list[tuple[int, int, int]]:
        """The seed of each random selection."""
        return [(self.seed, draw, DRAWS) for draw in range(self.random_draws)]

    @property
    def controls(self) -> tuple[str, ...]:
        """Names of the controls: selections that the found one is compared with. A method overrides this."""
        return ("random",)


class ConfirmedConfig(MethodConfig):
    """Settings of methods whose choice is confirmed by a test."""

    confirm: bool = True  # drop what is not significant by the residual test
    false_discovery: Rate = 0.05  # expected share of false ones among those kept, at most


class GateSearchConfig(ConfirmedConfig):
    """Settings of methods that search with gates."""

    # Permuted copies of candidates that are searched along with them. What ends below the strongest of those
    # with at most as many combinations of values is dropped (below their median, if the choice is confirmed
    # by a test). 0 in the papers
    permuted: FewOrZero = 30


class AutoFISConfig(GateSearchConfig):
    """AutoFIS: selects the interactions of each order (AutoFIS, section 3.2)."""

    method: Literal["autofis"] = "autofis"
    base: Literal["autofm", "autodeepfm"] = "autofm"
    order: Order = 2
    higher_order: Literal["sequential", "joint"] = "sequential"  # joint: lower orders are searched again
    # all: every interaction of an order; pool: the strongest ones of the order below, each extended by one
    # field (AIM, Algorithm 1), at most fields * pool of them
    candidates: Literal["all", "pool"] = "all"
    pool: Count | None = None  # interactions of the lower order to extend; None: half the fields
    bi_level: bool = False  # train gates on one half of the training rows, weights on the other (Table 8)
    batch_norm: bool = True  # of interactions, before their gates; false: an ablation (sections 4.6 and 4.7)
    # Epochs that train only the linear part; 0 in the paper. None: more, the fewer rows there are per value
    warm_up: CountOrZero | None = None
    gate_warm_up: CountOrZero = 3  # epochs with fixed gates, per order above 2; 0 in the paper
    epochs: Count = 5
    batch_size: BatchSize | None = None  # None: 2000 as in the paper, or less for 80 steps per epoch
    learning_rate: Positive = 1e-2
    embedding_l2: NotNegative | None = None  # 0 in the paper. None: 80 / training rows for pairs, else 0
    gate_learning_rate: Positive = 1.0
    learning_rate_decay: Positive = 1.0  # factor after each fifth of the search
    gate_decay: Positive = 0.6  # the same for the gates
    gate_init: Positive = 0.6
    c: Positive | None = None  # GRDA's c; None: scaled to the number of steps, see `threshold`
    mu: Positive = 0.8
    # Soft threshold at the end of the search, in units of gate_init. None: 1 with permuted copies, 3 without
    threshold: Positive | None = None

    @property
    def controls(self) -> tuple[str, ...]:
        """Names of the controls."""
        return ("random", "unpruned", "statistics-auc")


class AIMConfig(GateSearchConfig):
    """AIM: selects interactions, interaction functions and embedding sizes (AIM, section 3)."""

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
    # false: keep every pair, with the inner product; the ablation without IFS is `functions: [inner]`, which
    # searches the pairs
    search_functions: bool = True
    search_embeddings: bool = True  # false: every field keeps its full embedding (the ablation without EDS)
    pool: Count | None = None  # interactions of the lower order to extend; None: half the fields
    # Epochs that train only the linear part; 0 in the paper. None: more, the fewer rows there are per value
    warm_up: CountOrZero | None = None
    gate_warm_up: CountOrZero = 3  # epochs with fixed gates, per order above 2; 0 in the paper
    epochs: Count = 5
    batch_size: BatchSize | None = None  # None: 2000 as in the paper, or less for 80 steps per epoch
    learning_rate: Positive = 1e-2
    embedding_l2: NotNegative | None = None  # in the search of interactions, as for AutoFIS
    learning_rate_decay: Positive = 0.75
    gate_learning_rate: Positive = 1.0  # 0.1 in the paper, which trains for many more steps
    gate_decay: Positive = 0.75
    gate_init: Positive = 0.6
    c: Positive | None = None  # as for AutoFIS
    mu: Positive = 0.6
    threshold: Positive | None = None  # as for AutoFIS
    embedding_warm_up: CountOrZero = 1  # epochs with fixed gates in the embedding search; 0 in the paper
    embedding_epochs: Count = 5  # of the embedding search
    embedding_gate_learning_rate: Positive = 1.0
    # The same for the gates on embedding dimensions
    embedding_c: Positive | None = None
    embedding_mu: Positive = 0.55
    embedding_threshold: Positive = 2.0

    @model_validator(mode="after")
    def _searches(self) -> "AIMConfig":
        if not self.search_functions and self.order > 2:
            raise ValueError(
                "order: higher-order candidates extend the pairs found by the function search, which "
                "search_functions: false disables; use order: 2"
            )
        return self

    @property
    def controls(self) -> tuple[str, ...]:
        """Names of the controls."""
        return (
            *(("random", "unpruned") if self.search_functions else ()),
            *(("whole-embeddings",) if self.search_embeddings else ()),
        )


class OptInterConfig(ConfirmedConfig):
    """OptInter: selects memorize, factorize or ignore for each pair (OptInter, section II)."""

    method: Literal["optinter"] = "optinter"
    base: Literal["optinter"] = "optinter"
    # memorize, hadamard: this one for every pair, without a search (OptInter-M and OptInter-F)
    choice: Literal["searched", "memorize", "hadamard"] = "searched"
    warm_up: CountOrZero = 0  # epochs with fixed logits, before `epochs`; 0 in the paper
    epochs: Count = 10
    patience: Count = 1  # epochs without a better validation AUC before the search ends
    batch_size: BatchSize | None = None  # None: 2000 as in the paper, or less for 1000 steps per epoch
    learning_rate: Positive = 3e-3
    embedding_l2: NotNegative = 0.0
    cross_l2: NotNegative = 3e-8  # on the rows in the batch
    gate_learning_rate: Positive = 1e-2
    # Decrease of the temperature per training step: 5e-5 in the paper, which reaches the floor from 1 in one
    # epoch of its data. None: chosen to reach the floor in one epoch.
    temperature_decay: NotNegative | None = None
    temperature_floor: Positive = 0.01
    gumbel: bool = False  # Gumbel noise on the logits (Eq. 16); none in Eq. 17 and the published code
    bi_level: bool = False  # train logits on one half of the training rows, weights on the other
    keep_weights: bool = False  # for the control without-retraining: what was found, with them (Table IX)

    @property
    def controls(self) -> tuple[str, ...]:
        """Names of the controls."""
        kept = (WITHOUT_RETRAINING,) if self.keep_weights else ()
        return ("random", "all-memorize", "all-hadamard", *kept) if self.choice == "searched" else ()

    @model_validator(mode="after")
    def _keeps_what_it_trains(self) -> "OptInterConfig":
        if self.keep_weights and self.choice != "searched":
            raise ValueError(f"keep_weights: choice: {self.choice} trains no weights; leave it out")
        return self


class AutoPIConfig(MethodConfig):
    """AutoPI: selects a graph of interaction operators (AutoPI, section 4)."""

    method: Literal["autopi"] = "autopi"
    base: Literal["autopi"] = "autopi"
    # one_shot: the best of many graphs that share weights; random: AutoPI-R, the control
    strategy: Literal["differentiable", "one_shot", "random"] = "differentiable"
    nodes: Annotated[int, Field(ge=1, le=64)] = 4  # intermediate nodes of each cell
    epochs: Count = 50
    frozen: CountOrZero = 15  # first epochs with fixed gates; at most a third of all epochs
    batch_size: BatchSize = 4096
    optimizer: Literal["sgd", "adam"] = "sgd"  # of weights; adam converges in fewer epochs
    learning_rate: Positive = 0.1
    momentum: NotNegative = 0.9  # sgd
    weight_decay: NotNegative = 3e-4  # sgd
    embedding_l2: NotNegative = 0.0  # adam
    clip: Positive = 5.0
    gate_learning_rate: Positive | None = None  # None: 6e-4 as in PC-DARTS, larger if there are fewer steps
    gate_weight_decay: NotNegative = 1e-3
    operators: Annotated[  # to choose from (Table 5)
        tuple[Literal["skip", "senet", "attention", "fm", "slp", "conv"], ...], Field(min_length=1)
    ] = ("skip", "senet", "attention", "fm", "slp", "conv")
    anneal: bool = True  # the temperature of the mixtures (Table 6)
    noisy_skip: bool = False  # noise on what skips pass on, instead of annealing (Table 6)
    # Operators to keep: the strongest (section 4.4.1), or those whose removal hurts the supernet most
    choose_by: Literal["strength", "perturbation"] = "strength"
    # Rows on which the loss is measured; perturbation: of the gates' half, one_shot: of the validation rows
    choosing_rows: Count = 10_000
    candidates: Few = 600  # one_shot: graphs that are compared with shared weights
    finalists: Few = 5  # one_shot: the best candidates, trained briefly from scratch
    finalist_epochs: Count = 4
    samples: Few = 20  # random: graphs that are trained and compared on validation rows

    @model_validator(mode="after")
    def _operators_fit(self) -> "AutoPIConfig":
        if len(set(self.operators)) < len(self.operators):
            raise ValueError("operators: must be distinct")
        if self.noisy_skip and "skip" not in self.operators:
            raise ValueError("noisy_skip: adds noise to the operator skip; add skip to operators")
        if self.strategy != "differentiable" and (self.noisy_skip or not self.anneal):
            raise ValueError(
                f"noisy_skip and anneal: apply to strategy: differentiable only, not to {self.strategy}; "
                "leave them out"
            )
        return self

    @property
    def controls(self) -> tuple[str, ...]:
        """Names of the controls; none for random graphs, which are a control themselves."""
        return () if self.strategy == "random" else ("random",)


class ResidualConfig(MethodConfig):
    """The interactions that explain what main effects leave over, by a test of every candidate."""

    method: Literal["residual"] = "residual"
    base: Literal["autofm", "autodeepfm"] = "autofm"
    order: Literal[2, 3] = 2
    # significant: what is significant given the stronger ones; predictive: the strongest, as many as lower
    # the validation logloss of a model that memorizes them, significant or not
    keep: Literal["significant", "predictive"] = "significant"
    false_discovery: Rate = 0.05  # expected share of false ones among the significant, at most
    # Pairs to extend to triples, the most significant first; None: test all triples, if there are few
    pool: Count | None = None

    @property
    def controls(self) -> tuple[str, ...]:
        """Names of the controls."""
        return ("random", "unpruned", "statistics-auc")


class SelectionConfig(MethodConfig):
    """The top interactions by a statistic, or random ones; used as a method or as a control."""

    method: Literal["random", "statistics_auc", "mutual_information"]
    base: Literal["autofm", "autodeepfm"] = "autofm"
    keep: Annotated[dict[Annotated[int, Field(ge=2, le=4)], Count], Field(min_length=1)]  # per order
    corrected: bool = False  # subtract the score under shuffled labels, which grows with the field size

    @property
    def controls(self) -> tuple[str, ...]:
        """Names of the controls: all but the method itself."""
        own = self.method.replace("_", "-")
        return tuple(name for name in ("random", "unpruned", "statistics-auc") if name != own)
