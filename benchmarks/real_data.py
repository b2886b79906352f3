"""Real data: every entry tuned with the same budget on validation rows, then trained with three seeds.

    python benchmarks/real_data.py coupon frappe [--entries gbdt fm predictive] [--set tuning.trials=10]

The data sets are the files of `benchmarks/real_data`; docs/small-data.md says where their rows come from. An
interrupted run resumes. The model with the best validation logloss is the base of the paired tests; the test
rows are read once, after everything is trained.
"""

import argparse
import datetime
from pathlib import Path

import fast  # noqa: F401
import numpy as np
from machine import describe

from ctrloom import stages
from ctrloom.architecture import Architecture
from ctrloom.config import CompareConfig, Entry
from ctrloom.config.files import load_compare_config
from ctrloom.data.dataset import Dataset
from ctrloom.evaluation.results import ModelResult, Results, Spread, Versus
from ctrloom.metrics.measure import auc, row_logloss
from ctrloom.stages.evaluation import scored
from ctrloom.storage import Place
from ctrloom.training.batch_sources import BatchSources
from ctrloom.training.runs import Run, open_runs
from ctrloom.tuning.record import Tuning, TuningSummary, merged

HERE = Path(__file__).parent
HEAD = (
    "| model | trials (pruned) | validation logloss, first trial | tuned | validation AUC | test AUC "
    "| test logloss | AUC - best (95 % interval) | adjusted p | logloss - best | adjusted p |\n"
    "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n"
)


def compare(config: CompareConfig, manifest: str | Place, output: Path) -> Results:
    """Tune and train all entries, then test them against the best on validation rows."""
    assert config.tuning, "base.yaml has a budget"
    for entry, job in zip(config.entries, config.tuning_jobs(), strict=True):
        stages.tune(manifest, job, config.tuning, output / "studies", folder(output, entry, "tuning"))
        print(f"{config.name}: {entry.name} tuned", flush=True)
    merged(Tuning.load(folder(output, entry, "tuning")) for entry in config.entries).save(output)
    jobs = [(entry, seed) for entry in config.entries for seed in config.seeds]
    for entry, seed in jobs:
        stages.run_job(manifest, entry, seed, config.models, folder(output, entry, f"seed-{seed}"), output)
    best = best_entry(config, output)
    config = config.model_copy(update={"evaluation": config.evaluation.model_copy(update={"base": best})})
    folders = [folder(output, entry, f"seed-{seed}") for entry, seed in jobs]
    return stages.tabulate(manifest, config, folders, output / "comparison", tuned=output)


def folder(output: Path, entry: Entry, part: str) -> Path:
    """The folder of the tuning, or of one seed, of an entry."""
    return output / "jobs" / entry.name / part


def runs_of(config: CompareConfig, output: Path) -> dict[str, list[Run]]:
    """The trained models by the name of their row, one run per seed."""
    found: dict[str, list[Run]] = {}
    for entry in config.entries:
        for seed in config.seeds:
            whole = folder(output, entry, f"seed-{seed}")
            found.setdefault(entry.name, []).extend(open_runs(whole / "runs"))
            for run in open_runs(whole / "transfer") if entry.transfer else []:
                found.setdefault(f"{entry.name}-{run.record.model}", []).append(run)
    return found


def best_entry(config: CompareConfig, output: Path) -> str:
    """The row with the best mean validation logloss, of those that every seed has."""
    loss = {
        name: np.mean([run.record.seeds[0].history.best_epoch.valid_logloss for run in runs])
        for name, runs in runs_of(config, output).items()
        if len(runs) == len(config.seeds)
    }
    return min(loss, key=lambda name: loss[name])


def kept(config: CompareConfig, output: Path) -> str:
    """How many interactions the search of every seed kept."""
    lines = []
    for entry in config.entries:
        if entry.search:
            folders = [folder(output, entry, f"seed-{seed}") / "search" for seed in config.seeds]
            found = [len(Architecture.load(each / "architecture.json").interactions) for each in folders]
            lines.append(f"{entry.title} {', '.join(map(str, found))}")
    return f"Interactions kept, by seed ({', '.join(map(str, config.seeds))}): {'; '.join(lines)}."


