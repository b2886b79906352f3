"""What the jobs of a comparison left in their folders."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

from ctrloom import storage
from ctrloom.config.base import StrictModel
from ctrloom.config.version import code_version
from ctrloom.storage import StorageError

JOB, FAILURE = "job.json", "failure.json"


class JobRecord(storage.FolderRecord):
    """`job.json`: everything that the result of a job depends on."""

    entry: dict[str, Any]
    seed: int
    models: dict[str, Any]
    tuned: dict[str, Any] | None = None  # settings, if there was tuning
    draws: int = 1  # random selections, if the entry has any
    data_fingerprint: str
    schema_fingerprint: str
    seeds: Literal["any"] | None = None  # a previous version trained one per seed, so its jobs do not count
    fingerprint: str  # covers all above, but not the code
    code_version: str


class FailureRecord(StrictModel):
    """`failure.json`: why a job failed, and would fail again; its folder has nothing else."""

    version: Literal[1] = 1
    entry: str
    seed: int
    reason: str
    code_version: str


class Jobs(NamedTuple):
    """Folders of finished jobs by entry and seed, and why entries failed."""

    folders: dict[tuple[str, int], Path]
    failed: dict[str, str]

    @classmethod
    def read(cls, folders: Sequence[Path]) -> Self:
        """Read the records in all folders.

        Raises:
            StorageError: a job has not finished, is there twice, or is damaged.
        """
        found, failed = dict[tuple[str, int], Path](), dict[str, str]()
        for folder in folders:
            failure = read_failure(folder)
            if failure:
                key = failure.entry, failure.seed
                failed.setdefault(failure.entry, reason_of(failure.seed, failure.reason))
            else:
                job = read_job(folder)
                key = str(job.entry.get("name")), job.seed
            if key in found:
                raise StorageError(
                    f"entry {key[0]!r}, seed {key[1]}: duplicate jobs: {found[key]} and {folder}"
                )
            found[key] = folder
        return cls({key: folder for key, folder in found.items() if key[0] not in failed}, failed)

    def of(self, entry: str, seed: int) -> Path:
        """The folder of one job.

        Raises:
            StorageError: it has not finished.
        """
        if (entry, seed) not in self.folders:
            raise StorageError(
                f"entry {entry!r}, seed {seed}: this job has not finished; run the comparison again"
            )
        return self.folders[entry, seed]


def read_job(folder: Path) -> JobRecord:
    """Read the record of a finished job.

    Raises:
        StorageError: the job has not finished, or a file is missing, additional or damaged.
    """
    job = storage.read_record(folder / JOB, JobRecord)
    storage.verify_files(folder, job.files, JOB)
    return job


def read_failure(folder: Path) -> FailureRecord | None:
    """Read the record of a failed job; None if it has not failed.

    Raises:
        StorageError: the record is damaged.
    """
    if not (folder / FAILURE).is_file():
        return None
    return storage.read_record(folder / FAILURE, FailureRecord)


def write_failure(folder: Path, entry: str, seed: int, error: Exception) -> None:
    """Write `failure.json` into the folder of a job."""
    record = FailureRecord(entry=entry, seed=seed, reason=str(error), code_version=code_version())
    storage.write_record(folder / FAILURE, record)


def reason_of(seed: int, reason: str) -> str:
    """Why an entry failed, of which one job did."""
    return f"seed {seed}: {reason}"
