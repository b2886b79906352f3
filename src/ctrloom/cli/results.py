"""Summary of a run for the terminal."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ctrloom.config import Expected
from ctrloom.data.size_check import compared
from ctrloom.evaluation.results import ModelResult, Results
from ctrloom.report import summary
from ctrloom.report.tuning import sentence
from ctrloom.report.verdict import Verdict, summarize
from ctrloom.search_trace import SearchTrace


def summarise(
    output: Path, truth: tuple[tuple[str, ...], ...] | None, expected: Expected | None, console: Console
) -> None:
    """Print the sizes, models and kept interactions of a run directory, and where its report is."""
    results = Results.load(output / "metrics.json")
    trace = SearchTrace.load(output / "search.json").model_copy(update={"planted": truth})
    if expected:
        sizes = [field.size for field in results.data.fields]
        console.print(escape("\n".join(compared(expected, sizes, results.data.rows))), highlight=False)
    console.print(models_table(results))
    print_verdict(summarize(results, trace), console)
    for order, kept, candidates in summary.kept(trace):
        console.print(f"Interactions of order {order}: kept {kept} of {candidates}")
    if planted := summary.planted(trace):
        within = len(planted.found) + len(planted.missed)
        console.print(f"  planted and found: {len(planted.found)} of {within}  {_names(planted.found)}")
        console.print(f"  planted and missed: {len(planted.missed)}  {_names(planted.missed)}")
        console.print(f"  kept, but not planted: {len(planted.wrong)}  {_names(planted.wrong)}")
        if planted.unsearched:
            console.print(f"  planted, of an order not searched: {_names(planted.unsearched)}")
    console.print(sentence(results.tuning), highlight=False)
    console.print(f"Report: {output / 'report.html'}", soft_wrap=True)


def _names(interactions: Sequence[tuple[str, ...]]) -> str:
    return escape(", ".join(" x ".join(names) for names in interactions))


def print_verdict(verdict: Verdict, console: Console) -> None:
    """Print a headline with its warnings and sentences."""
    console.print(escape(verdict.headline), style="bold", highlight=False)
    for line in verdict.lines[1:]:
        console.print(escape(line), highlight=False)


def models_table(results: Results) -> Table:
    """Models with their quality on the test split."""
    base = results.model(results.base)
    seeds = len(results.seeds)
    over = f"mean over {seeds} seed{'' if seeds == 1 else 's'}"
    table = Table(title=f"Test split, {results.data.rows['test']:,} rows, {over}", box=None)
    for heading in ("model", "AUC", "sd", "logloss", f"vs {base.title}", "p", "kept"):
        first = heading == "model"
        table.add_column(
            heading, justify="left" if first else "right", no_wrap=not first, min_width=1 if first else 7
        )
    for model in results.models:
        versus = results.versus_base(model.name)
        table.add_row(
            escape(f"{model.title} ({model.note})" if model.note else model.title),
            f"{(auc := model.summary['test']['auc']).mean:.4f}",
            f"{auc.sd:.4f}" if auc.sd is not None else "-",
            f"{model.summary['test']['logloss'].mean:.4f}",
            f"{versus.auc.delta:+.4f}" if versus else "",
            _p(versus.auc.p_adjusted) if versus else "",
            _kept(model),
        )
    return table


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _kept(model: ModelResult) -> str:
    return " + ".join(f"{model.kept[order]:.4g}" for order in sorted(model.kept)) or "-"
