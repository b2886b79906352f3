"""AutoFIS: gates on all candidate interactions, which GRDA drives to zero while the model trains.

Orders are searched sequentially. While triples are searched, the selected pairs stay in the model, with
gates that are trained as weights; in a joint search a triple would absorb the pairs that it contains.
"""

import math
from collections.abc import Iterable, Sequence

from ctrloom.architecture import Architecture, Interaction
from ctrloom.config import AutoFISConfig, Hyperparameters
from ctrloom.config.base import ConfigError
from ctrloom.config.combinations import combinations_of
from ctrloom.methods.candidate_pool import extend
from ctrloom.methods.confirmation import Confirmation
from ctrloom.methods.controls import selection_controls
from ctrloom.methods.gate_trace import trace_of
from ctrloom.methods.gates import GateSearch, GateVector, Schedule, batch_size, halves
from ctrloom.methods.interface import SearchData, SearchResult, require_fields
from ctrloom.methods.permuted import sizes_of, with_copies
from ctrloom.methods.statistics.candidates import with_statistics
from ctrloom.models import build
from ctrloom.schema import Schema
from ctrloom.training.loop import pick_device, seed_everything
from ctrloom.training.memory import memory_of

COPIES = 8  # float32 arrays of (batch, candidates) that a step needs at its peak


def search(data: SearchData, config: AutoFISConfig, settings: Hyperparameters) -> SearchResult:
    """Select the interactions with a nonzero gate at the end; also returns the trace and the controls.

    Gates and weights are trained on training rows only. The trace has all candidates of all searched orders.
    """
    names = data.schema.names
    require(data.schema, config, settings)
    if config.candidates == "all":
        _require_memory(data, config, settings)
    gate_searches: dict[int, GateSearch] = {}
    confirmation = Confirmation(data, config, pick_device(settings.device))
    kept = Architecture(method="autofis", fields=names, interactions=())
    for order in range(2, config.order + 1):
        if config.candidates == "pool" and order > 2:
            scores = {i.fields: i.score or 0.0 for i in kept.interactions if i.order == order - 1}
            candidates: Iterable[tuple[str, ...]] = extend(scores, names, config.pool)
        else:
            candidates = combinations_of(names, order)
        new_candidates = tuple(Interaction(fields=fields) for fields in candidates)
        if not new_candidates:  # no interaction left to extend
            break
        whole = kept.model_copy(update={"interactions": (*kept.interactions, *new_candidates)})
        searched = whole.orders if config.higher_order == "joint" else (order,)
        gate_searches[order] = gate_search = _gate_search(whole, searched, data, config, settings)
        gate_search.run(f"search, order {order}")
        fixed = tuple(i for i in kept.interactions if i.order not in searched)
        candidates_searched = [i for i in whole.interactions if i.order in searched]
        confirmed = confirmation.of(gate_search.kept, candidates_searched)
        kept = kept.model_copy(update={"interactions": (*fixed, *confirmed)})
    kept = kept.model_copy(update={"interactions": confirmation.given_higher(kept.interactions)})
    settings_json = config.model_dump(mode="json")
    trace = trace_of(
        list(gate_searches.values()), "autofis", config.base, tuple(gate_searches), settings_json
    )
    trace = with_statistics(confirmation.noted(trace), data)
    return SearchResult(kept, trace, selection_controls(kept, trace, config.draw_seeds))


def _gate_search(
    whole: Architecture,
    searched: Sequence[int],
    data: SearchData,
    config: AutoFISConfig,
    settings: Hyperparameters,
) -> GateSearch:
    """Build the gate search of the orders in `searched`."""
    order = max(searched)
    generator = seed_everything(config.seed + order)
    searched_data, whole = with_copies(data, whole, order, config.permuted, config.seed)
    own = settings.model_copy(update={"interaction_norm": config.batch_norm})
    model = build(config.base, whole, searched_data.schema, own).to(pick_device(settings.device))
    gates = model.get_submodule("gates")
    groups = [GateVector(gates.get_parameter(f"{o}.gate_P"), whole.of_order(o)) for o in searched]
    train = searched_data.train
    rows, gate_rows = halves(train, generator) if config.bi_level else (train, None)
    schedule = Schedule.of(config, settings, data, order)
    return GateSearch(model, groups, rows, schedule, generator, gate_rows, sizes_of(searched_data.schema))


def require(schema: Schema, config: AutoFISConfig, settings: Hyperparameters) -> None:
    """Raise ConfigError if there are fewer fields than the order."""
    require_fields(schema, config.order)


def _require_memory(data: SearchData, config: AutoFISConfig, settings: Hyperparameters) -> None:
    """Raise ConfigError if all interactions of the highest order do not fit in memory."""
    memory = memory_of(pick_device(settings.device))
    count = math.comb(len(data.schema.fields), config.order)
    batch = config.batch_size or batch_size(data.train.total)
    if (needed := 4 * COPIES * batch * count) > memory:
        raise ConfigError(
            f"search.candidates: all {count:,} interactions of order {config.order} need about "
            f"{needed / 1e9:,.0f} GB with batches of {batch:,} rows, but there are {memory / 1e9:,.0f} GB; "
            "use search.candidates: pool, or a smaller search.batch_size"
        )