def table(results: Results) -> str:
    """One row per model, best validation logloss first."""
    tuning = results.tuning
    assert tuning, "every entry was tuned"
    ordered = sorted(results.models, key=lambda model: model.summary["valid"]["logloss"].mean)
    return HEAD + "".join(row(model, results, tuning) for model in ordered)


def row(model: ModelResult, results: Results, tuning: TuningSummary) -> str:
    """The figures of one model."""
    tuned = next(each for each in tuning.models if each.name == model.name)
    valid, test, versus = model.summary["valid"], model.summary["test"], results.versus_base(model.name)
    first = "-" if tuned.first is None else f"{tuned.first:.4f}"
    return (
        f"| {model.title} | {tuned.trials} ({tuned.pruned}) | {first} | {tuned.best:.4f} "
        f"| {valid['auc'].mean:.4f} | {spread(test['auc'])} | {spread(test['logloss'])} "
        f"| {tested(versus)} |\n"
    )


def tested(versus: Versus | None) -> str:
    """The paired tests against the best; empty for the best itself."""
    if versus is None:
        return "- | - | - | -"
    a, b = versus.auc, versus.logloss
    interval = f"{a.delta:+.4f} ({a.low:+.4f} to {a.high:+.4f})"
    return f"{interval} | {a.p_adjusted:.3f} | {b.delta:+.4f} | {b.p_adjusted:.3f}"


def spread(metric: Spread) -> str:
    """Mean and standard deviation over seeds."""
    return f"{metric.mean:.4f}" + ("" if metric.sd is None else f" ± {metric.sd:.4f}")


def ensembles(config: CompareConfig, output: Path, manifest: str | Place) -> str:
    """Validation metrics of one seed (mean over seeds), and of the mean logit of all seeds."""
    dataset = Dataset.open(manifest)
    sources, label_N = BatchSources(dataset, "valid", "valid"), dataset.rows("valid").label_N.numpy()
    lines = [
        "| model | AUC, one seed | mean of the logits | logloss, one seed | mean of the logits |\n",
        "|---|--:|--:|--:|--:|\n",
    ]
    for name, runs in runs_of(config, output).items():
        logits = [scored(run, dataset, sources).valid_logit_SN for run in runs]
        logit_SN = np.concatenate(logits).astype(np.float64)
        single = np.mean([_metrics(logit_N, label_N) for logit_N in logit_SN], 0)
        joint = _metrics(logit_SN.mean(0), label_N)
        lines.append(f"| {name} | {single[0]:.4f} | {joint[0]:.4f} | {single[1]:.4f} | {joint[1]:.4f} |\n")
    return "".join(lines)


def _metrics(logit_N: np.ndarray, label_N: np.ndarray) -> tuple[float, float]:
    """AUC and logloss."""
    return auc(logit_N, label_N), float(row_logloss(logit_N, label_N).mean())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="+", help="files of benchmarks/real_data, without .yaml")
    parser.add_argument("--entries", nargs="+", metavar="NAME", help="only these; all by default")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--output", type=Path, default=Path("comparisons/real"))
    given = parser.parse_args()
    settings = [each.partition("=")[::2] for each in given.set]
    for name in given.names:
        config, output = (
            load_compare_config(HERE / "real_data" / f"{name}.yaml", settings),
            given.output / name,
        )
        if given.entries:
            entries = tuple(entry for entry in config.entries if entry.name in given.entries)
            config = config.model_copy(update={"entries": entries})
        clean = stages.ingest(config.data, output / "data", engine=config)
        manifest = stages.vocabulary(clean, config.vocabulary, output / "data", engine=config)
        results = compare(config, manifest, output)
        rows = ", ".join(f"{count:,} {split}" for split, count in results.data.rows.items())
        machine = describe("torch", "lightgbm", "optuna")
        text = (
            f"## {name}\n\n{datetime.date.today()}, {machine}. Rows: {rows}.\n\n{table(results)}\n"
            f"{kept(config, output)}\n\n"
            f"Ensembles of the seeds, on validation rows:\n\n{ensembles(config, output, manifest)}\n"
        )
        (given.output / f"{name}.md").write_text(text)
        print(text, flush=True)


if __name__ == "__main__":
    main()
