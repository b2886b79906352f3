"""One-shot search: weights shared by all AutoPI graphs, to compare thousands without training each.

Each step trains the shared weights of a random graph. Then random candidates are scored on validation rows
with those weights (Guo et al., Single path one-shot neural architecture search with uniform sampling, ECCV
2020, section 3). The best ones are trained briefly from scratch, and the best of these is selected, as DARTS
selects among restarts.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from ctrloom.architecture import CellGraph
from ctrloom.config import AutoPIConfig, AutoPISettings
from ctrloom.data.batches.batch import Batch
from ctrloom.methods.cell_graphs import drawn_graph, places
from ctrloom.methods.interface import SearchData, SearchResult
from ctrloom.methods.random_search import architecture, best_of, mean_loss, random_controls, trace_of, trials
from ctrloom.models.autopi import ENSEMBLE_INPUTS, INTERACTION_INPUTS, TwoCells, shape_of
from ctrloom.nn.cells import SharedCell
from ctrloom.search_trace import CellName, OperatorStrength
from ctrloom.training.checkpoints import Stopwatch
from ctrloom.training.loop import batch_size_of, pick_device, seed_everything
from ctrloom.training.passes import steps_in_pass
from ctrloom.training.short_fit import annealed_epochs, fit_briefly
from ctrloom.training.step import matmul_precision

BEST = 10  # operator frequencies are those of the best tenth of the candidates


def search(data: SearchData, config: AutoPIConfig, settings: AutoPISettings) -> SearchResult:
    """Select the best finalist; trains with `settings`, except for batch sizes and epochs."""
    stopwatch = Stopwatch()
    rng = np.random.default_rng(config.seed)
    shared = _Shared(data, config, settings)
    shared.learn(rng)
    candidates = [drawn_graph(config.nodes, rng, config.operators) for _ in range(config.candidates)]
    loss_C = shared.losses(candidates)
    ranked = list(dict.fromkeys(candidates[c] for c in np.argsort(loss_C, kind="stable")))
    brief = shared.settings.model_copy(update={"epochs": config.finalist_epochs})
    tried = trials(ranked[: config.finalists], fit_briefly, data, config, brief)
    graph, seconds = best_of(tried), stopwatch.seconds
    trace = trace_of(
        config,
        operators=frequencies(shared.cells, ranked[: -(-len(ranked) // BEST)], graph),
        samples=tuple(trial.sample for trial in tried),
        steps=config.epochs * steps_in_pass(data.train.total, config.batch_size),
        epochs=config.epochs,
        seconds=seconds,
        rows_per_second=config.epochs * data.train.total / seconds,
    )
    return SearchResult(architecture(data, "autopi", graph), trace, random_controls(data, config))


class _Shared:
    """Both cells with the operators of all graphs."""

    def __init__(self, data: SearchData, config: AutoPIConfig, settings: AutoPISettings) -> None:
        seed_everything(config.seed)
        self.data, self.config = data, config
        changed = {"epochs": config.epochs, "batch_size": config.batch_size, "base_batch_size": None}
        self.settings = settings.model_copy(update=changed)
        shape = shape_of(data.schema, settings)
        interaction = SharedCell(
            INTERACTION_INPUTS, config.nodes, shape, config.operators, settings.normalized
        )
        ensemble = SharedCell(ENSEMBLE_INPUTS, config.nodes, shape, config.operators, settings.normalized)
        self.cells: dict[CellName, SharedCell] = {"interaction": interaction, "ensemble": ensemble}
        self.model = TwoCells(interaction, ensemble, data.schema, settings)

    def become(self, graph: CellGraph) -> None:
        """Activate a graph."""
        self.cells["interaction"].present = frozenset(graph.interaction)
        self.cells["ensemble"].present = frozenset(graph.ensemble)

    def learn(self, rng: np.random.Generator) -> None:
        """Train the shared weights, with a new random graph at every step."""
        config, seed = self.config, self.config.seed
        another = lambda: self.become(drawn_graph(config.nodes, rng, config.operators))  # noqa: E731
        for _ in annealed_epochs(
            self.model, self.data.train, self.settings, seed, "search", another, rng=rng
        ):
            pass

    def losses(self, graphs: Sequence[CellGraph]) -> np.ndarray:
        """Loss of each graph on a sample of the validation rows (C,)."""
        valid = self.data.valid.to(pick_device(self.settings.device))
        order_N = torch.randperm(valid.total, generator=torch.Generator().manual_seed(self.config.seed))
        order_N = order_N[: self.config.choosing_rows]
        size = batch_size_of(self.settings, self.data.train.total)
        bounds = [*range(0, len(order_N), size), len(order_N)]
        batches = list(valid.cut(order_N, bounds))
        self.model.train()  # use batch statistics, as running ones mix all graphs
        return np.array([self._loss(graph, batches) for graph in graphs])

    def _loss(self, graph: CellGraph, batches: Sequence[Batch]) -> float:
        self.become(graph)
        with matmul_precision(self.settings.precision, batches[0].device):
            return mean_loss(self.model, batches)


def frequencies(
    cells: Mapping[CellName, SharedCell], graphs: Sequence[CellGraph], kept: CellGraph
) -> tuple[OperatorStrength, ...]:
    """Frequency of each operator in the given graphs; the frequencies into one node sum to 1."""
    stay, counts = set(places(kept)), Counter(place for graph in graphs for place in places(graph))
    into = Counter((name, target) for graph in graphs for name, _, target, _ in places(graph))
    possible = [
        (name, edge.source, edge.target, edge.operator) for name, cell in cells.items() for edge in cell.edges
    ]
    return tuple(
        OperatorStrength(
            cell=place[0],
            source=place[1],
            target=place[2],
            operator=place[3],
            strength=counts[place] / into[place[0], place[2]],
            kept=place in stay,
        )
        for place in possible
    )
