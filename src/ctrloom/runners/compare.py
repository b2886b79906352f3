"""Run a comparison on this machine: data, jobs in several processes, then the table."""

import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager, redirect_stderr
from multiprocessing import get_context
from pathlib import Path

from ctrloom import stages
from ctrloom.config import CompareConfig, Entry
from ctrloom.config.errors import UserError
from ctrloom.evaluation.results import Results
from ctrloom.progress import progress
from ctrloom.storage import Place


def run_comparison(config: CompareConfig, output: Path, workers: int) -> Results:
    """Run the unfinished jobs in `output`, and write the table and the bundles there.

    The first failed job ends the comparison; finished jobs are kept.
    """
    clean = stages.ingest(config.data, output / "data", engine=config)
    manifest = stages.vocabulary(clean, config.vocabulary, output / "data", engine=config)
    jobs, work = output / "jobs", config.jobs
    with progress("compare", len(work), "jobs") as advance, _pool(workers) as pool:
        futures = {pool.submit(_job, manifest, e, s, config, jobs): f"{e.name}, seed {s}" for e, s in work}
        for future in as_completed(futures):
            try:
                done = future.result()
            except BaseException as error:
                pool.shutdown(cancel_futures=True)
                if isinstance(error, UserError | OSError):
                    raise UserError(f"{futures[future]}: {error}") from error
                raise
            advance(1, futures[future] if done else f"{futures[future]}: already done")
    folders = [job_folder(jobs, entry, seed) for entry, seed in work]
    return stages.tabulate(manifest, config, folders, output / "comparison", output / "bundles")


def job_folder(jobs: Path, entry: Entry, seed: int) -> Path:
    """The results folder of one job."""
    return jobs / entry.name / f"seed-{seed}"


def _job(manifest: str | Place, entry: Entry, seed: int, config: CompareConfig, jobs: Path) -> bool:
    """Run one job; logs to its own file, because jobs run in parallel."""
    folder = job_folder(jobs, entry, seed)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{folder}.log", "a", encoding="utf-8") as log, redirect_stderr(log):
        return stages.run_job(manifest, entry, seed, config.models, folder)


@contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that share the cores evenly; spawned, because torch does not survive a fork."""
    threads = str(max(1, (os.cpu_count() or 1) // workers))
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = threads  # read by the children when they load torch
    try:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            yield pool
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before
