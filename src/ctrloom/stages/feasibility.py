"""Whether all that is configured can be trained: models are built without weights, before any training."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

import torch

from ctrloom.architecture import Architecture, Interaction, KeptPositions
from ctrloom.config import (
    MODELS,
    AIMConfig,
    CompareConfig,
    Entry,
    Hyperparameters,
    Keep,
    MethodConfig,
    ModelsConfig,
    RunConfig,
    Transfer,
)
from ctrloom.config.base import ConfigError, MachineError
from ctrloom.config.errors import UserError
from ctrloom.data.ingest.cast import raw_fields
from ctrloom.data.vocabulary.crosses import crossed_pairs
from ctrloom.models import build
from ctrloom.models.trees import lightgbm
from ctrloom.schema import FIRST_TOKEN_ID, Cross, Field, Schema
from ctrloom.stages.search_stage import require_searchable
from ctrloom.training.loop import pick_device
from ctrloom.training.plans import require_trainable
from ctrloom.training.torch_state import restored_torch_state
from ctrloom.tuning.sampling import optuna

Check = tuple[str, Callable[[], object]]  # what a message begins with, and what raises it


def require_feasible(
    config: RunConfig | CompareConfig, schema: Schema | None = None, *, here: bool = True
) -> None:
    """Check every search, model and transfer of a run or comparison; the message has all problems.

    Without the schema of the encoded data, fields and crosses are those that the configuration leads to. With
    `here`, devices and libraries of this machine are checked, too.

    Raises:
        ConfigError: one of them cannot be trained.
    """
    schema = schema or planned_schema(config)
    checks = _of_comparison if isinstance(config, CompareConfig) else _of_run
    every = [*checks(config, schema, here)]  # type: ignore[arg-type]
    if config.tuning and here:
        every.append(("tuning", optuna))
    _require(every)


def require_entry(entry: Entry, schema: Schema, models: ModelsConfig) -> None:
    """Check the search, model and transfers of an entry of a comparison where it is trained.

    Raises:
        ConfigError: one of them cannot be trained.
        MachineError: one of them cannot be trained on this machine.
    """
    _require(_of_entry(entry, schema, models, here=True))


@restored_torch_state()
def _require(checks: Iterable[Check]) -> None:
    problems: list[tuple[str, UserError]] = []
    for where, check in checks:
        try:
            check()
        except UserError as error:
            problems.append((where, error))
    if problems:
        kind = ConfigError if all(error.from_inputs for _, error in problems) else MachineError
        raise kind("\n".join(f"{where}: {error}" for where, error in problems))


def planned_schema(config: RunConfig | CompareConfig) -> Schema:
    """The fields and crosses that data of this configuration will have, with the smallest sizes.

    Raises:
        ConfigError: fields or crosses are not possible.
    """
    vocabulary, fields = config.vocabulary, []
    for raw in raw_fields(config.data.source):
        own = vocabulary.fields.get(raw.name)
        kept = isinstance((own and own.bucketing) or vocabulary.bucketing, Keep)
        kind = "categorical" if raw.kind == "numeric" and not kept else raw.kind
        fields.append(Field(name=raw.name, kind=kind, size=FIRST_TOKEN_ID + 1, column=raw.column))
    pairs = crossed_pairs(vocabulary.crosses, fields) if vocabulary.crosses else ()
    crosses = tuple(Cross(fields=pair, size=2, digest="") for pair in pairs)
    return Schema(fields=tuple(fields), source=config.data.source, crosses=crosses)


def _of_run(config: RunConfig, schema: Schema, here: bool) -> Iterator[Check]:
    models = config.models
    yield "search", partial(_require_search, config.search, schema, models, here)
    for name in config.baselines:
        yield f"baselines: {name}", partial(require_model, name, (2,), schema, models, here)
    for each in config.transfer:
        yield f"transfer: {each.name}", partial(_require_transfer, each, config.search, schema, models, here)


def _of_comparison(config: CompareConfig, schema: Schema, here: bool) -> Iterator[Check]:
    for entry in config.entries:
        yield from _of_entry(entry, schema, config.models, here)


def _of_entry(entry: Entry, schema: Schema, models: ModelsConfig, here: bool) -> Iterator[Check]:
    where, models = f"entries: {entry.name}", entry.models(models)
    if entry.search:
        yield where, partial(_require_search, entry.search, schema, models, here)
    else:
        yield where, partial(require_model, entry.trained, entry.orders, schema, models, here)
    for each in entry.transfer:
        assert entry.search, "an entry with transfers has a search"
        check = partial(_require_transfer, each, entry.search, schema, models, here)
        yield f"{where}, transfer: {each.name}", check


def _require_search(config: MethodConfig, schema: Schema, models: ModelsConfig, here: bool) -> None:
    require_searchable(schema, config, models.of(config.base))
    require_model(config.base, None, schema, models, here)


def _require_transfer(
    transfer: Transfer, config: MethodConfig, schema: Schema, models: ModelsConfig, here: bool
) -> None:
    name = transfer.model
    require_model(name, None, schema, models, here)
    with_functions = MODELS[name].carries_functions and transfer.of != "selection"
    if isinstance(config, AIMConfig) and config.search_functions and with_functions:
        found = _found_by_aim(config, schema, models.of(config.base).embedding_size)
        _require_built(name, found, schema, models.of(name))


def _found_by_aim(config: AIMConfig, schema: Schema, size: int) -> Architecture:
    """What AIM can find: all pairs with every function, and embedding positions if it searches these."""
    names, function = schema.names, config.functions[0]
    found = Architecture.complete(names, (2,), "aim", config.functions)
    if not config.search_embeddings:
        return found
    kept = KeptPositions(field=names[0], order=2, function=function, positions=tuple(range(size)))
    return found.model_copy(update={"embedding_size": size, "positions": (kept,)})


def require_model(
    name: str, orders: Sequence[int] | None, schema: Schema, models: ModelsConfig, here: bool = True
) -> None:
    """Check that a model can be built over all interactions of some orders, or (None) over some of them.

    Raises:
        UserError: it cannot, or with `here`, its device or a library is missing.
    """
    settings, entry = models.of(name), MODELS[name]
    require_trainable(name, settings)
    if here:
        pick_device(settings.device)
        if entry.trees:
            lightgbm()
    if (not entry.selects and not entry.baseline) or (entry.trees and not here):
        return  # needs a graph that a search finds, or a library
    architecture = Architecture.complete(schema.names, orders or (2,))
    if orders is None and schema.crosses:
        some = tuple(Interaction(fields=cross.fields) for cross in schema.crosses)
        architecture = architecture.model_copy(update={"interactions": some})
    _require_built(name, architecture, schema, settings)


def _require_built(name: str, architecture: Architecture, schema: Schema, settings: Hyperparameters) -> None:
    """Check that a model can be built over an architecture, without its weights."""
    try:
        with torch.device("meta"):
            build(name, architecture, schema, settings)
    except UserError:
        raise
    except Exception:  # a model that reads its initial weights cannot be built without any
        pass
