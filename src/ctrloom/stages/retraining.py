"""Retrain a found architecture on later rows: grow vocabularies, measure drift, refresh the model."""

from functools import partial
from pathlib import Path

from ctrloom import distributed, storage
from ctrloom.config import Models
from ctrloom.config.engine import EngineConfig
from ctrloom.config.growth import GrowthConfig
from ctrloom.config.retraining import DriftConfig, TrainingConfig
from ctrloom.data.dataset import Dataset
from ctrloom.data.engines import EMBEDDED
from ctrloom.data.vocabulary.drift_baseline import Reference
from ctrloom.data.vocabulary.encode import Encoder
from ctrloom.data.vocabulary.growth import grow_vocabulary
from ctrloom.evaluation.drift import Drift, FieldDrift, field_drift
from ctrloom.evaluation.gate import Verdict, load_verdict
from ctrloom.evaluation.verdict import drift_markdown, gate_markdown
from ctrloom.models.bundle import load_bundle
from ctrloom.models.growth import carry_over, cross_keys, require_grown
from ctrloom.report.retraining import render_drift, render_retraining
from ctrloom.schema import Field
from ctrloom.stages.gate import VERDICT
from ctrloom.storage import Place
from ctrloom.training.processes import data_parallel
from ctrloom.training.runs import Plan, open_runs, train_runs

DRIFT, PAGE, REPORT, TEXT = "drift.json", "drift.html", "report.html", "report.md"


def grow(
    ingested: str | Place, bundle: Path, config: GrowthConfig, store: Place, engine: EngineConfig = EMBEDDED
) -> Place:
    """Encode ingested rows with a bundle's vocabularies, appending new values; returns the manifest.

    Raises:
        ConfigError: the rows have other columns than the bundle.
    """
    keys = cross_keys(load_bundle(bundle).model)
    return grow_vocabulary(ingested, bundle, config, store, keys, engine)


def drift(manifest: str | Place, bundle: Path, config: DriftConfig, output: Path) -> Drift:
    """Compare the training rows of a grown data set with those of the bundle that it grew from.

    Writes `drift.json` and `drift.html` into the folder `output`.

    Raises:
        SchemaMismatchError: the data set did not grow from that bundle.
    """
    dataset, old = Dataset.open(manifest), Encoder.load(bundle)
    require_grown(old.schema, dataset.schema)
    new = dataset.encoder()
    before, now = Reference.load(bundle), Reference.load(dataset.directory)
    fields = [_drifted(field, old, new, before, now, config) for field in old.schema.fields]
    found = Drift(
        champion_schema=old.schema.fingerprint,
        data_fingerprint=dataset.data_fingerprint,
        rows_before=before.rows,
        rows_now=now.rows,
        label_rate_before=before.positives / before.rows,
        label_rate_now=now.positives / now.rows,
        fields=tuple(fields),
        config=config,
    )
    with storage.atomic_directory(output) as temporary:
        storage.write_json(temporary / DRIFT, found.model_dump(mode="json"))
        render_drift(found, temporary / PAGE)
    return found


@data_parallel
def refresh(manifest: str | Place, bundle: Path, config: TrainingConfig, runs: Path, output: Path) -> None:
    """Train the architecture of a bundle on a data set that grew from it; `output` is the new bundle.

    Raises:
        SchemaMismatchError: the data set did not grow from that bundle.
        ConfigError: `config.settings` does not fit the model, or a warm start is not possible.
    """
    dataset, old = Dataset.open(manifest), load_bundle(bundle)
    require_grown(old.schema, dataset.schema)
    name = old.card.model
    settings = {**old.card.hyperparameters.model_dump(mode="json"), **config.settings}
    type(old.card.hyperparameters).parse(settings, "training.settings")
    begin = partial(carry_over, old.model, before=old.schema, after=dataset.schema)
    plan = Plan(
        name,
        old.card.title,
        "retrained",
        name,
        (old.architecture,),
        begin=begin if config.start == "warm" else None,
    )
    train_runs(dataset, [plan], Models({name: settings}), config.seeds, runs)
    if distributed.is_rank_zero():
        (run,) = open_runs(runs)
        run.export(dataset, output)


def report(drift: Path, verdict: Path, name: str, output: Path) -> Verdict:
    """Write `report.html` and `report.md` about a retraining into the folder `output`.

    `drift` and `verdict` are the folders that the stages `drift` and `gate` wrote.

    Raises:
        StorageError: one of them is not there.
    """
    changed = Drift.parse(storage.read_json(drift / DRIFT), str(drift / DRIFT))
    decided = load_verdict(verdict / VERDICT)
    with storage.atomic_directory(output) as temporary:
        render_retraining(changed, decided, name, temporary / REPORT)
        storage.write_text(temporary / TEXT, gate_markdown(decided) + "\n" + drift_markdown(changed))
    return decided


def _drifted(
    field: Field, old: Encoder, new: Encoder, before: Reference, now: Reference, config: DriftConfig
) -> FieldDrift:
    sides = before.fields[field.name], now.fields[field.name]
    missing = sides[0].missing, sides[1].missing
    if field.kind == "numeric":
        bins = sides[0].counts, sides[1].counts
        return field_drift(field.name, field.kind, *bins, missing, (0, 0), 0, config.buckets)
    first, second = (encoder.vocabularies[field.name].counts.to_numpy() for encoder in (old, new))
    known, added = second[: len(first)], second[len(first) :]
    unseen = sides[0].unseen, sides[1].unseen + int(added.sum())
    return field_drift(field.name, field.kind, first, known, missing, unseen, len(added), config.buckets)
