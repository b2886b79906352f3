"""OptInter: memorize, factorize or drop each pair of fields (OptInter, section II).

Every pair has three logits. During the search, the input of a pair is the mixture of the choices under the
softmax of the logits with decreasing temperature; at the end the most probable choice is selected.

B batch, C columns of the id matrix, F fields, P pairs, D embedding size, N rows.
"""

import copy
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ctrloom import distributed
from ctrloom.architecture import Architecture, Function, Interaction
from ctrloom.config import OptInterConfig, OptInterSettings
from ctrloom.config.base import ConfigError
from ctrloom.data.batches.batch import Batch, BatchSource
from ctrloom.methods.confirmation import Confirmation
from ctrloom.methods.gates import halves
from ctrloom.methods.interface import SearchData, SearchResult
from ctrloom.methods.statistics.candidates import with_statistics
from ctrloom.models.optinter import OptInter, Supernet
from ctrloom.nn.cross_features import fill_crosses
from ctrloom.progress import Advance, progress
from ctrloom.schema import Schema
from ctrloom.search_trace import Candidate, SearchTrace, StageSeconds
from ctrloom.training.checkpoints import Loop, Stopwatch, Variables
from ctrloom.training.loop import SCORING_BATCH, adam, pick_device, seed_everything, validate_epoch
from ctrloom.training.passes import Passes, run_epoch, steps_in_pass
from ctrloom.training.step import Step, gradients, loss_of, matmul_precision

CHOICES: tuple[Function | None, ...] = ("memorize", "hadamard", None)  # columns of the logits
STEPS = 1000  # minimum number of steps per pass, so that choices separate in the first one
POINTS = 60  # recorded points of the path of a pass


def require(schema: Schema, config: OptInterConfig, settings: OptInterSettings) -> None:
    """Raise ConfigError if there are no cross features."""
    if not schema.crosses:
        raise ConfigError(
            "search.method: optinter selects pairs to memorize, but the data set has no cross features; "
            "set vocabulary.crosses and encode it again"
        )


def search(data: SearchData, config: OptInterConfig, settings: OptInterSettings) -> SearchResult:
    """Select the most probable choice of each pair with cross features; also returns the controls.

    Logits and weights are trained on the same batches (or, bi-level, on halves of the training rows); the
    epoch with the best validation AUC is used.

    Raises:
        ConfigError: the data set has no cross features.
        DivergedError: the search diverged.
    """
    require(data.schema, config, settings)
    if config.choice != "searched":
        return _given(data, config, config.choice)
    course = OptInterSearch(data, config, settings)
    trace = course.run()
    found = _architecture(course.names, data.schema, course.best_P3, "optinter")
    confirmation = Confirmation(data, config, course.train.device)
    every = [Interaction(fields=pair) for pair in course.names]
    kept = confirmation.with_products(confirmation.of(found.interactions, every), config.seed)
    found = found.model_copy(update={"interactions": kept})
    trace = with_statistics(_chosen(confirmation.noted(trace), found), data)
    return SearchResult(found, trace, _controls(found, course, config), course.trained(found))


def _given(data: SearchData, config: OptInterConfig, function: Function) -> SearchResult:
    """OptInter-M or OptInter-F: the same function for every pair, without a search."""
    pairs = [Interaction(fields=cross.fields, function=function) for cross in data.schema.crosses]
    trace = SearchTrace(
        method="optinter",
        base=config.base,
        orders=(2,),
        candidates=tuple(
            Candidate(fields=pair.fields, function=function, score=1.0, kept=True) for pair in pairs
        ),
        seconds=0.0,
        rows_per_second=0.0,
        hyperparameters=config.model_dump(mode="json"),
    )
    found = Architecture(method="optinter", fields=data.schema.names, interactions=tuple(pairs))
    return SearchResult(found, with_statistics(trace, data))


def _chosen(trace: SearchTrace, found: Architecture) -> SearchTrace:
    """The trace with the candidates of the architecture as the kept ones."""
    kept = {(interaction.fields, interaction.function) for interaction in found.interactions}
    candidates = tuple(
        candidate.model_copy(update={"kept": (candidate.fields, candidate.function) in kept})
        for candidate in trace.candidates
    )
    return trace.model_copy(update={"candidates": candidates})


