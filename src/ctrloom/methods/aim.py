"""AIM: search of interactions, their functions and embedding sizes (AIM, sections 3.2 to 3.4).

Stage 1 searches interactions and functions jointly, order by order; stage 2 (`embedding_sizes`)
searches the embedding positions that they need. Both omit the MLP of the final model.
"""

from collections.abc import Sequence

from ctrloom.architecture import Architecture, Interaction
from ctrloom.config import AIMConfig, AIMSettings
from ctrloom.config.combinations import combinations_of
from ctrloom.methods.candidate_pool import extend
from ctrloom.methods.confirmation import Confirmation
from ctrloom.methods.controls import random_like
from ctrloom.methods.embedding_sizes import require_separate_embeddings, search_embeddings
from ctrloom.methods.gate_trace import trace_of
from ctrloom.methods.gates import GateSearch, GateVector, Schedule
from ctrloom.methods.interface import SearchData, SearchResult, require_fields
from ctrloom.methods.permuted import sizes_of, with_copies
from ctrloom.methods.statistics.candidates import with_statistics
from ctrloom.models import build
from ctrloom.schema import Schema
from ctrloom.search_trace import Candidate, SearchTrace
from ctrloom.training.loop import pick_device, seed_everything

UNPRUNED = 2000  # with more candidates, the unpruned control has pairs only


def search(data: SearchData, config: AIMConfig, settings: AIMSettings) -> SearchResult:
    """Run the configured stages."""
    if config.search_embeddings:
        require_separate_embeddings(settings)
    return add_embeddings(search_interactions(data, config, settings), data, config, settings)


def add_embeddings(
    found: SearchResult, data: SearchData, config: AIMConfig, settings: AIMSettings
) -> SearchResult:
    """Run stage 2 after stage 1, if it is configured and stage 1 kept any interactions."""
    if not config.search_embeddings or not found.architecture.interactions:
        return found
    return _joined(found, search_embeddings(data, found.architecture, config, settings))


def require(schema: Schema, config: AIMConfig, settings: AIMSettings) -> None:
    """Raise ConfigError if there are fewer fields than the order, or embeddings are shared by functions."""
    require_fields(schema, config.order)
    if config.search_embeddings:
        require_separate_embeddings(settings)


def search_interactions(data: SearchData, config: AIMConfig, settings: AIMSettings) -> SearchResult:
    """Stage 1: interactions and functions with a nonzero gate at the end.

    While an order is searched, the interactions found in lower orders are fixed, with trainable gates.
    Candidates of the next order extend the strongest interactions of each function (AIM, Algorithm 1).
    """
    names = data.schema.names
    require_fields(data.schema, config.order)
    settings_json = config.model_dump(mode="json")
    kept = Architecture(method="aim", fields=names, interactions=())
    if not config.search_functions:
        return _every_pair(kept, config, settings_json)
    gate_searches: dict[int, GateSearch] = {}
    confirmation = Confirmation(data, config, pick_device(settings.device))
    for order in range(2, config.order + 1):
        new_candidates = _candidates(kept, order, config)
        if not new_candidates:  # no interaction left to extend
            break
        whole = kept.model_copy(update={"interactions": (*kept.interactions, *new_candidates)})
        gate_searches[order] = gate_search = _gate_search(whole, order, data, config, settings)
        gate_search.run(f"search, order {order}")
        confirmed = confirmation.of(gate_search.kept, new_candidates)
        kept = kept.model_copy(update={"interactions": (*kept.interactions, *confirmed)})
    kept = kept.model_copy(update={"interactions": confirmation.given_higher(kept.interactions)})
    trace = trace_of(list(gate_searches.values()), "aim", config.base, tuple(gate_searches), settings_json)
    trace = with_statistics(confirmation.noted(trace), data)
    return SearchResult(kept, trace, _controls(kept, trace, config))


