"""The stages of the pipeline, one function each; commands and components call only these.

A stage is loaded when it is first used, so that a pipeline step does not load what only others need.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ctrloom import memory
from ctrloom.config.extras import training_packages

if TYPE_CHECKING:
    from ctrloom.data.ingest.run import ingest
    from ctrloom.data.vocabulary.build import build_vocabulary as vocabulary
    from ctrloom.stages.aim import aim_search_embeddings, aim_search_interactions
    from ctrloom.stages.batch_scores import batch_predict, fetch_bundle
    from ctrloom.stages.comparison import tabulate
    from ctrloom.stages.comparison_job import run_job
    from ctrloom.stages.drift_report import drift, report
    from ctrloom.stages.evaluation import evaluate
    from ctrloom.stages.feasibility import require_feasible
    from ctrloom.stages.growth import grow
    from ctrloom.stages.promotion import champion, is_current_champion, promote
    from ctrloom.stages.promotion_gate import gate
    from ctrloom.stages.refreshed_model import refresh
    from ctrloom.stages.regression_check import regression, require
    from ctrloom.stages.search_stage import search, search_once
    from ctrloom.stages.training import baselines, bundle, retrain, transfer
    from ctrloom.stages.tuning import collect_tuning, plan_trials, tune, tune_trial

__all__ = [
    "aim_search_embeddings",
    "aim_search_interactions",
    "baselines",
    "batch_predict",
    "bundle",
    "champion",
    "collect_tuning",
    "drift",
    "evaluate",
    "fetch_bundle",
    "gate",
    "grow",
    "ingest",
    "is_current_champion",
    "plan_trials",
    "promote",
    "refresh",
    "regression",
    "report",
    "require",
    "require_feasible",
    "retrain",
    "run_job",
    "search",
    "search_once",
    "tabulate",
    "transfer",
    "tune",
    "tune_trial",
    "vocabulary",
]
_MODULES = {
    "aim": ("aim_search_embeddings", "aim_search_interactions"),
    "batch_scores": ("batch_predict", "fetch_bundle"),
    "comparison": ("tabulate",),
    "comparison_job": ("run_job",),
    "drift_report": ("drift", "report"),
    "evaluation": ("evaluate",),
    "feasibility": ("require_feasible",),
    "growth": ("grow",),
    "promotion": ("champion", "is_current_champion", "promote"),
    "promotion_gate": ("gate",),
    "regression_check": ("regression", "require"),
    "refreshed_model": ("refresh",),
    "search_stage": ("search", "search_once"),
    "training": ("baselines", "bundle", "retrain", "transfer"),
    "tuning": ("collect_tuning", "plan_trials", "tune", "tune_trial"),
}
_PLACES = {name: (f"ctrloom.stages.{module}", name) for module, names in _MODULES.items() for name in names}
_PLACES["ingest"] = "ctrloom.data.ingest.run", "ingest"
_PLACES["vocabulary"] = "ctrloom.data.vocabulary.build", "build_vocabulary"


# What to reduce if a stage has too little memory.
_SMALLER_MODEL = (
    "lower batch_size, embedding_size or hidden of the models, raise vocabulary.min_count, or set "
    "rows: stream"
)
_WAYS_OUT = {
    **dict.fromkeys(
        ("ingest", "vocabulary", "grow"),
        "use fewer processors (taskset --cpu-list 0-1 ...), each of which holds rows, or a machine with more",
    ),
    **dict.fromkeys(
        ("search", "search_once", "aim_search_interactions", "aim_search_embeddings"),
        "lower search.batch_size, search.permuted or embedding_size, set search.candidates: pool, or raise "
        "vocabulary.min_count",
    ),
    **dict.fromkeys(
        ("evaluate", "tabulate"),
        "lower evaluation.permutation_rows, evaluation.bootstrap, or the number of seeds",
    ),
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'ctrloom.stages' has no attribute {name!r}")
    module, attribute = _PLACES[name]
    with training_packages():
        stage = getattr(import_module(module), attribute)
    explained = globals()[name] = memory.explained(_WAYS_OUT.get(name, _SMALLER_MODEL), memory.LEAST)(stage)
    return explained
