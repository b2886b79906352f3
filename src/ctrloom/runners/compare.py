"""Run a comparison on this machine: data, jobs in several processes, then the table."""

import os
import traceback
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, redirect_stderr
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from ctrloom import interruption, memory, stages, storage
from ctrloom.config import CompareConfig, Entry
from ctrloom.config.errors import UserError
from ctrloom.config.tuning import TuningJob
from ctrloom.data.dataset import Dataset
from ctrloom.evaluation.failed_entries import require_some
from ctrloom.evaluation.results import Results
from ctrloom.progress import Advance, progress
from ctrloom.stages.job_records import reason_of
from ctrloom.storage import Place
from ctrloom.tracking import tracked
from ctrloom.tuning.record import Tuning, merged

Calls = Mapping[tuple[Any, ...], Callable[[], bool]]  # by entry, or entry and seed


def run_comparison(config: CompareConfig, output: Path, workers: int) -> Results:
    """Run the unfinished jobs in `output`, and write the table and the bundles there.

    Everything is checked before the first job. An entry that fails nevertheless is left out of the table, and
    in `failed` of the results; all others are finished.

    Raises:
        ConfigError: an entry cannot be trained.
        EntriesFailedError: all entries failed.
    """
    stages.require_feasible(config)
    with storage.locked(output), tracked(config.tracking, config.name, output):
        return _run_comparison(config, output, workers)


def _run_comparison(config: CompareConfig, output: Path, workers: int) -> Results:
    clean = stages.ingest(config.data, output / "data", engine=config)
    manifest = stages.vocabulary(clean, config.vocabulary, output / "data", engine=config)
    stages.require_feasible(config, Dataset.open(manifest).schema)
    jobs, failed, tuned = output / "jobs", dict[str, str](), None
    if config.tuning:
        tuned, failed = _tuned(manifest, config, output, workers)
    work = [(entry, seed) for entry, seed in config.jobs if entry.name not in failed]
    calls = {(e.name, s): partial(_job, manifest, e, s, config, jobs, tuned) for e, s in work}
    for (name, seed), reason in _called(calls, workers, "compare", "jobs").items():
        failed.setdefault(name, reason_of(seed, reason))
    folders = [job_folder(jobs, entry, seed) for entry, seed in work if entry.name not in failed]
    table, bundles = output / "comparison", output / "bundles"
    return stages.tabulate(manifest, config, folders, table, bundles=bundles, tuned=tuned, failed=failed)


def _tuned(
    manifest: str | Place, config: CompareConfig, output: Path, workers: int
) -> tuple[Path, dict[str, str]]:
    """Tune every entry once, before its seeds; returns the folder of `tuning.json`, and what failed."""
    work = zip(config.entries, config.tuning_jobs(), strict=True)
    calls = {(entry.name,): partial(_tune, manifest, job, config, output, entry) for entry, job in work}
    failed = {name: reason for (name,), reason in _called(calls, workers, "tune", "entries").items()}
    tuned = [entry for entry in config.entries if entry.name not in failed]
    require_some(tuned, failed)
    merged(Tuning.load(tuning_folder(output, entry)) for entry in tuned).save(output)
    return output, failed


def _called(calls: Calls, workers: int, title: str, unit: str) -> dict[tuple[Any, ...], str]:
    """Make all calls in processes; returns why calls failed.

    A call returns False if there was nothing to do. When a process dies, all calls in progress are lost: they
    are made again one by one, to find the one that it dies of.
    """
    with progress(title, len(calls), unit) as advance:
        failed, lost = _attempted(calls, workers, advance)
        for key in lost:
            interruption.check()
            alone, died = _attempted({key: calls[key]}, 1, advance)
            failed |= alone | dict.fromkeys(died, f"its process died; {memory.KILLED}")
    return failed


def _attempted(
    calls: Calls, workers: int, advance: Advance
) -> tuple[dict[tuple[Any, ...], str], list[tuple[Any, ...]]]:
    """Why calls failed, and which calls a dying process took along."""
    failed, lost = dict[tuple[Any, ...], str](), list[tuple[Any, ...]]()
    with _pool(workers) as pool:
        with interruption.starting():
            keys = {pool.submit(call): key for key, call in calls.items()}
        try:
            for future in as_completed(keys):
                key = keys[future]
                said = ", seed ".join(map(str, key))
                try:
                    done = future.result()
                except BrokenProcessPool:
                    lost.append(key)
                    continue
                except Exception as error:
                    failed[key] = str(error) if isinstance(error, UserError | OSError) else repr(error)
                    advance(1, f"{said}: failed, {failed[key]}")
                    continue
                advance(1, said if done else f"{said}: already done")
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return failed, lost


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
        draws = config.draws_of(entry, seed)
        return stages.run_job(manifest, entry, seed, config.models, folder, tuned, draws=draws)


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
        try:
            yield
        except UserError:
            raise
        except Exception:
            traceback.print_exc()  # the process that waits prints only the message
            raise


def _begin() -> None:
    """What a worker process does first."""
    interruption.install()


@contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that share the cores evenly; spawned, because torch does not survive a fork."""
    threads = str(max(1, (os.cpu_count() or 1) // workers))
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = threads  # read by the children when they load torch
    try:
        with ProcessPoolExecutor(workers, get_context("spawn"), _begin) as pool:
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
