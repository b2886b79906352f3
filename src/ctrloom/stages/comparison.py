"""Compare methods and models: one table over what all jobs trained."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from ctrloom import storage
from ctrloom.config import METHODS, MODELS, SPLITS, CompareConfig, Entry
from ctrloom.config.extras import training_packages
from ctrloom.config.search import WITHOUT_RETRAINING
from ctrloom.config.version import code_version
from ctrloom.data.dataset import Dataset
from ctrloom.evaluation.compare import ModelScores, compare_models
from ctrloom.evaluation.failed_entries import require_some
from ctrloom.evaluation.results import Results
from ctrloom.evaluation.search_analysis import analyse
from ctrloom.evaluation.stability import stability
from ctrloom.progress import progress
from ctrloom.search_trace import SearchTrace
from ctrloom.stages.bundles import FILES as BUNDLES
from ctrloom.stages.bundles import write_bundles
from ctrloom.stages.details import require_columns, with_groups, with_segments, write_predictions
from ctrloom.stages.evaluation import (
    METRICS,
    PREDICTIONS,
    described,
    labels_of,
    merged_seeds,
    planted,
    scored,
    with_draws,
    with_tuned_limits,
)
from ctrloom.stages.job_records import Jobs
from ctrloom.stages.search_stage import TRACE
from ctrloom.stages.training import title_of
from ctrloom.storage import Place
from ctrloom.training.batch_sources import BatchSources
from ctrloom.training.runs import Run, open_runs
from ctrloom.training.torch_state import restored_torch_state
from ctrloom.tuning.record import Tuning

TABLE, PAGE = "table.csv", "comparison.html"
FILES = METRICS, PREDICTIONS, TABLE, PAGE


@restored_torch_state()
def tabulate(
    manifest: str | Place,
    config: CompareConfig,
    jobs: Sequence[Path],
    output: Path,
    *,
    bundles: Path | None = None,
    tuned: Path | None = None,
    failed: Mapping[str, str] | None = None,
) -> Results:
    """Test all that the jobs trained on the same rows.

    Writes `metrics.json`, `table.csv`, `predictions.parquet` and `comparison.html`. `jobs` are the folders
    that `run_job` wrote, `tuned` is the one that tune wrote. The folder `bundles` receives the best model on
    the validation split, and the models in `config.bundles` that are in the table. Only this stage of a
    comparison reads the test split, and nothing is chosen on it. Entries in `failed`, and those with a job
    that recorded a failure, are left out with the reason; if `evaluation.base` is one of them, all are
    compared with the first entry that is left.

    Raises:
        EntriesFailedError: all entries failed.
        StorageError: a job is missing, or given twice.
    """
    storage.require_own(output, *FILES)
    if bundles:
        storage.require_own(bundles, *BUNDLES)
    dataset = Dataset.open(manifest)
    require_columns(dataset, config.evaluation)
    done = Jobs.read(jobs)
    reasons, titles = {**(failed or {}), **done.failed}, titles_of(config.entries)
    failed = {entry.name: reasons[entry.name] for entry in config.entries if entry.name in reasons}
    entries = [entry for entry in config.entries if entry.name not in failed]
    require_some(entries, failed)
    sources = BatchSources(dataset, *SPLITS[1:])
    scores: list[ModelScores] = []
    runs: dict[str, list[_Named]] = {}  # of every seed, by the name of the row
    traces: dict[str, list[SearchTrace]] = {}  # of every seed, by entry
    notes = [f"{titles[name]} failed and is left out: {reason}" for name, reason in failed.items()]
    evaluation, truth = config.evaluation, planted(config.evaluation)
    if evaluation.base in failed:
        evaluation = evaluation.model_copy(update={"base": entries[0].name})
        base, instead = titles[config.evaluation.base], titles[evaluation.base]
        notes.append(f"All are compared with {instead} instead of {base}.")
    with progress("compare", len(entries), "entries") as advance:
        for entry in entries:
            title, seeds = titles[entry.name], config.seeds_of(entry)
            own = [done.of(entry.name, seed) for seed in seeds]
            per_seed = [_runs_of(folder, entry, title) for folder in own]
            complete = _in_all_seeds(per_seed)
            runs |= complete
            for same in complete.values():
                whole = merged_seeds([_scores_of(one, entry, dataset, sources) for one in same])
                # Each seed has a search, so that no two of its selections are the same draw.
                scores.append(with_draws(whole, len(whole.seeds) if same[0].drawn else 0))
            if entry.search:
                found = [SearchTrace.load(folder / "search" / TRACE) for folder in own]
                traces[entry.name] = [trace.model_copy(update={"planted": truth}) for trace in found]
            notes += _left_out(entry, title, seeds, per_seed)
            advance(1)
    tuning = Tuning.load(tuned)
    scores = with_tuned_limits(scores, tuning)
    valid, test = labels_of(dataset, "valid"), labels_of(dataset, "test")
    summary = described(dataset, config.name)
    results = compare_models(
        scores, valid, test, summary, evaluation, code_version(), config.model_dump(mode="json")
    )
    agreements = [stability(e.name, config.seeds_of(e), traces[e.name]) for e in entries if e.search]
    results = results.model_copy(
        update={
            "notes": tuple(notes),
            "failed": failed,
            "stability": tuple(filter(None, agreements)),
            "searches": tuple(analyse(name, each, summary.sizes) for name, each in traces.items()),
            "tuning": tuning.summary([model.name for model in scores]),
        }
    )
    results = with_groups(results, scores, dataset, valid, test)
    results = with_segments(results, scores, [results.best.name, results.base], dataset, test)
    with training_packages():
        from ctrloom.report.comparison import render  # loads matplotlib

    published = {name: figure for e in config.entries for name, figure in e.figures().items()}
    with storage.atomic_directory(output, *FILES) as temporary:
        results.save(temporary / METRICS)
        write_predictions(dataset, scores, config.evaluation.columns, temporary / PREDICTIONS)
        title = config.title or config.name
        render(results, traces, published, title, config.note, temporary / TABLE, temporary / PAGE)
    if bundles:
        trained = {name: [one.run for one in same] for name, same in runs.items()}
        shown = {name: same[0].title for name, same in runs.items()}
        wanted = [name for name in config.bundles if name in runs]
        write_bundles(dataset, trained, wanted, bundles, shown)
    return results


class _Named(NamedTuple):
    """A trained model of a job, with the name and title of its row in the table."""

    name: str
    title: str
    run: Run
    against: str | None
    search_seconds: float
    drawn: bool = False  # at random


def titles_of(entries: Sequence[Entry]) -> dict[str, str]:
    """A title for each entry by name; titles that several would have are followed by the name."""
    titles = {entry.name: entry.title or _default_title(entry) for entry in entries}
    shared = Counter(titles.values())
    return {name: f"{title} ({name})" if shared[title] > 1 else title for name, title in titles.items()}


def _default_title(entry: Entry) -> str:
    plain = MODELS[entry.trained].title
    method = METHODS[entry.search.method].title if entry.search else plain
    return plain if method == plain else f"{plain} by {method}"


def _in_all_seeds(per_seed: Sequence[Mapping[str, _Named]]) -> dict[str, list[_Named]]:
    """The models of an entry; those that some seeds lack, whose search found nothing, are left out.

    Of a baseline that every seed gives the same model of, the first is taken; a search differs by seed.
    """
    names = [name for name in per_seed[0] if all(name in found for found in per_seed)]
    every = {name: [found[name] for found in per_seed] for name in names}
    return {name: same[:1] if _same_for_every_seed(same[0].run) else same for name, same in every.items()}


def _same_for_every_seed(run: Run) -> bool:
    return run.record.deterministic and run.record.kind == "baseline"


def _left_out(
    entry: Entry, title: str, seeds: Sequence[int], per_seed: Sequence[Mapping[str, _Named]]
) -> list[str]:
    """A sentence about the controls and transfers that are left out, if any."""
    lacking = [set(entry.names) - set(found) for found in per_seed]
    names = [name for name in entry.names if any(name in lacks for lacks in lacking)]
    if not names:
        return []
    empty = ", ".join(str(seed) for seed, lacks in zip(seeds, lacking, strict=True) if lacks)
    plural = "s" if "," in empty else ""
    return [f"{title} found no interaction with seed{plural} {empty}; left out: {', '.join(names)}."]


def _runs_of(folder: Path, entry: Entry, title: str) -> dict[str, _Named]:
    """Everything that one job trained, by its name in the table."""
    trace = folder / "search" / TRACE
    seconds = SearchTrace.load(trace).seconds if trace.is_file() else 0.0
    found = {}
    plain = MODELS[entry.trained].title
    for run in sorted(open_runs(folder / "runs"), key=lambda run: run.record.name != entry.trained):
        name, shown, control = entry.name, title, None
        if run.record.kind == "control":
            control = run.record.name.removeprefix(f"{entry.trained}-")
            name, shown = f"{entry.name}-{control}", run.record.title.replace(plain, title)
        found[name] = _Named(
            name,
            shown,
            run,
            against=entry.name if control else None,
            search_seconds=seconds if control in (None, WITHOUT_RETRAINING) else 0.0,
            drawn=control == "random",
        )
    moved = {run.record.name: run for run in open_runs(folder / "transfer")} if entry.transfer else {}
    plain_rows = {each.model: f"{entry.name}-{each.name}" for each in entry.transfer if each.of == "found"}
    for each in (each for each in entry.transfer if f"{each.name}-transfer" in moved):
        name = f"{entry.name}-{each.name}"
        selected = title_of(each.of, entry.trained).replace(plain, title) + ","
        found[name] = _Named(
            name,
            f"{title if each.of == 'found' else selected} to {MODELS[each.model].title}",
            moved[f"{each.name}-transfer"],
            against=None if each.of == "found" else plain_rows.get(each.model, entry.name),
            search_seconds=0.0 if each.is_control else seconds,
            drawn=each.of == "random",
        )
    return found


def _scores_of(one: _Named, entry: Entry, dataset: Dataset, sources: BatchSources) -> ModelScores:
    scores = scored(one.run, dataset, sources)
    limited_by, limit = scores.limited_by, (scores.limited_by or "").rpartition(".")[2]
    if one.run.record.model == entry.trained and limit in entry.settings:
        limited_by = f"entries.{entry.name}.settings.{limit}"
    return replace(
        scores,
        name=one.name,
        title=one.title,
        counterpart=one.against,
        search_seconds=one.search_seconds,
        deterministic=_same_for_every_seed(one.run),
        limited_by=limited_by,
    )
