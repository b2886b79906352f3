"""Summary of the report as Markdown, for viewers without HTML."""

from ctrloom.evaluation.results import ModelResult, Results
from ctrloom.report import tuning
from ctrloom.report.format import change, count, fixed, p_value, percent, signed
from ctrloom.report.verdict import summarize
from ctrloom.search_trace import SearchTrace


def markdown(results: Results, trace: SearchTrace | None) -> str:
    """The verdict, every model on the test rows, and the confusion of the first one."""
    verdict, data = summarize(results, trace), results.data
    base = results.model(results.base).title
    lines = [
        f"# {verdict.headline}",
        *(f"**Warning:** {warning}" for warning in verdict.warnings),
        " ".join(verdict.sentences),
        f"Data set {data.name}: {count(data.rows['test'])} test rows, "
        f"{percent(data.label_rate['test'])} clicks; means over {len(results.seeds)} seeds.",
        "\n".join(
            [
                f"| model | AUC | sd | logloss | AUC against {_cell(base)} | | relative | kept |",
                "|---|--:|--:|--:|--:|---|--:|--:|",
                *(_row(results, model) for model in results.models),
            ]
        ),
    ]
    if found := results.shown.confusion:
        clicks = found.true_positive + found.false_negative
        taken = found.true_positive + found.false_positive
        lines.append(
            f"{results.shown.title}, seed {results.shown.seeds[0].seed}: at a threshold of "
            f"{fixed(found.threshold)} (the label rate of the validation rows), it predicts "
            f"{count(taken)} clicks and finds {count(found.true_positive)} of {count(clicks)}."
        )
    return "\n\n".join([*lines, tuning.markdown(results.tuning)])


def _row(results: Results, model: ModelResult) -> str:
    versus, auc = results.versus_base(model.name), model.summary["test"]["auc"]
    cells = (
        _cell(f"{model.title} ({model.note})" if model.note else model.title),
        fixed(auc.mean),
        fixed(auc.sd) if auc.sd is not None else "",
        fixed(model.summary["test"]["logloss"].mean),
        signed(versus.auc.delta) if versus else "",
        p_value(versus.auc.p_adjusted) if versus else "",
        change(model.relative_auc) if model.relative_auc is not None else "",
        " + ".join(f"{model.kept[order]:.4g}" for order in sorted(model.kept)),
    )
    return f"| {' | '.join(cells)} |"


def _cell(text: str) -> str:
    return text.replace("|", r"\|")
