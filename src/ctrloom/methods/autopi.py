"""AutoPI: search of a graph of interaction operators: differentiable, one-shot or random.

Differentiable (AutoPI, section 4.3): every edge of both cells is a mixture of all operators. Weights are
trained on one half of the training rows, and the strengths of operators and edges on the other half, in
alternating first-order steps; the strongest operators form the graph. Random search is the paper's AutoPI-R;
for the one-shot search see `one_shot`.
"""

import math
import time
from typing import Any

import torch
from torch import nn

from ctrloom import distributed
from ctrloom.architecture import CellGraph
from ctrloom.config import AutoPIConfig, AutoPISettings
from ctrloom.data.batches.batch import Batch
from ctrloom.methods import one_shot
from ctrloom.methods.cell_graphs import places, random_graph, strongest
from ctrloom.methods.interface import SearchData, SearchResult
from ctrloom.methods.perturbation import most_missed
from ctrloom.methods.random_search import architecture, best_of, mean_loss, random_controls, trace_of, trials
from ctrloom.models.autopi import ENSEMBLE_INPUTS, INTERACTION_INPUTS, TwoCells, shape_of
from ctrloom.nn.cells import MixedCell
from ctrloom.nn.operators import Skip
from ctrloom.progress import progress
from ctrloom.search_trace import CellName, OperatorStrength, SearchTrace
from ctrloom.training.checkpoints import Loop, Stopwatch, Variables
from ctrloom.training.loop import adam, batch_size_of, fit, pick_device, seed_everything, validate_epoch
from ctrloom.training.passes import Passes, run_epoch, steps_in_pass
from ctrloom.training.step import Step, gradients, loss_of, matmul_precision

BETAS = (0.5, 0.999)  # PC-DARTS' Adam for the strengths
PC_DARTS_RATE, PC_DARTS_STEPS = 6e-4, 3430  # its learning rate and number of steps: 35 epochs of 98
NOISE = 0.03  # noise of a noisy skip, in standard deviations (AutoPI, section 5.1)


def search(data: SearchData, config: AutoPIConfig, settings: AutoPISettings) -> SearchResult:
    """Search a graph with the configured strategy; random graphs are the controls.

    Validation rows select the epoch whose strengths are used, or the graph.
    """
    if config.strategy == "random":
        return _best_of_random(data, config, settings)
    if config.strategy == "one_shot":
        return one_shot.search(data, config, settings)
    bilevel = _BiLevel(data, config, settings)
    bilevel.run()
    graph = bilevel.choose()
    found = architecture(data, "autopi", graph)
    return SearchResult(found, bilevel.trace(graph), random_controls(data, config))


