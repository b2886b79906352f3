"""One job of a comparison: an entry, searched and trained with one seed.

Files of a job: job.json    what was done; a job that has it is skipped
                search/     what the search of this seed found
                runs/       the trained models; those of a transfer are in transfer/
"""

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

from ctrloom import storage
from ctrloom.config import Entry, ModelsConfig
from ctrloom.config.errors import UserError
from ctrloom.config.version import code_version
from ctrloom.data.dataset import Dataset
from ctrloom.progress import warn
from ctrloom.stages.feasibility import require_entry
from ctrloom.stages.search_stage import search
from ctrloom.stages.training import baselines, retrain, transfer
from ctrloom.storage import Place
from ctrloom.training.checkpoints import stage_checkpoints
from ctrloom.tuning.record import Tuning

JOB = "job.json"


class JobRecord(storage.FolderRecord):
    """`job.json`: everything that the result of a job depends on."""

    entry: dict[str, Any]
    seed: int
    models: dict[str, Any]
    tuned: dict[str, Any] | None = None  # settings, if there was tuning
    data_fingerprint: str
    schema_fingerprint: str
    seeds: Literal["any"] | None = None  # a previous version trained one per seed, so its jobs do not count
    fingerprint: str  # covers all above, but not the code
    code_version: str


def run_job(
    manifest: str | Place,
    entry: Entry,
    seed: int,
    models: ModelsConfig,
    folder: Path,
    tuned: Path | None = None,
) -> bool:
    """Search and train one entry with one seed; False if `folder` already has it.

    The folder is written atomically; a stopped job continues from its checkpoints. `tuned` is the folder that
    tune wrote: models are trained with the settings in it, after a search with the configured ones.
    """
    dataset, tuning = Dataset.open(manifest), Tuning.load(tuned)
    job = _job(dataset, entry, seed, models, tuning)
    if _is_done(folder, job.fingerprint):
        return False
    require_entry(entry, dataset.schema, models)
    configured = entry.models(models)
    settings = tuning.applied(configured, {entry.trained: entry.name})
    with (
        stage_checkpoints(dataset, folder, "job", job.fingerprint),
        storage.atomic_directory(folder, JOB, "search", "runs", "transfer") as temporary,
    ):
        runs = temporary / "runs"
        if entry.model:
            baselines(manifest, [entry.model], settings, [seed], runs, entry.orders)
        else:
            own = entry.searched(seed)
            assert own, "an entry has a model or a search"
            found = temporary / "search"
            search(manifest, own, configured, found)
            retrain(manifest, found, settings, [seed], runs, controls=entry.controls)
            if entry.transfer:
                names = {name: f"{entry.name}-{name}" for name in entry.transfer}
                settings = tuning.applied(configured, names)
                transfer(manifest, found, entry.transfer, settings, [seed], temporary / "transfer")
        storage.write_folder_record(temporary / JOB, job, exclude_none=True)
    return True


def read_job(folder: Path) -> JobRecord:
    """Read the record of a job.

    Raises:
        StorageError: the job has not finished, or a file is missing, additional or damaged.
    """
    job = storage.read_record(folder / JOB, JobRecord)
    storage.verify_files(folder, job.files, JOB)
    return job


def _is_done(folder: Path, fingerprint: str) -> bool:
    """Whether the same job has finished; damaged files count as not finished."""
    if not (folder / JOB).is_file():
        return False
    try:
        return read_job(folder).fingerprint == fingerprint
    except UserError as error:
        warn(f"{error}; this job runs again")
        return False


def _job(dataset: Dataset, entry: Entry, seed: int, models: ModelsConfig, tuning: Tuning) -> JobRecord:
    """Describe a job; its fingerprint covers everything that its result depends on except the code."""
    used = {name: entry.models(models).raw(name) for name in ("default", entry.trained, *entry.transfer)}
    tuned = {target.name: tuning.settings(target.name) for target in entry.targets()}
    job = {
        "entry": entry.model_dump(mode="json", exclude={"title", "published", "published_for"}),
        "seed": seed,
        "models": used,
        **({"tuned": tuned} if tuning.models else {}),
        "data_fingerprint": dataset.data_fingerprint,
        "schema_fingerprint": dataset.schema.fingerprint,
    }
    if entry.same_for_every_seed(tuning.applied(entry.models(models), {entry.trained: entry.name})):
        job["seeds"] = "any"
    fingerprint = hashlib.sha256(json.dumps(job, sort_keys=True).encode()).hexdigest()
    return JobRecord.model_validate({**job, "fingerprint": fingerprint, "code_version": code_version()})
