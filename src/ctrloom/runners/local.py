"""Run the whole pipeline on this machine, through KFP's local runner: steps are processes or containers."""

import builtins
import glob
import itertools
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from pathlib import Path

from ctrloom import stages, storage
from ctrloom.config import METHODS, CompareConfig, Files, RunConfig
from ctrloom.config.environment import CHECKPOINTS, fast_children, set_unless_given
from ctrloom.config.errors import UserError
from ctrloom.config.extras import install, require_training
from ctrloom.config.version import code_digest
from ctrloom.data.sources.files import is_stored
from ctrloom.runners import compiled, resume
from ctrloom.runners.compiled import declared
from ctrloom.runners.console import Console
from ctrloom.runners.containers import ContainerOptions, Containers, steps_in
from ctrloom.runners.request import revision
from ctrloom.runners.run_folder import copy_results, remove_results
from ctrloom.runners.step_cache import verified_steps
from ctrloom.runners.step_order import fixed_order
from ctrloom.runners.step_process import stoppable_steps
from ctrloom.storage import Place
from ctrloom.tracking import tracked

TUNED = "collect-tuning", "tuned/tuning.json"  # step and artifact of the record of tuning
STEPS, ENDED = "steps", "executor_output.json"


class RunError(UserError):
    """A step of the pipeline failed; the message names it and its log."""


def arguments(config: RunConfig, store: Path | str) -> dict[str, object]:
    """Parameters of the pipeline: the sections of a run configuration, and the store."""
    excluded = {"searches", "expected", "search", "tracking"}  # no step needs the first two
    whole = config.model_dump(mode="json", exclude_none=True, exclude=excluded)  # KFP takes no null
    whole["search"] = config.search.model_dump(mode="json", exclude_none=True)
    names = {*config.baselines, *(each.model for each in config.transfer), config.search.base}
    chosen = {name: config.models.of(name) for name in names}
    whole["models"] = {n: h.model_dump(mode="json", exclude_none=True) for n, h in sorted(chosen.items())}
    seeds = list(config.seeds)  # given twice: a list is not there for the steps of the loop over it
    added = {"store": str(store), "run": whole, "draw_seeds": seeds, **_tuned(config), **_tracked(config)}
    return {**whole, **added}


def _tuned(config: RunConfig | CompareConfig) -> dict[str, object]:
    """The jobs of tuning, if there is any."""
    jobs = config.tuning_jobs() if config.tuning else ()
    return {"tunings": [job.model_dump(mode="json", exclude_none=True) for job in jobs]} if jobs else {}


def _tracked(config: RunConfig | CompareConfig) -> dict[str, object]:
    """The trackers, for the step that shows the run there."""
    its = config.tracking
    return {"tracking": its.model_dump(mode="json", exclude_none=True)} if its else {}


def comparison_arguments(config: CompareConfig, store: Path | str) -> dict[str, object]:
    """Parameters of the pipeline of a comparison."""
    whole = config.model_dump(mode="json", exclude_none=True, exclude={"tracking"})
    sections = ("data", "vocabulary", "models", "engine", "spark", "tuning")
    return {name: whole[name] for name in sections if name in whole} | {
        **_tuned(config),
        **_tracked(config),
        "store": str(store),
        "jobs": [
            {
                "entry": entry.model_dump(mode="json", exclude_none=True),
                "seed": seed,
                "draws": config.draws_of(entry, seed),
            }
            for entry, seed in config.jobs
        ],
        "comparison": whole,
    }