class _BiLevel:
    """Both cells with all operators, and the alternating optimizers of weights and strengths."""

    def __init__(self, data: SearchData, config: AutoPIConfig, settings: AutoPISettings) -> None:
        self.config, self.settings, self.device = config, settings, pick_device(settings.device)
        self.generator = seed_everything(config.seed)
        shape = shape_of(data.schema, settings)
        interaction = MixedCell(
            INTERACTION_INPUTS, config.nodes, shape, config.operators, settings.normalized
        )
        ensemble = MixedCell(ENSEMBLE_INPUTS, config.nodes, shape, config.operators, settings.normalized)
        self.model = TwoCells(interaction, ensemble, data.schema, settings).to(self.device)
        self.cells: dict[CellName, MixedCell] = {"interaction": interaction, "ensemble": ensemble}
        for module in self.model.modules():
            if isinstance(module, Skip) and config.noisy_skip:
                module.noise = NOISE

        distributed.prepare_process(self.model)
        order_N = torch.randperm(data.train.total, generator=self.generator)
        halves = [data.train.take(order_N[half::2]).to(self.device) for half in (0, 1)]
        (self.train, self.other), self.valid = halves, data.valid.to(self.device)
        self.epoch_steps = steps_in_pass(self.train.total, config.batch_size)
        self.frozen = min(config.frozen, config.epochs // 3)

        self.gates = [gate for cell in self.cells.values() for gate in (cell.alpha_EO, cell.beta_E)]
        ids = {id(gate) for gate in self.gates}
        self.weights = [p for p in self.model.parameters() if id(p) not in ids]
        fused = self.device.type == "cuda" or None  # keeps learning rates and counters on the device
        self.optimizer: torch.optim.Optimizer = (
            adam(
                self.model,
                config.learning_rate,
                config.embedding_l2,
                self.gates,
                settings.embedding_optimizer,
                epsilon=settings.epsilon,
            )
            if config.optimizer == "adam"
            else torch.optim.SGD(
                self.weights,
                config.learning_rate,
                config.momentum,
                weight_decay=config.weight_decay,
                fused=fused,
            )
        )
        self.cosine = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, config.epochs)
        gate_steps = self.epoch_steps * (config.epochs - self.frozen)
        rate = config.gate_learning_rate or PC_DARTS_RATE * max(1.0, PC_DARTS_STEPS / gate_steps)
        decay = config.gate_weight_decay
        self.adam = torch.optim.Adam(self.gates, rate, BETAS, weight_decay=decay, fused=fused)
        self.row_passes = Passes(self.train, config.batch_size, self.generator)
        size = -(-self.other.total // self.epoch_steps)
        bounds = [*range(0, self.other.total, size), self.other.total]
        self.gate_passes = Passes(self.other, bounds, self.generator)
        self.batches = self.gate_passes.endless()
        self.at = Variables(epochs=0, best_score=-math.inf, best=self._strengths())
        self.seconds = 0.0

    def run(self) -> None:
        """Search; keeps the strengths of the epoch with the best validation score."""
        stopwatch, config, at = Stopwatch(), self.config, self.at
        saved: dict[str, Any] = {"model": self.model, "optimizer": self.optimizer, "cosine": self.cosine}
        saved |= {"adam": self.adam, "generator": self.generator, "at": at}
        loop = Loop("search", **saved, rows=self.row_passes, gate_rows=self.gate_passes)
        rows_done = at.epochs * self.train.total + self.row_passes.rows_done
        shown = progress("search", config.epochs * self.train.total, done=rows_done)
        with loop.running(), shown as advance:
            for epoch in range(at.epochs + 1, config.epochs + 1):
                for cell in self.cells.values():
                    cell.temperature = temperature(epoch, config.epochs) if config.anneal else 1.0
                if epoch <= self.frozen:
                    step = Step(self.model, self._weights, [self.optimizer])
                else:
                    both = [self.optimizer, self.adam]
                    step = Step(self.model, self._weights_and_gates, both, extra_batches=self.batches)
                with matmul_precision(self.settings.precision, self.device):
                    loss = run_epoch(step, self.row_passes, loop, advance)
                self.cosine.step()
                reached = validate_epoch(self.model, self.valid, epoch, loss)
                advance(0, f"epoch {epoch}, valid AUC {reached.valid_auc:.5f}")
                score = reached.score(self.settings.monitor)
                if epoch > self.frozen and score > at.best_score:
                    at.best_score, at.best = score, self._strengths()
                at.epochs = epoch
            loop.finish("model", "at")
        self.seconds = stopwatch.seconds

    def _strengths(self) -> dict[CellName, list[list[float]]]:
        return {name: cell.strengths().tolist() for name, cell in self.cells.items()}

    def _weights(self) -> None:
        # Row-wise optimizers have sparse gradients, which clip_grad_norm_ does not support.
        dense = [weight for weight in self.weights if weight.grad is None or not weight.grad.is_sparse]
        nn.utils.clip_grad_norm_(dense, self.config.clip)
        self.optimizer.step()

    def _weights_and_gates(self, gate_batch: Batch) -> None:
        self._weights()
        loss = loss_of(self.model, gate_batch)
        for gate, gradient in zip(self.gates, gradients(loss, self.gates), strict=True):
            gate.grad = gradient
        self.adam.step()

    def choose(self) -> CellGraph:
        """The graph of the strongest operators, or of those whose removal increases the loss most."""
        if self.config.choose_by == "strength":
            edges = {
                name: strongest(cell.edges, self.at.best[name], cell.operators)
                for name, cell in self.cells.items()
            }
            return CellGraph(nodes=self.config.nodes, **edges)
        began, drawing = time.perf_counter(), torch.Generator().manual_seed(self.config.seed)
        order_N = torch.randperm(self.other.total, generator=drawing)[: self.config.choosing_rows]
        bounds = [*range(0, len(order_N), self.config.batch_size), len(order_N)]
        batches = list(self.other.cut(order_N, bounds))
        self.model.eval()
        graph = most_missed(self.cells, lambda: mean_loss(self.model, batches))
        self.seconds += time.perf_counter() - began
        return graph

    def trace(self, graph: CellGraph) -> SearchTrace:
        """The trace: strength of every operator on every edge, and whether it is in the graph."""
        kept = set(places(graph))
        operators = tuple(
            OperatorStrength(
                cell=name,
                source=source,
                target=target,
                operator=operator,
                strength=strength,
                kept=(name, source, target, operator) in kept,
            )
            for name, cell in self.cells.items()
            for (source, target), strength_O in zip(cell.edges, self.at.best[name], strict=True)
            for operator, strength in zip(cell.operators, strength_O, strict=True)
        )
        halves = 2 * self.config.epochs - self.frozen
        return trace_of(
            self.config,
            operators=operators,
            steps=self.config.epochs * self.epoch_steps,
            epochs=self.config.epochs,
            seconds=self.seconds,
            rows_per_second=halves * self.train.total / self.seconds,
        )


def temperature(epoch: int, epochs: int) -> float:
    """(1 + ln T) / (1 + ln t): decreases to 1 from a nearly uniform mixture (section 5.1)."""
    return (1 + math.log(epochs)) / (1 + math.log(epoch))


def _best_of_random(data: SearchData, config: AutoPIConfig, settings: AutoPISettings) -> SearchResult:
    """AutoPI-R (section 5.1): train random graphs from scratch with the same seed, and keep the best."""
    stopwatch = Stopwatch()
    graphs = [
        random_graph(config.nodes, config.seed + number, config.operators) for number in range(config.samples)
    ]
    tried = trials(graphs, fit, data, config, settings)
    best, seconds = best_of(tried), stopwatch.seconds
    epochs = sum(len(trial.history.epochs) for trial in tried)
    trace = trace_of(
        config,
        operators=tuple(
            OperatorStrength(cell=name, source=i, target=j, operator=operator, kept=True)
            for name, i, j, operator in places(best)
        ),
        samples=tuple(trial.sample for trial in tried),
        steps=epochs * steps_in_pass(data.train.total, batch_size_of(settings, data.train.total)),
        epochs=epochs,
        seconds=seconds,
        rows_per_second=epochs * data.train.total / seconds,
    )
    return SearchResult(architecture(data, "autopi-r", best), trace)
