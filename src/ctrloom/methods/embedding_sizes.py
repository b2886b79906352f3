"""AIM's stage 2: search of the embedding positions that each field needs (AIM, section 3.4).

Every embedding position of every field has a gate per order and function; GRDA drives the gates to zero while
a model of the given interactions trains.

F fields, D embedding size, O order.
"""

from collections.abc import Sequence
from itertools import compress
from operator import not_

import torch
from torch import Tensor

from ctrloom.architecture import Architecture, Function, Interaction, KeptPositions
from ctrloom.config import AIMConfig, AIMSettings
from ctrloom.config.base import ConfigError
from ctrloom.methods.gates import GateSearch, GateVector, Schedule
from ctrloom.methods.interface import SearchData, SearchResult
from ctrloom.models.aim import PositionGatedAIM
from ctrloom.search_trace import Candidate, EmbeddingGates, SearchTrace, StageSeconds
from ctrloom.training.loop import pick_device, seed_everything


def search_embeddings(
    data: SearchData, given: Architecture, config: AIMConfig, settings: AIMSettings
) -> SearchResult:
    """Search the embedding positions that the given interactions need.

    A position is kept if its gate is nonzero and an interaction uses it: a product of embeddings is zero at
    positions where one factor is. Interactions without positions are dropped and marked in the trace. The
    control `whole-embeddings` is the given architecture.

    Raises:
        ConfigError: functions share embeddings, or the architecture has no interactions.
    """
    require_separate_embeddings(settings)
    if not given.interactions:
        raise ConfigError("no interactions to search embedding sizes for; lower search.threshold")
    gate_search, model = _gate_search(data, given, config, settings)
    gate_search.run("search, embedding sizes")
    kept: set[Interaction] = set()
    positions, gates = [], []
    for order in given.orders:
        for function in given.functions(order):
            group = [i for i in given.interactions if (i.order, i.function) == (order, function)]
            places = [data.schema.indices(interaction.fields) for interaction in group]
            gate_FD = model.gates.get_parameter(f"{order}_{function}.gate_FD").detach().cpu()
            kept_FD = gate_FD != 0
            alive, used_FD = usable(kept_FD, places, function)
            if config.confirm and not all(alive):  # what was confirmed on other rows is not dropped here
                for fields in compress(places, map(not_, alive)):
                    kept_FD[list(fields)] = True
                alive, used_FD = usable(kept_FD, places, function)
            kept |= {each for each, lives in zip(group, alive, strict=True) if lives}
            for f in sorted({f for fields in places for f in fields}):
                name, used = data.schema.names[f], tuple(used_FD[f].nonzero().flatten().tolist())
                left = tuple((gate_FD[f] * used_FD[f]).tolist())
                of_field = EmbeddingGates(
                    field=name, order=order, function=function, gates=left, positions=len(used)
                )
                gates.append(of_field)
                if 0 < len(used) < settings.embedding_size:
                    about = KeptPositions(field=name, order=order, function=function, positions=used)
                    positions.append(about)
    found = given.model_copy(
        update={
            "interactions": tuple(i for i in given.interactions if i in kept),
            "embedding_size": settings.embedding_size,
            "positions": tuple(positions),
        }
    )
    trace = SearchTrace(
        method="aim",
        base=config.base,
        orders=given.orders,
        candidates=tuple(_candidate(i, i in kept) for i in given.interactions),
        embedding_gates=tuple(gates),
        steps=gate_search.steps,
        epochs=gate_search.passes,
        seconds=gate_search.seconds,
        rows_per_second=gate_search.rows_seen / gate_search.seconds,
        stages=(StageSeconds(name="embedding sizes", seconds=gate_search.seconds),),
        hyperparameters=config.model_dump(mode="json"),
    )
    return SearchResult(found, trace, {"whole-embeddings": [given]})


def require_separate_embeddings(settings: AIMSettings) -> None:
    """Raise ConfigError if functions share embeddings."""
    if settings.shared_embeddings:
        raise ConfigError(
            "models.aim.shared_embeddings: embedding sizes are searched per function, which needs separate "
            "tables; set search.search_embeddings: false"
        )


def usable(
    kept_FD: Tensor, places: Sequence[tuple[int, ...]], function: Function
) -> tuple[list[bool], Tensor]:
    """Interactions of one order and function that have positions left, and the positions that they use."""
    used_FD, alive = torch.zeros_like(kept_FD), []
    for fields in map(list, places):
        left_OD = kept_FD[fields]
        if function != "outer":  # a sum over positions needs the position in all fields
            left_OD = left_OD.all(0).expand_as(left_OD)
        alive.append(bool(left_OD.any(1).all()))
        if alive[-1]:
            used_FD[fields] |= left_OD
    return alive, used_FD


def _gate_search(
    data: SearchData, given: Architecture, config: AIMConfig, settings: AIMSettings
) -> tuple[GateSearch, PositionGatedAIM]:
    generator = seed_everything(config.seed + 1)
    model = PositionGatedAIM(given, data.schema, settings).to(pick_device(settings.device))
    schedule = Schedule.of(
        config,
        settings,
        data,
        order=2,
        embedding_l2=0.0,
        epochs=config.embedding_epochs,
        gate_learning_rate=config.embedding_gate_learning_rate,
        c=config.embedding_c,
        mu=config.embedding_mu,
        threshold=config.embedding_threshold,
        gate_warm_up=config.embedding_warm_up,
    )
    groups = [GateVector(gate_FD) for gate_FD in model.gates.parameters()]
    return GateSearch(model, groups, data.train, schedule, generator), model


def _candidate(given: Interaction, kept: bool) -> Candidate:
    gate = 0.0 if given.score is None else given.score
    return Candidate(fields=given.fields, function=given.function, score=gate, kept=kept)
