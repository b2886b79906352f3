"""Train the architecture of a bundle again, on a data set that grew from it."""

from functools import partial
from pathlib import Path

from ctrloom import distributed, storage
from ctrloom.config import ModelsConfig
from ctrloom.config.retraining import TrainingConfig
from ctrloom.data.dataset import Dataset
from ctrloom.models.bundle import FILES, load_bundle
from ctrloom.models.growth import carry_over, require_grown
from ctrloom.storage import Place
from ctrloom.training.plans import Plan, train_runs
from ctrloom.training.processes import data_parallel
from ctrloom.training.runs import open_runs


@data_parallel
def refresh(manifest: str | Place, bundle: Path, config: TrainingConfig, runs: Path, output: Path) -> None:
    """Train the architecture of a bundle on a data set that grew from it; `output` is the new bundle.

    Raises:
        SchemaMismatchError: the data set did not grow from that bundle.
        ConfigError: `config.settings` does not fit the model, or a warm start is not possible.
        StorageError: `output` is the older bundle.
    """
    storage.require_own(output, *FILES)
    storage.require_apart(output, [bundle])
    dataset, old = Dataset.open(manifest), load_bundle(bundle)
    require_grown(old.schema, dataset.schema)
    name = old.card.model
    settings = config.over(old.card.hyperparameters).model_dump(mode="json")
    begin = partial(carry_over, old.model, before=old.schema, after=dataset.schema)
    plan = Plan(
        name,
        old.card.title,
        "retrained",
        name,
        (old.architecture,),
        begin=begin if config.start == "warm" else None,
    )
    train_runs(dataset, [plan], ModelsConfig({name: settings}), config.seeds, runs)
    if distributed.is_rank_zero():
        (run,) = open_runs(runs)
        run.export(dataset, output)
