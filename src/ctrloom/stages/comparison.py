"""Compare methods and models: one table over what all jobs trained."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ctrloom import storage
from ctrloom.config import METHODS, MODELS, SPLITS, CompareConfig, Entry
from ctrloom.config.version import code_version
from ctrloom.data.dataset import Dataset
from ctrloom.evaluation.compare import ModelScores, compare_models
from ctrloom.evaluation.results import Results
from ctrloom.progress import progress
from ctrloom.search_trace import SearchTrace
from ctrloom.stages.comparison_job import JOB
from ctrloom.stages.evaluation import METRICS, described, labels_of, merged_seeds, scored
from ctrloom.stages.search_stage import TRACE
from ctrloom.storage import Place
from ctrloom.training.batch_sources import BatchSources
from ctrloom.training.runs import open_runs
from ctrloom.training.torch_state import restored_torch_state

TABLE, PAGE = "table.csv", "comparison.html"


@restored_torch_state()
def tabulate(manifest: str | Place, config: CompareConfig, jobs: Sequence[Path], output: Path) -> Results:
    """Test all that the jobs trained on the same rows; write `metrics.json`, `table.csv`, `comparison.html`.

    `jobs` are the folders that `run_job` wrote. Only this stage of a comparison reads the test split, and
    nothing is chosen on it.

    Raises:
        StorageError: a job is missing, or given twice.
    """
    dataset = Dataset.open(manifest)
    folders: dict[tuple[str, int], Path] = {}
    for folder in jobs:
        done = storage.read_json(folder / JOB)
        key = done["entry"]["name"], done["seed"]
        if key in folders:
            raise storage.StorageError(
                f"entry {key[0]!r}, seed {key[1]}: duplicate jobs: {folders[key]} and {folder}"
            )
        folders[key] = folder
    sources = BatchSources(dataset, *SPLITS[1:])
    scores: list[ModelScores] = []
    notes: list[str] = []
    titles = titles_of(config.entries)
    with progress("compare", len(config.entries), "entries") as advance:
        for entry in config.entries:
            per_seed = [
                _scores_of(_done(folders, entry, seed), entry, titles[entry.name], dataset, sources)
                for seed in config.seeds
            ]
            scores += _in_all_seeds(per_seed)
            notes += _left_out(entry, titles[entry.name], config.seeds, per_seed)
            advance(1)
    results = compare_models(
        scores,
        labels_of(dataset, "valid"),
        labels_of(dataset, "test"),
        described(dataset, config.name),
        config.evaluation,
        code_version(),
        config.model_dump(mode="json"),
    ).model_copy(update={"notes": tuple(notes)})
    from ctrloom.report.comparison import render  # loads matplotlib

    published = {name: figure for e in config.entries for name, figure in e.figures().items()}
    with storage.atomic_directory(output) as temporary:
        results.save(temporary / METRICS)
        render(
            results, published, config.title or config.name, config.note, temporary / TABLE, temporary / PAGE
        )
    return results


def _done(folders: Mapping[tuple[str, int], Path], entry: Entry, seed: int) -> Path:
    if (entry.name, seed) not in folders:
        raise storage.StorageError(
            f"entry {entry.name!r}, seed {seed}: this job has not finished; run the comparison again"
        )
    return folders[entry.name, seed]


def titles_of(entries: Sequence[Entry]) -> dict[str, str]:
    """A title for each entry by name; titles that several would have are followed by the name."""
    titles = {entry.name: entry.title or _default_title(entry) for entry in entries}
    shared = Counter(titles.values())
    return {name: f"{title} ({name})" if shared[title] > 1 else title for name, title in titles.items()}


def _default_title(entry: Entry) -> str:
    plain = MODELS[entry.trained].title
    method = METHODS[entry.search.method].title if entry.search else plain
    return plain if method == plain else f"{plain} by {method}"


def _in_all_seeds(per_seed: Sequence[Sequence[ModelScores]]) -> list[ModelScores]:
    """The models of an entry; those that some seeds lack, whose search found nothing, are left out."""
    by_name = [{scores.name: scores for scores in seed} for seed in per_seed]
    names = [name for name in by_name[0] if all(name in found for found in by_name)]
    return [merged_seeds([found[name] for found in by_name]) for name in names]


def _left_out(
    entry: Entry, title: str, seeds: Sequence[int], per_seed: Sequence[Sequence[ModelScores]]
) -> list[str]:
    """A sentence about the controls and transfers that are left out, if any."""
    wanted = [f"{entry.name}-{part}" for part in (*entry.controls, *entry.transfer)]
    lacking = [set(wanted) - {scores.name for scores in seed} for seed in per_seed]
    names = [name for name in wanted if any(name in lacks for lacks in lacking)]
    if not names:
        return []
    empty = ", ".join(str(seed) for seed, lacks in zip(seeds, lacking, strict=True) if lacks)
    plural = "s" if "," in empty else ""
    return [f"{title} found no interaction with seed{plural} {empty}; left out: {', '.join(names)}."]


def _scores_of(
    folder: Path, entry: Entry, title: str, dataset: Dataset, sources: BatchSources
) -> list[ModelScores]:
    """Scores of everything that one job trained, named after its entry."""
    trace = folder / "search" / TRACE
    seconds = SearchTrace.load(trace).seconds if trace.is_file() else 0.0
    runs = [
        run for part in ("runs", "transfer") if (folder / part).is_dir() for run in open_runs(folder / part)
    ]
    found = []
    plain = MODELS[entry.trained].title
    for run in sorted(runs, key=lambda run: run.record.name != entry.trained):
        name, shown = entry.name, title
        if run.record.kind == "control":
            name = f"{entry.name}-{run.record.name.removeprefix(f'{entry.trained}-')}"
            shown = run.record.title.replace(plain, title)
        elif run.record.kind == "transfer":
            name, shown = f"{entry.name}-{run.record.model}", f"{title} to {MODELS[run.record.model].title}"
        scores = scored(run, dataset, sources)
        limit = (scores.limited_by or "").rpartition(".")[2]
        if run.record.model == entry.trained and limit in entry.settings:
            scores = replace(scores, limited_by=f"entries.{entry.name}.settings.{limit}")
        searched = seconds if run.record.kind in ("retrained", "transfer") else 0.0
        against = entry.name if run.record.kind == "control" else None
        found.append(replace(scores, name=name, title=shown, counterpart=against, search_seconds=searched))
    return found
