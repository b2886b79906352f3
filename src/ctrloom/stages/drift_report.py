"""How the data changed since a bundle was trained, and the report of a retraining."""

from pathlib import Path

from ctrloom import storage
from ctrloom.config.extras import training_packages
from ctrloom.config.retraining import DriftConfig
from ctrloom.data.dataset import Dataset
from ctrloom.data.vocabulary.drift_baseline import DriftBaseline
from ctrloom.data.vocabulary.encode import Encoder
from ctrloom.evaluation.drift import Drift, FieldDrift, field_drift
from ctrloom.evaluation.markdown import drift_markdown, promotion_markdown
from ctrloom.evaluation.promotion_gate import PromotionVerdict, load_verdict
from ctrloom.models.growth import require_grown
from ctrloom.schema import Field
from ctrloom.stages.promotion_gate import VERDICT
from ctrloom.storage import Place

DRIFT, PAGE, REPORT, TEXT = "drift.json", "drift.html", "report.html", "report.md"


def drift(manifest: str | Place, bundle: Path, config: DriftConfig, output: Path) -> Drift:
    """Compare the training rows of a grown data set with those of the bundle that it grew from.

    Writes `drift.json` and `drift.html` into the folder `output`.

    Raises:
        SchemaMismatchError: the data set did not grow from that bundle.
    """
    dataset, old = Dataset.open(manifest), Encoder.load(bundle)
    require_grown(old.schema, dataset.schema)
    new = dataset.encoder()
    before, now = DriftBaseline.load(bundle), DriftBaseline.load(dataset.directory)
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
    with training_packages():
        from ctrloom.report.retraining import render_drift  # loads matplotlib

    with storage.atomic_directory(output, DRIFT, PAGE) as temporary:
        storage.write_record(temporary / DRIFT, found)
        render_drift(found, temporary / PAGE)
    return found


def report(drift: Path, verdict: Path, name: str, output: Path) -> PromotionVerdict:
    """Write `report.html` and `report.md` about a retraining into the folder `output`.

    `drift` and `verdict` are the folders that the stages `drift` and `gate` wrote.

    Raises:
        StorageError: one of them is not there.
    """
    changed = storage.read_record(drift / DRIFT, Drift)
    decided = load_verdict(verdict / VERDICT)
    with training_packages():
        from ctrloom.report.retraining import render_retraining  # loads matplotlib

    with storage.atomic_directory(output, REPORT, TEXT) as temporary:
        render_retraining(changed, decided, name, temporary / REPORT)
        storage.write_text(temporary / TEXT, promotion_markdown(decided) + "\n" + drift_markdown(changed))
    return decided


def _drifted(
    field: Field, old: Encoder, new: Encoder, before: DriftBaseline, now: DriftBaseline, config: DriftConfig
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
