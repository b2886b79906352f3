"""Run a comparison on this machine: data, jobs in several processes, then the table."""

import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager, redirect_stderr
from multiprocessing import get_context
from pathlib import Path

from ctrloom import stages
from ctrloom.config import CompareConfig, Entry
from ctrloom.evaluation.results import Results
from ctrloom.progress import progress
from ctrloom.storage import Place


def run_comparison(config: CompareConfig, output: Path, workers: int) -> Results:
    """Do the jobs that are not done yet in `output`, and write the table there.

    The first job that fails ends the comparison; those that were done before are kept.
    """
    clean = stages.ingest(config.data, output / "data", config)
    manifest = stages.vocabulary(clean, config.vocabulary, output / "data", config)
    jobs, work = output / "jobs", [(entry, seed) for entry in config.entries for seed in config.seeds]
    with progress("compare", len(work), "jobs") as advance, _pool(workers) as pool:
        futures = {pool.submit(_job, manifest, e, s, config, jobs): f"{e.name}, seed {s}" for e, s in work}
        for future in as_completed(futures):
            try:
                done = future.result()
            except Exception as error:
                pool.shutdown(cancel_futures=True)
                raise ValueError(f"{futures[future]}: {error}") from error
            advance(1, futures[future] if done else f"{futures[future]}: was done before")
    return stages.tabulate(manifest, config, [job_folder(jobs, e, s) for e, s in work], output / "comparison")


def job_folder(jobs: Path, entry: Entry, seed: int) -> Path:
    """Where the results of one job are."""
    return jobs / entry.name / f"seed-{seed}"


def _job(manifest: str | Place, entry: Entry, seed: int, config: CompareConfig, jobs: Path) -> bool:
    """One job; what it says goes to a file of its own, for several of them run at a time."""
    folder = job_folder(jobs, entry, seed)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{folder}.log", "a", encoding="utf-8") as log, redirect_stderr(log):
        return stages.run_job(manifest, entry, seed, dict(config.models), folder)


@contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that share the cores evenly; each starts afresh, for torch does not survive a fork."""
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