def run_local(
    config: RunConfig, output: Path, containers: ContainerOptions | None = None, store: str | None = None
) -> None:
    """Run every step in its own process or container; collect the results in the run directory `output`.

    If `store` is a URL, the results are also copied to `runs/<name of the run directory>` there. A stopped
    run resumes after its finished steps, unless something they depend on changed.

    Raises:
        RunError: a step failed, or KFP is not installed.
        EngineError: containers cannot be started.
        StorageError: the store cannot be written.
    """
    stages.require_feasible(config, here=containers is None)
    method = METHODS[config.search.method]
    pipeline, searches = method.pipeline, method.steps
    results = {  # place in the run directory -> step and artifact that it comes from
        "architecture.json": (searches[-1], "search/architecture.json"),
        "search.json": (searches[-1], "search/search.json"),
        "bundle": ("bundle", "best"),
        "transfer": ("bundle", "others"),
        "bundles": ("bundle", "bundles"),
        "metrics.json": ("evaluate", "evaluation/metrics.json"),
        "predictions.parquet": ("evaluate", "evaluation/predictions.parquet"),
        "report.html": ("evaluate", "evaluation/report.html"),
        **({"tuning.json": TUNED} if config.tuning else {}),
    }
    trained = ("retrain", *(["transfer"] if "transfer" in declared(pipeline) else []))
    tuning = ("tune", "collect-tuning") if config.tuning else ()
    plain = ("deterministic-baselines", "baselines")
    expected = ("ingest", "vocabulary", *searches, *tuning, *plain, *trained, "bundle", "evaluate")
    output = output.resolve()
    with storage.locked(output), tracked(config.tracking, config.name, output):
        storage.write_json(output / "config.json", config.model_dump(mode="json"))
        parameters = arguments(config, _absolute(store) if store else output / "data")
        truth = [config.evaluation.truth] if config.evaluation.truth else []
        given = {name: value for name, value in parameters.items() if name in declared(pipeline)}
        run_pipeline(pipeline, given, output, expected, results, config.data.files, truth, containers)


def compare_local(config: CompareConfig, output: Path) -> None:
    """Run a comparison with every job as a step; the table is in `output`/comparison.

    Entries that failed are left out of the table, and in `failed` of its results.

    Raises:
        RunError: a step failed, or KFP is not installed.
    """
    stages.require_feasible(config)
    # Not strict: the results name what failed, and a failed step would leave none.
    parameters = {**comparison_arguments(config, output.resolve() / "data"), "strict": False}
    tuning = ("tune", "collect-tuning") if config.tuning else ()
    expected = ("ingest", "vocabulary", *tuning, "compare-job", "compare-table", "require-complete")
    results = {
        "comparison": ("compare-table", "table"),
        "bundles": ("compare-table", "bundles"),
        **({"tuning.json": TUNED} if config.tuning else {}),
    }
    output = output.resolve()
    with tracked(config.tracking, config.name, output):
        run_pipeline("compare", parameters, output, expected, results, config.data.files)


def tune_local(config: RunConfig, output: Path) -> None:
    """Tune every model of a run with every trial as a step; the record is `output`/tuning.json.

    Raises:
        RunError: a step failed, or KFP is not installed.
    """
    stages.require_feasible(config.with_tuning())
    parameters = arguments(config.with_tuning(), output.resolve() / "data")
    given = {name: value for name, value in parameters.items() if name in declared("tune")}
    expected = ("ingest", "vocabulary", "search-plugin", "plan-trials", "tune-trial", "collect-tuning")
    output = output.resolve()
    with tracked(config.tracking, config.name, output):
        run_pipeline("tune", given, output, expected, {"tuning.json": TUNED}, config.data.files)