def _joined(first: SearchResult, second: SearchResult) -> SearchResult:
    """Merge both stages: the architecture of stage 2, a joint trace, and the controls of both."""
    left = {(i.fields, i.function) for i in second.architecture.interactions}
    one, two = first.trace, second.trace
    seconds = one.seconds + two.seconds
    rows = one.rows_per_second * one.seconds + two.rows_per_second * two.seconds
    trace = one.model_copy(
        update={
            "candidates": tuple(
                c.model_copy(update={"kept": (c.fields, c.function) in left}) for c in one.candidates
            ),
            "embedding_gates": two.embedding_gates,
            "steps": one.steps + two.steps,
            "epochs": one.epochs + two.epochs,
            "seconds": seconds,
            "stages": (*one.stages, *two.stages),
            "rows_per_second": rows / seconds,
            "hyperparameters": two.hyperparameters,
        }
    )
    controls = {**first.controls, **second.controls}
    if second.architecture.is_empty:
        controls.pop("random", None)  # of the size that stage 1 found
    return SearchResult(second.architecture, trace, controls)


def _candidates(kept: Architecture, order: int, config: AIMConfig) -> list[Interaction]:
    every = []
    for function in config.functions:
        chosen: Sequence[tuple[str, ...]] = combinations_of(kept.fields, order)
        if order > 2:
            below = [i for i in kept.interactions if (i.order, i.function) == (order - 1, function)]
            chosen = extend({i.fields: i.score or 0.0 for i in below}, kept.fields, config.pool)
        every += [Interaction(fields=names, function=function) for names in chosen]
    return every


def _gate_search(
    whole: Architecture, order: int, data: SearchData, config: AIMConfig, settings: AIMSettings
) -> GateSearch:
    """Build the gate search of the highest order of `whole`."""
    generator = seed_everything(config.seed + order)
    bare = settings.model_copy(update={"perceptron": False})
    searched_data, whole = with_copies(data, whole, order, config.permuted, config.seed)
    model = build(config.base, whole, searched_data.schema, bare).to(pick_device(settings.device))
    groups = [
        GateVector(model.get_parameter(f"gates.{order}_{f}.gate_P"), whole.of_order(order, f), f)
        for f in whole.functions(order)
    ]
    schedule = Schedule.of(config, settings, data, order)
    sizes = sizes_of(searched_data.schema)
    return GateSearch(model, groups, searched_data.train, schedule, generator, sizes=sizes)


def _every_pair(empty: Architecture, config: AIMConfig, settings_json: dict[str, object]) -> SearchResult:
    """All pairs with the inner product, without a search."""
    pairs = [Interaction(fields=names) for names in combinations_of(empty.fields, 2)]
    trace = SearchTrace(
        method="aim",
        base=config.base,
        orders=(2,),
        candidates=tuple(Candidate(fields=i.fields, score=config.gate_init, kept=True) for i in pairs),
        seconds=0.0,
        rows_per_second=0.0,
        hyperparameters=settings_json,
    )
    return SearchResult(empty.model_copy(update={"interactions": tuple(pairs)}), trace)


def _controls(kept: Architecture, trace: SearchTrace, config: AIMConfig) -> dict[str, list[Architecture]]:
    """All candidates (only pairs if there are many), and random selections of the same size."""
    shown = trace.candidates if len(trace.candidates) <= UNPRUNED else trace.of_order(2)
    unpruned = kept.model_copy(
        update={
            "method": "complete",
            "interactions": tuple(
                Interaction(fields=c.fields, function=c.function) for c in shown if c.function != "none"
            ),
        }
    )
    draws = [_random(kept, trace, seed) for seed in config.draw_seeds]
    return {"unpruned": [unpruned], **({"random": draws} if draws else {})}


def _random(kept: Architecture, trace: SearchTrace, seed: Sequence[int]) -> Architecture:
    """A random selection of candidates with the same number per order and function as were kept."""
    drawn: list[Interaction] = []
    for place, function in enumerate(dict.fromkeys(candidate.function for candidate in trace.candidates)):
        own = {"interactions": tuple(i for i in kept.interactions if i.function == function)}
        offered = {"candidates": tuple(c for c in trace.candidates if c.function == function)}
        part = random_like(kept.model_copy(update=own), trace.model_copy(update=offered), (*seed, place))
        drawn += part.interactions
    return Architecture(method="random", fields=kept.fields, interactions=tuple(drawn))
