"""One job of a comparison: an entry, searched and trained with one seed.

Files of a job: job.json      what was done; a job that has it is skipped
                search/       what the search of this seed found
                runs/         the trained models; those of a transfer are in transfer/
                failure.json  instead of all others: why it failed, and would fail again
"""

import hashlib
import json
from pathlib import Path

from ctrloom import storage
from ctrloom.config import Entry, ModelsConfig
from ctrloom.config.errors import UserError
from ctrloom.config.version import code_version
from ctrloom.data.dataset import Dataset
from ctrloom.progress import warn
from ctrloom.stages.feasibility import require_entry
from ctrloom.stages.job_records import FAILURE, JOB, JobRecord, read_job, write_failure
from ctrloom.stages.search_stage import search
from ctrloom.stages.training import baselines, retrain, transfer
from ctrloom.storage import Place
from ctrloom.training.checkpoints import stage_checkpoints
from ctrloom.tuning.record import Tuning

FILES = JOB, "search", "runs", "transfer", FAILURE


def run_job(
    manifest: str | Place,
    entry: Entry,
    seed: int,
    models: ModelsConfig,
    folder: Path,
    tuned: Path | None = None,
    *,
    draws: int = 1,
    record_failure: bool = False,
) -> bool:
    """Search and train one entry with one seed; False if `folder` already has it.

    `draws` is the number of random selections, if the entry has any: all of them are trained.

    The folder is written atomically; a stopped job continues from its checkpoints. `tuned` is the folder that
    tune wrote: models are trained with the settings in it, after a search with the configured ones.

    With `record_failure`, an error that follows from the configuration and the data (`from_inputs`) is
    written to `failure.json` instead of being raised, for the table to name it. A job that has this file runs
    again.
    """
    dataset, tuning = Dataset.open(manifest), Tuning.load(tuned)
    draws = draws if entry.has_random else 0
    job = _job(dataset, entry, seed, models, tuning, draws)
    if _is_done(folder, job.fingerprint):
        return False
    with stage_checkpoints(dataset, folder, "job", job.fingerprint):
        try:
            require_entry(entry, dataset.schema, models)
            with storage.atomic_directory(folder, *FILES) as temporary:
                _train(manifest, entry, seed, draws, entry.models(models), tuning, temporary)
                storage.write_folder_record(temporary / JOB, job, exclude_none=True)
        except UserError as error:
            if not (record_failure and error.from_inputs):
                raise
            with storage.atomic_directory(folder, *FILES) as temporary:
                write_failure(temporary, entry.name, seed, error)
            warn(f"{entry.name}, seed {seed}: failed, {error}")
    return True


def _train(
    manifest: str | Place,
    entry: Entry,
    seed: int,
    draws: int,
    configured: ModelsConfig,
    tuning: Tuning,
    folder: Path,
) -> None:
    runs, settings = folder / "runs", tuning.applied(configured, {entry.trained: entry.name})
    if entry.model:
        baselines(manifest, [entry.model], settings, [seed], runs, entry.orders)
        return
    own = entry.searched(seed, draws)
    assert own, "an entry has a model or a search"
    found = folder / "search"
    search(manifest, own, configured, found)
    retrain(manifest, found, settings, [seed], runs, controls=entry.controls)
    if entry.transfer:
        tuned = tuning.applied(configured, entry.tuned_transfers)
        transfer(manifest, found, entry.transfer, tuned, [seed], folder / "transfer")


def _is_done(folder: Path, fingerprint: str) -> bool:
    """Whether the same job has finished; damaged files count as not finished."""
    if not (folder / JOB).is_file():
        return False
    try:
        return read_job(folder).fingerprint == fingerprint
    except UserError as error:
        warn(f"{error}; this job runs again")
        return False


def _job(
    dataset: Dataset, entry: Entry, seed: int, models: ModelsConfig, tuning: Tuning, draws: int
) -> JobRecord:
    """Describe a job; its fingerprint covers everything that its result depends on except the code."""
    names = "default", entry.trained, *(each.model for each in entry.transfer)
    used = {name: entry.models(models).raw(name) for name in names}
    tuned = {target.name: tuning.settings(target.name) for target in entry.targets()}
    job = {
        "entry": entry.model_dump(mode="json", exclude={"title", "published", "published_for"}),
        "seed": seed,
        "models": used,
        **({"tuned": tuned} if tuning.models else {}),
        **({"draws": draws} if draws > 1 else {}),
        "data_fingerprint": dataset.data_fingerprint,
        "schema_fingerprint": dataset.schema.fingerprint,
    }
    if entry.same_for_every_seed(tuning.applied(entry.models(models), {entry.trained: entry.name})):
        job["seeds"] = "any"
    fingerprint = hashlib.sha256(json.dumps(job, sort_keys=True).encode()).hexdigest()
    return JobRecord.model_validate({**job, "fingerprint": fingerprint, "code_version": code_version()})