def run_pipeline(
    pipeline: str,
    parameters: Mapping[str, object],
    output: Path,
    expected: Sequence[str],
    results: Mapping[str, tuple[str, str]],
    files: Files,
    others: Sequence[str] = (),
    containers: ContainerOptions | None = None,
) -> None:
    """Run a compiled pipeline and copy its outputs to `results`; `expected` are its steps in order.

    A run that was stopped here is resumed, unless `files`, which it reads, or the local `others` changed.

    Raises:
        LockedError: another process writes to `output`.
        RunError: a step failed, or KFP is not installed.
        ConfigError: only what scoring needs is installed.
    """
    require_training()
    try:
        from kfp import components, local
    except ImportError:
        raise RunError(f"running the pipeline needs KFP: {install('pipelines')}") from None

    with storage.locked(output):
        # Trackers are called here, at the end.
        parameters = {name: value for name, value in parameters.items() if name != "tracking"}
        inputs, steps, store = local_files(files, *others), output / STEPS, str(parameters["store"])
        writable = [steps, *([Path(store)] if "://" not in store else [])]
        # A stopped step has another folder when it starts again.
        kept = {CHECKPOINTS: str(steps / "checkpoints")}
        prepared = Containers.prepare(containers, output, inputs, writable, kept) if containers else None
        text = compiled.for_one_machine(pipeline, parameters)
        code = prepared.image if prepared else code_digest()
        resuming = resume.begin(
            output, [text, parameters, code, *stored_revision(files)], resume.states(inputs)
        )
        remove_results(output, (*results, *([] if resuming else [STEPS])), inputs)
        steps.mkdir(parents=True, exist_ok=True)
        if prepared:
            prepared.let_write()
        loaded = components.load_component_from_text(text)
        local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(steps), enable_caching=True)
        log_file = output / "log.txt"
        with (
            open(log_file, "ab" if resuming else "wb", buffering=0) as log,
            redirect_stdout(Console(log)) as console,
            _one_log(),
            steps_in(prepared) if prepared else fast_children(),
            verified_steps(steps) as failures,
            stoppable_steps(),
            fixed_order(),
            set_unless_given(kept),
        ):
            try:
                loaded(**parameters)
            except RuntimeError as error:
                ended = finished_steps(steps)
                step = console.failed or next((each for each in expected if each not in ended), expected[-1])
                raise RunError(f"step {step}: {console.error or error}\n(full log: {log_file})") from None
        folders = finished_steps(steps)
        if missing := [step for step in expected if step not in folders]:
            # SUCCESS in KFP does not prove that a step ran
            raise RunError(f"step {missing[0]!r} failed; see the end of {log_file}")
        copy_results(output, {place: folders[step] / artifact for place, (step, artifact) in results.items()})
        if "://" in store:
            publish(output, results, storage.place(store) / "runs" / output.name)
        if not failures:  # otherwise the same command tries these jobs again, and keeps the others
            resume.finish(output)


def publish(output: Path, results: Iterable[str], to: Place) -> None:
    """Copy results of a run directory to a place.

    Raises:
        StorageError: it cannot be written.
    """
    for name in results:
        (storage.upload if (output / name).is_dir() else storage.put)(output / name, to / name)


def finished_steps(steps: Path) -> dict[str, Path]:
    """Folders of the successful steps, newest last; KFP numbers a step that is in several branches."""
    # Unlike rglob, os.walk passes over temporary folders that a running step renames meanwhile.
    ended = [Path(folder, ENDED) for folder, _, files in os.walk(steps) if ENDED in files]
    ended.sort(key=lambda path: path.stat().st_mtime_ns)
    return {re.sub(r"(-\d+)+$", "", path.parent.name): path.parent for path in ended}


def _absolute(store: str) -> str:
    at = storage.place(store)
    return str(at.absolute() if isinstance(at, Path) else at)


def local_files(files: Files, *others: str) -> list[Path]:
    """Local files that the steps of a run read."""
    local = [name.removeprefix("file://") for name in files.all if re.match(r"file://|(?!.*://)", name)]
    found = [[name] if Path(name).exists() else glob.glob(name, recursive=True) for name in local]
    return sorted({Path(path).absolute() for path in [*itertools.chain(*found), *others]})


def stored_revision(files: Files) -> list[str]:
    """The version of the files in an object store, if there are any."""
    return [revision(files)] if any(map(is_stored, files.all)) else []


@contextmanager
def _one_log() -> Iterator[None]:
    """KFP's log goes to standard output during the whole run.

    KFP exchanges the handlers of the root logger and `print` for each step and restores them after it, which
    mixes them up if steps run in parallel: a failure went to the terminal, without the name of its step.
    """
    from kfp.local import logging_utils

    stock, before = logging_utils.local_logger_context, builtins.print
    with stock():
        logging_utils.local_logger_context = nullcontext
        try:
            yield
        finally:
            logging_utils.local_logger_context, builtins.print = stock, before
