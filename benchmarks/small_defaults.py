"""Defaults of hyper-parameters on small data: validation AUC and logloss of one training each.

    python benchmarks/small_defaults.py avazu-sample criteo-sample coupon click-prediction amazon-access

The data sets are those of `benchmarks/real_data.py`. `former` are the settings before 2026-11-30, `defaults`
those of `config/models.py`.
"""

import argparse
from pathlib import Path

import fast  # noqa: F401
from plain import PLAIN

from ctrloom import stages
from ctrloom.architecture import Architecture
from ctrloom.config import MODELS, ModelName
from ctrloom.config.files import load_compare_config
from ctrloom.data.dataset import Dataset
from ctrloom.training.batch_sources import BatchSources
from ctrloom.training.plans import train_model

HERE = Path(__file__).parent
FORMER = {**PLAIN, "batch_size": 4096, "epochs": 20, "patience": 2}
SMALL = {**FORMER, "batch_size": None}
LONGER = {**SMALL, "epochs": 60, "decays": 1, "monitor": "logloss"}
VARIANTS = {
    "former": FORMER,
    "small batches": SMALL,
    "and logloss, one decay, 60 epochs": LONGER,
    "and L2 1e-4": {**LONGER, "embedding_l2": 1e-4},
    "and L2 1e-3": {**LONGER, "embedding_l2": 1e-3},
    "and L2 1e-2": {**LONGER, "embedding_l2": 1e-2},
    "and dropout 0.2": {**LONGER, "dropout": 0.2},
    "and dropout 0.2, L2 1e-3": {**LONGER, "dropout": 0.2, "embedding_l2": 1e-3},
    "and dropout 0.2, L2 1e-2": {**LONGER, "dropout": 0.2, "embedding_l2": 1e-2},
    "all: rate 3e-3, L2 3e-4, dropout 0.2, layers 200, 200": {
        **LONGER,
        "learning_rate": 3e-3,
        "embedding_l2": 3e-4,
        "dropout": 0.2,
        "hidden": (200, 200),
    },
    "defaults": {},
}


def cell(model: ModelName, variant: str, sources: BatchSources) -> str:
    """Validation AUC, logloss, and the best of how many epochs."""
    settings = MODELS[model].settings.parse(VARIANTS[variant], "benchmark")
    complete = Architecture.complete(sources.dataset.schema.names)
    history = train_model(model, complete, settings, 0, sources, model)[1]
    best = history.best_epoch
    return f"{best.valid_auc:.4f} / {best.valid_logloss:.4f} ({history.best} of {len(history.epochs)})"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="+", help="files of benchmarks/real_data, without .yaml")
    parser.add_argument("--models", nargs="+", default=["fm", "deepfm"])
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--store", type=Path, default=Path("data/store"))
    given = parser.parse_args()
    opened = {}
    for name in given.names:
        config = load_compare_config(HERE / "real_data" / f"{name}.yaml")
        clean = stages.ingest(config.data, given.store, engine=config)
        dataset = Dataset.open(stages.vocabulary(clean, config.vocabulary, given.store, engine=config))
        opened[name] = BatchSources(dataset, "train", "valid")
    print(f"| model | settings | {' | '.join(opened)} |\n|---|---{'|---' * len(opened)}|")
    for model in given.models:
        for variant in given.variants:
            if variant.startswith("and dropout") and model == "fm":  # which has none
                continue
            cells = [cell(model, variant, sources) for sources in opened.values()]
            print(f"| {model} | {variant} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
