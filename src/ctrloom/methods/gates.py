"""Gate search: GRDA drives gates to zero while the weights are trained.

One-level: Adam for the weights and GRDA for the gates share one batch and one backward pass (AutoFIS,
section 3.2). Bi-level: weights and gates are updated alternately, on disjoint rows (AutoFIS, Table 8, after
DARTS, Liu, Simonyan and Yang, ICLR 2019; the first-order variant).

B batch, C columns of the id matrix, P gates of one vector, N rows.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from statistics import median
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn

from ctrloom import distributed
from ctrloom.architecture import Function, Interaction
from ctrloom.config import EmbeddingOptimizer, Hyperparameters, Precision
from ctrloom.config.search import GateSearchConfig
from ctrloom.data.batches.batch import Batch, BatchSource
from ctrloom.methods.interface import SearchData
from ctrloom.methods.permuted import above_noise
from ctrloom.optim.grda import GRDA, threshold_scale
from ctrloom.optim.rates import set_rate
from ctrloom.optim.row_wise import RowWise
from ctrloom.progress import progress
from ctrloom.training.checkpoints import Loop, Stopwatch, Variables
from ctrloom.training.loop import DivergedError, adam
from ctrloom.training.passes import Passes, run_epoch, steps_in_pass
from ctrloom.training.step import Step, gradients, loss_of, matmul_precision

PARTS = 5  # the learning rates decay after each part of a search
STEPS = 80  # minimum number of steps per pass, so that gates can separate
POINTS = 60  # recorded points of the gates' paths
PRIOR_ROWS = 80.0  # L2 on embeddings weighs as much as this many rows
LONGEST_WARM_UP = 3
STRICT, PERMISSIVE = 3.0, 1.0  # soft threshold without and with permuted copies
RECORDED = 2_000_000  # maximum number of recorded gates; many candidates reduce the number of points


class GateVector(NamedTuple):
    """One gate vector, and the interactions of one function that it gates."""

    gate_P: nn.Parameter
    interactions: tuple[tuple[str, ...], ...] = ()  # empty if the gates are not on interactions
    function: Function = "inner"


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Lengths and learning rates of one gate search."""

    epochs: int
    batch_size: int | None = None  # None: see `batch_size`
    learning_rate: float
    learning_rate_decay: float  # factor after each fifth of the steps
    gate_learning_rate: float
    gate_decay: float  # as above, for the gates
    gate_init: float
    mu: float
    threshold: float  # soft threshold at the end, in units of gate_init
    embedding_l2: float = 0.0
    warm_up: int = 0  # passes that train only the linear part
    gate_warm_up: int = 0  # passes with fixed gates
    c: float | None = None  # GRDA's c, overrides `threshold`
    noise: Callable[[list[float]], float] = max  # of the gates of permuted copies: what a gate must exceed
    embedding_optimizer: EmbeddingOptimizer = "adam"
    precision: Precision = "float32"
    epsilon: float = 1e-8  # of Adam

    @classmethod
    def of(
        cls, config: GateSearchConfig, settings: Hyperparameters, data: SearchData, order: int, **own: Any
    ) -> Self:
        """Build from the fields of the same name of a search configuration, with overrides.

        What is not configured follows from the data. L2 is for pairs only: it makes products of three small
        factors vanish.
        """
        names = {field.name for field in fields(cls)}
        given = {name: value for name, value in config if name in names and value is not None}
        given["gate_warm_up"] = given["gate_warm_up"] * (order - 2)
        shared = {key: getattr(settings, key) for key in ("embedding_optimizer", "precision", "epsilon")}
        rows = data.train.total
        values = max(field.size for field in data.schema.fields)
        rate = float(given["learning_rate"])
        derived = {
            # Adam moves the weight of a value by about the learning rate per batch that has it
            "warm_up": min(LONGEST_WARM_UP, max(1, math.ceil(values / rows / rate))),
            "embedding_l2": PRIOR_ROWS / rows if order == 2 else 0.0,
            "threshold": PERMISSIVE if config.permuted else STRICT,
            # Where a test decides afterwards, gates need only be above typical noise
            "noise": median if config.confirm else max,
        }
        return cls(**shared | derived | given | own)