class OptInterSearch:
    """State of one search."""

    def __init__(self, data: SearchData, config: OptInterConfig, settings: OptInterSettings) -> None:
        self.config, self.settings, self.schema, self.crosses = config, settings, data.schema, data.crosses
        device = pick_device(settings.device)
        self.names = [cross.fields for cross in data.schema.crosses]
        self.generator = seed_everything(config.seed)
        own = settings.model_copy(update={"cross_l2": config.cross_l2})
        self.model = Supernet(data.schema, self.names, own, config.gumbel)
        fill_crosses(self.model, data.crosses)
        distributed.prepare_process(self.model.to(device))
        self.train, self.valid = data.train.to(device), data.valid.to(device)
        self.gate_rows: BatchSource | None = None
        if config.bi_level:
            # Table rows of values that are missing in the weights' half would stay untrained.
            self.train, self.gate_rows = halves(self.train, self.generator)
            self.model.memorized.recount(batch.ids_NC for batch in self.train.batches(SCORING_BATCH))
        logits = [self.model.logit_P3]
        tables, epsilon = settings.embedding_optimizer, settings.epsilon
        self.adam = adam(
            self.model, config.learning_rate, config.embedding_l2, logits, tables, epsilon=epsilon
        )
        fused = device.type == "cuda" or None  # keeps learning rates and counters on the device
        self.gate_adam = torch.optim.Adam(logits, lr=config.gate_learning_rate, eps=epsilon, fused=fused)
        self.batch_size = config.batch_size or min(2000, max(64, self.train.total // STEPS))
        self.pass_steps = steps_in_pass(self.train.total, self.batch_size)
        decay = config.temperature_decay
        self.decay = (1 - config.temperature_floor) / self.pass_steps if decay is None else decay
        self.row_passes = Passes(self.train, self.batch_size, self.generator)
        self.gate_passes: Passes | None = None
        if self.gate_rows is not None:
            self.gate_passes = Passes(self.gate_rows, self.batch_size, self.generator)
        best_P3 = torch.empty(0, 3, dtype=torch.float64)
        self.at = Variables(passes=0, steps=0, waited=0, best_score=-math.inf, best_P3=best_P3, path=[])
        self.at.best_weights = {}
        self.warming = Step(self.model, self.adam.step, [self.adam])
        self.searching = Step(
            self.model,
            self._update,
            [self.adam, self.gate_adam],
            before=self._before,
            after=self._after,
            extra_batches=None if self.gate_passes is None else self.gate_passes.endless(),
        )

    def run(self) -> SearchTrace:
        """Search with early stopping on the validation AUC."""
        stopwatch, config, at = Stopwatch(), self.config, self.at
        saved: dict[str, Any] = {"model": self.model, "adam": self.adam, "gate_adam": self.gate_adam}
        saved |= {"generator": self.generator, "rows": self.row_passes, "at": at}
        if self.gate_passes:
            saved["gate_rows"] = self.gate_passes
        loop, passes = Loop("search", **saved), config.warm_up + config.epochs
        self._set_temperature()
        rows_done = at.passes * self.train.total + self.row_passes.rows_done
        with loop.running(), progress("search", passes * self.train.total, done=rows_done) as advance:
            while at.passes < passes and at.waited < config.patience:
                if at.passes < config.warm_up:
                    self.one_pass(self.warming, loop, advance)
                else:
                    at.waited = 0 if self._epoch(loop, advance) else at.waited + 1
                at.passes += 1
            loop.finish("at")
        seconds, epochs = stopwatch.seconds, at.passes - config.warm_up
        rows = self.train.total + (0 if self.gate_rows is None else self.gate_rows.total)
        path = at.path[:: -len(at.path) // POINTS][::-1]  # thinned, including the last point
        return SearchTrace(
            method="optinter",
            base=config.base,
            orders=(2,),
            candidates=self._candidates(),
            path_steps=tuple(step for step, _ in path),
            path_scores=tuple(tuple(p_P3.flatten().tolist()) for _, p_P3 in path),
            path_threshold=(0.0,) * len(path),
            steps=at.steps,
            epochs=config.warm_up + epochs,
            seconds=seconds,
            rows_per_second=(config.warm_up * self.train.total + epochs * rows) / seconds,
            stages=(StageSeconds(name="search", seconds=seconds),),
            hyperparameters=config.model_dump(mode="json"),
        )

    def _epoch(self, loop: Loop, advance: Advance) -> bool:
        """One pass; returns whether the validation AUC improved."""
        loss, at = self.one_pass(self.searching, loop, advance), self.at
        epoch = validate_epoch(self.model, self.valid, at.steps // self.pass_steps, loss)
        advance(0, f"valid AUC {epoch.valid_auc:.5f}")
        at.path.append((at.steps, self._probabilities()))
        if better := epoch.valid_auc > at.best_score:
            at.best_score, at.best_P3 = epoch.valid_auc, self._probabilities().cpu()
            if self.config.keep_weights:
                at.best_weights = copy.deepcopy(self.model.state_dict())
        return better

    def one_pass(self, step: Step, loop: Loop, advance: Advance) -> float:
        """Run one pass; returns the mean loss."""
        with matmul_precision(self.settings.precision, self.train.device):
            return run_epoch(step, self.row_passes, loop, advance)

    def _before(self) -> None:
        if self.at.steps % max(1, self.pass_steps // POINTS) == 0:
            self.at.path.append((self.at.steps, self._probabilities()))

    def _update(self, gate_batch: Batch | None = None) -> None:
        self.adam.step()
        if gate_batch is not None:  # DARTS, first order
            (self.model.logit_P3.grad,) = gradients(loss_of(self.model, gate_batch), [self.model.logit_P3])
        self.gate_adam.step()

    def _after(self) -> None:
        self.at.steps += 1
        self._set_temperature()

    def _set_temperature(self) -> None:
        self.model.temperature.fill_(max(self.config.temperature_floor, 1 - self.decay * self.at.steps))

    def trained(self, found: Architecture) -> OptInter | None:
        """The found model with the weights of the best epoch, if they were kept."""
        if not self.at.best_weights:
            return None
        self.model.load_state_dict(self.at.best_weights)
        return self.model.cpu().chosen(found, self.schema, self.settings, self.crosses)

    @property
    def best_P3(self) -> np.ndarray:  # noqa: N802
        """The probabilities of the best epoch."""
        best_P3: np.ndarray = self.at.best_P3.numpy()
        return best_P3

    @torch.no_grad()
    def _probabilities(self) -> Tensor:
        # At temperature 1: at the floor, every choice would have a probability of 1
        p_P3: Tensor = self.model.logit_P3.softmax(1).double()
        return p_P3

    def _candidates(self) -> tuple[Candidate, ...]:
        """Three per pair; a dropped pair has no kept candidate."""
        return tuple(
            Candidate(fields=pair, function=f or "none", score=p, kept=f is not None and p == max(p_3))
            for pair, p_3 in zip(self.names, self.best_P3.tolist(), strict=True)
            for f, p in zip(CHOICES, p_3, strict=True)
        )


def _architecture(
    pairs: Sequence[tuple[str, str]], schema: Schema, p_P3: np.ndarray, method: str
) -> Architecture:
    """The most probable choice of each pair."""
    chosen = [
        (pair, CHOICES[int(p_3.argmax())], float(p_3.max())) for pair, p_3 in zip(pairs, p_P3, strict=True)
    ]
    interactions = tuple(Interaction(fields=pair, function=f, score=p) for pair, f, p in chosen if f)
    return Architecture(method=method, fields=schema.names, interactions=interactions)


def _controls(
    found: Architecture, course: OptInterSearch, config: OptInterConfig
) -> dict[str, Sequence[Architecture]]:
    """OptInter-M, OptInter-F, and the argmax of uniform draws (OptInter, section III; its code)."""
    shape, schema = course.best_P3.shape, course.schema
    draws = [np.random.default_rng(seed).random(shape) for seed in config.draw_seeds]
    every: dict[str, Sequence[Architecture]] = {
        f"all-{function}": [
            found.model_copy(
                update={"interactions": tuple(Interaction(fields=n, function=function) for n in course.names)}
            )
        ]
        for function in CHOICES
        if function
    }
    random = [_architecture(course.names, schema, p_P3, "random") for p_P3 in draws]
    return {**every, **({"random": random} if random else {})}
