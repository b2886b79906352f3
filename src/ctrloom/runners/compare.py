"""Run a comparison on this machine: data, jobs in several processes, then the table."""

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, redirect_stderr
from multiprocessing import get_context
from pathlib import Path

from ctrloom import interruption, memory, stages, storage
from ctrloom.config import CompareConfig, Entry
from ctrloom.config.errors import UserError
from ctrloom.config.tuning import TuningJob
from ctrloom.evaluation.results import Results
from ctrloom.progress import progress
from ctrloom.storage import Place
from ctrloom.tuning.record import Tuning, merged


def run_comparison(config: CompareConfig, output: Path, workers: int) -> Results:
    """Run the unfinished jobs in `output`, and write the table and the bundles there.

    The first failed job ends the comparison; finished jobs are kept.
    """
    with storage.locked(output):
        return _run_comparison(config, output, workers)


def _run_comparison(config: CompareConfig, output: Path, workers: int) -> Results:
    clean = stages.ingest(config.data, output / "data", engine=config)
    manifest = stages.vocabulary(clean, config.vocabulary, output / "data", engine=config)
    jobs, work = output / "jobs", config.jobs
    with _pool(workers) as pool:
        tuned = _tuned(manifest, config, output, pool) if config.tuning else None
        with interruption.starting():
            called = {
                pool.submit(_job, manifest, e, s, config, jobs, tuned): f"{e.name}, seed {s}" for e, s in work
            }
        _await(pool, called, "compare", "jobs")
    folders = [job_folder(jobs, entry, seed) for entry, seed in work]
    return stages.tabulate(
        manifest, config, folders, output / "comparison", bundles=output / "bundles", tuned=tuned
    )


def _tuned(manifest: str | Place, config: CompareConfig, output: Path, pool: ProcessPoolExecutor) -> Path:
    """Tune every entry once, before its seeds; returns the folder of `tuning.json`."""
    work = list(zip(config.entries, config.tuning_jobs(), strict=True))
    with interruption.starting():
        called = {pool.submit(_tune, manifest, job, config, output, entry): entry.name for entry, job in work}
    _await(pool, called, "tune", "entries")
    merged(Tuning.load(tuning_folder(output, entry)) for entry in config.entries).save(output)
    return output


def _await(pool: ProcessPoolExecutor, called: Mapping[Future[bool], str], title: str, unit: str) -> None:
    """Wait for all calls, whose results are False if there was nothing to do; the first error ends them.

    Raises:
        UserError: a call failed; the message names it.
    """
    with progress(title, len(called), unit) as advance:
        for future in as_completed(called):
            try:
                done = future.result()
            except BaseException as error:
                pool.shutdown(cancel_futures=True)
                if isinstance(error, BrokenProcessPool):
                    raise UserError(
                        f"{title}: a worker ended early; {memory.KILLED}, or lower --workers"
                    ) from None
                if isinstance(error, UserError | OSError):
                    raise UserError(f"{called[future]}: {error}") from error
                raise
            advance(1, called[future] if done else f"{called[future]}: already done")


def job_folder(jobs: Path, entry: Entry, seed: int) -> Path:
    """The results folder of one job."""
    return jobs / entry.name / f"seed-{seed}"


def tuning_folder(output: Path, entry: Entry) -> Path:
    """The folder of the tuning of one entry."""
    return output / "jobs" / entry.name / "tuning"


def _job(
    manifest: str | Place, entry: Entry, seed: int, config: CompareConfig, jobs: Path, tuned: Path | None
) -> bool:
    """Run one job."""
    folder = job_folder(jobs, entry, seed)
    with _log(folder):
        return stages.run_job(manifest, entry, seed, config.models, folder, tuned)


def _tune(manifest: str | Place, job: TuningJob, config: CompareConfig, output: Path, entry: Entry) -> bool:
    """Tune one entry."""
    assert config.tuning, "called only if there is tuning"
    with _log(folder := tuning_folder(output, entry)):
        stages.tune(manifest, job, config.tuning, output / "studies", folder)
    return True


@contextmanager
def _log(folder: Path) -> Iterator[None]:
    """Log to a file next to `folder`, because jobs run in parallel."""
    interruption.check()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{folder}.log", "a", encoding="utf-8") as log, redirect_stderr(log):
        yield


@contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that share the cores evenly; spawned, because torch does not survive a fork."""
    threads = str(max(1, (os.cpu_count() or 1) // workers))
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = threads  # read by the children when they load torch
    try:
        with ProcessPoolExecutor(workers, get_context("spawn"), interruption.install) as pool:
            try:
                yield pool
            except interruption.Stopped:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before
