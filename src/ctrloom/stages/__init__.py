"""The stages of the pipeline, one function each; commands and components call only these."""

from ctrloom.data.ingest.run import ingest
from ctrloom.data.vocabulary.build import build_vocabulary as vocabulary
from ctrloom.stages.aim import aim_search_embeddings, aim_search_interactions
from ctrloom.stages.champion import champion, promote
from ctrloom.stages.comparison import run_job, tabulate
from ctrloom.stages.evaluation import evaluate
from ctrloom.stages.gate import gate
from ctrloom.stages.regression import regression, require
from ctrloom.stages.retraining import drift, grow, refresh, report
from ctrloom.stages.search import search
from ctrloom.stages.training import baselines, bundle, retrain, transfer

__all__ = [
    "aim_search_embeddings",
    "aim_search_interactions",
    "baselines",
    "bundle",
    "champion",
    "drift",
    "evaluate",
    "gate",
    "grow",
    "ingest",
    "promote",
    "refresh",
    "regression",
    "report",
    "require",
    "retrain",
    "run_job",
    "search",
    "tabulate",
    "transfer",
    "vocabulary",
]
