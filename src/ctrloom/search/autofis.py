"""AutoFIS: gates on all candidate interactions, driven to zero by GRDA while the model trains.

One-level: one batch, one backward pass, Adam for the weights and GRDA for the gates (AutoFIS, section 3.2).
Orders are searched one after the other. While triples are searched the pairs found before stay, with
trainable gates; searched at once, a triple would absorb a pair that it contains.
"""

import math
import time
from itertools import combinations

import torch
from torch import Tensor, nn

from ctrloom.architecture import Architecture, Interaction
from ctrloom.config import AutoFISConfig, Hyperparameters
from ctrloom.data.rows import Rows
from ctrloom.models import build
from ctrloom.optim.grda import GRDA, threshold_scale
from ctrloom.progress import progress
from ctrloom.schema import Schema
from ctrloom.search.controls import gate_controls
from ctrloom.search.statistics import with_statistics
from ctrloom.search.task import Found, Task
from ctrloom.search.trace import Candidate, SearchTrace
from ctrloom.training.loop import adam, pick_device, run_epoch, seed_everything, steps_in_pass

PARTS = 5  # parts of the search after which the learning rates decay
STEPS = 80  # in a pass at least, for gates to part
POINTS = 60  # recorded on the gates' paths


def search(task: Task, config: AutoFISConfig, hyper: Hyperparameters) -> Found:
    """Interactions whose gate is not zero at the end, how the gates went there, and the controls.

    Gates and weights learn from the training rows alone. The trace has every candidate of every order that
    was searched.
    """
    train, schema = task.train, task.schema
    if len(schema.fields) < config.order:
        raise ValueError(f"search.order: {config.order} fields are needed, the data has {len(schema.fields)}")
    stages: list[_Stage] = []
    kept = Architecture(method="autofis", fields=schema.names, interactions=())
    for order in range(2, config.order + 1):
        stages.append(stage := _Stage(kept, order, train, schema, config, hyper))
        kept = stage.run()
    trace = with_statistics(_trace(stages, len(train), config), task)
    return Found(kept, trace, gate_controls(kept, trace, config.random_draws, config.seed))