class GateSearch:
    """Trains the gates of `groups` with GRDA, all other parameters with Adam.

    Initialises the gates when it is made.

    Args:
        model: on its device; warm-up requires its submodule `linear` and its parameter `bias`.
        groups: the gate vectors under search; other gates of the model are trained as weights.
        rows: training rows of the weights.
        schedule: lengths and learning rates.
        generator: shuffles the rows.
        gate_rows: training rows of the gates in bi-level search; None trains both on the same batches.
        sizes: number of values of each field, to compare candidates with permuted copies.
    """

    def __init__(
        self,
        model: nn.Module,
        groups: Sequence[GateVector],
        rows: BatchSource,
        schedule: Schedule,
        generator: torch.Generator,
        gate_rows: BatchSource | None = None,
        sizes: Mapping[str, int] | None = None,
    ) -> None:
        self.sizes = sizes or {}
        self.model, self.groups, self.schedule, self.generator = model, groups, schedule, generator
        self.gates = [group.gate_P for group in groups]
        device = self.gates[0].device
        self.rows = rows.to(device)
        self.batch_size = schedule.batch_size or batch_size(rows.total)
        self.row_passes = Passes(self.rows, self.batch_size, generator)
        self.gate_passes: Passes | None = None
        if gate_rows is not None:
            self.gate_passes = Passes(gate_rows.to(device), self.batch_size, generator)
        self.steps = schedule.epochs * steps_in_pass(rows.total, self.batch_size)
        self.passes = schedule.warm_up + schedule.gate_warm_up + schedule.epochs
        gate_total = 0 if gate_rows is None else gate_rows.total
        self.rows_seen = self.passes * rows.total + schedule.epochs * gate_total
        self.seconds = 0.0
        self.trajectory: list[tuple[int, list[float], float]] = []  # step, gates, soft threshold
        self.at = Variables(passes=0, trajectory=[])  # finished passes; the trajectory on the device
        self.part = -1  # part of the search whose learning rates are set
        self.points = max(1, min(POINTS, RECORDED // sum(gate_P.numel() for gate_P in self.gates)))

        for gate_P in self.gates:
            nn.init.uniform_(gate_P, schedule.gate_init - 1e-3, schedule.gate_init + 1e-3)
        self.adam = self._adam(model, schedule.embedding_l2, self.gates)
        rates = [
            schedule.gate_learning_rate * schedule.gate_decay ** self._part(t) for t in range(self.steps)
        ]
        c = schedule.c or threshold_scale(schedule.threshold * schedule.gate_init, rates, schedule.mu)
        self.grda = GRDA(self.gates, schedule.gate_learning_rate, c, schedule.mu)
        both = [self.adam, self.grda]
        gate_batches = None if self.gate_passes is None else self.gate_passes.endless()
        self.step = Step(model, self._update, both, before=self._before, extra_batches=gate_batches)

    def run(self, title: str) -> None:
        """Warm up and search.

        Raises:
            DivergedError: a final gate is not finite.
        """
        stopwatch, schedule = Stopwatch(), self.schedule
        distributed.prepare_process(self.model)
        saved: dict[str, Any] = {"model": self.model, "adam": self.adam, "grda": self.grda}
        saved |= {"generator": self.generator, "rows": self.row_passes, "at": self.at}
        if self.gate_passes:
            saved["gate_rows"] = self.gate_passes
        phases: list[Step] = []
        if schedule.warm_up:
            linear_part = _LinearPart(self.model)
            linear_adam = self._adam(linear_part)
            phases += [Step(linear_part, linear_adam.step, [linear_adam])] * schedule.warm_up
            saved["linear_adam"] = linear_adam
        phases += [Step(self.model, self.adam.step, [self.adam])] * schedule.gate_warm_up
        phases += [self.step] * schedule.epochs
        loop = Loop(title, **saved)
        precision = matmul_precision(schedule.precision, self.rows.device)
        rows_done = self.at.passes * self.rows.total + self.row_passes.rows_done
        shown = progress(title, self.passes * self.rows.total, done=rows_done)
        with loop.running(), shown as advance, precision:
            for step in phases[self.at.passes :]:
                run_epoch(step, self.row_passes, loop, advance)
                self.at.passes += 1
            loop.finish("model", "grda", "at")
        self.seconds = stopwatch.seconds
        distributed.broadcast_weights(self.model)  # all processes must keep the same
        if not all(math.isfinite(gate) for gate in self.final_gates):
            raise DivergedError("the search diverged: a gate is not finite; lower search.learning_rate")
        self._record()
        self.trajectory = [(step, gates.tolist(), threshold) for step, gates, threshold in self.at.trajectory]

    @property
    def scored_interactions(self) -> list[Interaction]:
        """The interactions of all groups in order, scored with their current gates."""
        every = [(names, group.function) for group in self.groups for names in group.interactions]
        return [
            Interaction(fields=names, function=function, score=gate)
            for (names, function), gate in zip(every, self.final_gates, strict=True)
        ]

    @property
    def kept(self) -> tuple[Interaction, ...]:
        """The candidates with a nonzero gate that is above the noise of comparable permuted copies."""
        return above_noise(self.scored_interactions, self.sizes, self.schedule.noise)

    @property
    def final_gates(self) -> list[float]:
        """Current gates of all groups, in order."""
        return _flat(self.gates)

    @property
    def accumulators(self) -> list[float]:
        """GRDA's values before the soft threshold, for all groups in order."""
        return _flat([self.grda.state[gate_P]["accumulator"] for gate_P in self.gates])

    def _adam(self, model: nn.Module, embedding_l2: float = 0.0, without: Sequence[Tensor] = ()) -> RowWise:
        rate, tables = self.schedule.learning_rate, self.schedule.embedding_optimizer
        return adam(model, rate, embedding_l2, without, tables, epsilon=self.schedule.epsilon)

    def _before(self) -> None:
        step, schedule = self.grda.steps, self.schedule
        if (part := self._part(step)) != self.part:
            self.part = part
            set_rate(self.adam, schedule.learning_rate * schedule.learning_rate_decay**part)
            set_rate(self.grda, schedule.gate_learning_rate * schedule.gate_decay**part)
        if step * self.points // self.steps != (step - 1) * self.points // self.steps:
            self._record()
        self.grda.advance()

    def _update(self, gate_batch: Batch | None = None) -> None:
        self.adam.step()
        if gate_batch is not None:
            loss = loss_of(self.model, gate_batch)
            for gate_P, grad_P in zip(self.gates, gradients(loss, self.gates), strict=True):
                gate_P.grad = grad_P
        self.grda.move()

    def _part(self, step: int) -> int:
        return min(step * PARTS // self.steps, PARTS - 1)

    def _record(self) -> None:
        """Record the gates without a host sync."""
        self.at.trajectory.append((self.grda.steps, _joined(self.gates), self.grda.threshold))


class _LinearPart(nn.Module):
    """Only the linear part of a model.

    If an embedding is nearly constant over its field, a pair can model a main effect. Until the linear part
    has learned those, the gates of such pairs grow although there is no interaction.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.linear = model.get_submodule("linear")
        self.bias = model.get_parameter("bias")

    def forward(self, ids_BC: Tensor, factors_BC: Tensor | None = None) -> Tensor:
        logit_B: Tensor = self.bias + self.linear(ids_BC, factors_BC)
        return logit_B


def batch_size(rows: int) -> int:
    """2000 as in AutoFIS; smaller for few rows, so that a pass has enough steps."""
    return min(2000, max(64, rows // STEPS))


def halves(rows: BatchSource, generator: torch.Generator) -> tuple[BatchSource, BatchSource]:
    """Split the rows at random into halves: for the weights and for the gates."""
    order_N = torch.randperm(rows.total, generator=generator)
    return rows.take(order_N[: rows.total // 2]), rows.take(order_N[rows.total // 2 :])


def _joined(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat([part.detach().flatten() for part in parts])


def _flat(parts: Sequence[Tensor]) -> list[float]:
    values: list[float] = _joined(parts).tolist()
    return values