class _Stage:
    """The search of one order, the lower orders being given."""

    def __init__(
        self,
        lower: Architecture,
        order: int,
        train: Rows,
        schema: Schema,
        config: AutoFISConfig,
        hyper: Hyperparameters,
    ) -> None:
        self.lower, self.order, self.config = lower, order, config
        candidates = tuple(Interaction(fields=names) for names in combinations(schema.names, order))
        whole = lower.model_copy(update={"interactions": (*lower.interactions, *candidates)})
        self.generator = seed_everything(config.seed + order)
        self.model = build(config.base, whole, schema, hyper).to(pick_device(hyper.device))
        self.train = train.to(pick_device(hyper.device))
        self.searched = whole.orders if config.higher_order == "joint" else (order,)
        self.fields = [names for o in self.searched for names in whole.of_order(o)]
        self.batch_size = config.batch_size or min(2000, max(64, len(train) // STEPS))
        self.steps = config.epochs * steps_in_pass(len(train), self.batch_size)
        self.path: list[tuple[int, list[float], float]] = []
        self.seconds, self.passes = 0.0, 0

        gates = self.model.get_submodule("gates")
        self.gates = [gates.get_parameter(f"{o}.gate_P") for o in self.searched]
        for gate_P in self.gates:
            nn.init.uniform_(gate_P, config.gate_init - 1e-3, config.gate_init + 1e-3)
        self.adam = adam(self.model, config.learning_rate, config.embedding_l2, without=self.gates)
        rates = [config.gate_learning_rate * config.gate_decay ** self._part(t) for t in range(self.steps)]
        c = config.c or threshold_scale(config.threshold * config.gate_init, rates, config.mu)
        self.grda = GRDA(self.gates, config.gate_learning_rate, c, config.mu)

    def run(self) -> Architecture:
        """Search, and return the lower orders with what was kept of this one."""
        began = time.perf_counter()
        config, main_effects = self.config, _MainEffects(self.model)
        passes = (
            (config.warm_up, main_effects, adam(main_effects, config.learning_rate).step),
            (config.gate_warm_up * (self.order - 2), self.model, self.adam.step),
            (config.epochs, self.model, self._step),
        )
        self.passes = sum(count for count, _, _ in passes)
        with progress(f"search, order {self.order}", self.passes * len(self.train)) as advance:
            for count, model, step in passes:
                for _ in range(count):
                    run_epoch(model, self.train, self.batch_size, self.generator, step, advance)
        self.seconds = time.perf_counter() - began
        if not all(math.isfinite(gate) for gate in self.final_gates):
            raise ValueError("the search diverged: a gate is not a finite number; lower search.learning_rate")
        self._record()
        scored = zip(self.fields, self.final_gates, strict=True)
        found = tuple(Interaction(fields=names, score=gate) for names, gate in scored if gate != 0)
        fixed = tuple(i for i in self.lower.interactions if i.order not in self.searched)
        return self.lower.model_copy(update={"interactions": (*fixed, *found)})

    def _step(self) -> None:
        step, config = self.grda.steps, self.config
        for group in self.adam.param_groups:
            group["lr"] = config.learning_rate * config.learning_rate_decay ** self._part(step)
        for group in self.grda.param_groups:
            group["lr"] = config.gate_learning_rate * config.gate_decay ** self._part(step)
        if step * POINTS // self.steps != (step - 1) * POINTS // self.steps:
            self._record()
        self.adam.step()
        self.grda.step()

    def _part(self, step: int) -> int:
        return min(step * PARTS // self.steps, PARTS - 1)

    def _record(self) -> None:
        self.path.append((self.grda.steps, self.final_gates, self.grda.threshold))

    @property
    def final_gates(self) -> list[float]:
        """Gates as they are now, in the order of `fields`."""
        return _flat(self.gates)

    @property
    def accumulators(self) -> list[float]:
        """GRDA's values before the soft threshold, in the order of `fields`."""
        return _flat([self.grda.state[gate_P]["accumulator"] for gate_P in self.gates])


class _MainEffects(nn.Module):
    """The linear part of a model alone.

    An embedding that is nearly constant over its field lets a pair carry a main effect. Until the linear
    part has learned those, the gates of such pairs grow although there is no interaction.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.linear = model.get_submodule("linear")
        self.bias = model.get_parameter("bias")

    def forward(self, ids_BC: Tensor, factors_BC: Tensor | None = None) -> Tensor:
        logit_B: Tensor = self.bias + self.linear(ids_BC, factors_BC)
        return logit_B


def _flat(parts: list[nn.Parameter] | list[Tensor]) -> list[float]:
    joined: list[float] = torch.cat([part.detach() for part in parts]).cpu().tolist()
    return joined


def _trace(stages: list[_Stage], rows: int, config: AutoFISConfig) -> SearchTrace:
    """One trace over all stages; an order that was searched twice shows its last gates."""
    last = {names: (stage, i) for stage in stages for i, names in enumerate(stage.fields)}
    candidates, position = [], {names: i for i, names in enumerate(last)}
    for names, (stage, i) in last.items():
        gate = stage.final_gates[i]
        candidates.append(
            Candidate(fields=names, gate=gate, kept=gate != 0, accumulator=stage.accumulators[i])
        )
    steps, gates, thresholds, before = [], [], [], 0
    for stage in stages:
        for step, values, threshold in stage.path:
            row: list[float | None] = [None] * len(position)
            for names, value in zip(stage.fields, values, strict=True):
                row[position[names]] = value
            steps.append(before + step)
            gates.append(tuple(row))
            thresholds.append(threshold)
        before += stage.steps
    seconds = sum(stage.seconds for stage in stages)
    passes = sum(stage.passes for stage in stages)
    return SearchTrace(
        method="autofis",
        base=config.base,
        orders=tuple(range(2, config.order + 1)),
        candidates=tuple(candidates),
        path_steps=tuple(steps),
        path_gates=tuple(gates),
        path_threshold=tuple(thresholds),
        steps=before,
        epochs=passes,
        seconds=seconds,
        rows_per_second=rows * passes / seconds,
        hyperparameters=config.model_dump(mode="json"),
    )
