"""A bundle, a registry and a data set that cases share."""

import shutil
from pathlib import Path

import yaml

from ctrloom import stages
from ctrloom.config import ModelsConfig, VocabularyConfig
from ctrloom.config.files import load_run_config
from ctrloom.data.dataset import Dataset
from ctrloom.training.runs import open_runs

CLICKS = "click,a,n,w\n" + "".join(
    f"{int(i % 3 == 0)},{'xyz'[i % 3]},{i % 7},{1 + i % 2}\n" for i in range(300)
)
COLUMNS = {"click": "label", "a": "categorical", "n": "numeric", "w": "weight"}
RUN = {"name": "assets", "data": {"files": "clicks.csv", "columns": COLUMNS}}
SCORED = "a,n\nx,1\ny,2\nz,3\n"


def make(folder: Path) -> None:
    """Write `run.yaml`, `store/`, `bundle/` and `registry/`."""
    folder.mkdir(parents=True)
    (folder / "clicks.csv").write_text(CLICKS)
    (folder / "run.yaml").write_text(yaml.safe_dump(RUN))
    config = load_run_config(folder / "run.yaml")
    manifest = stages.vocabulary(
        stages.ingest(config.data, folder / "store"), VocabularyConfig(min_count=1), folder / "store"
    )
    models = ModelsConfig({"default": {"embedding_size": 2, "epochs": 1, "batch_size": 50}})
    stages.baselines(manifest, ["fm"], models, [0], folder / "runs")
    (run,) = open_runs(folder / "runs")
    run.export(Dataset.open(manifest), folder / "bundle")
    stages.promote(str(folder / "registry"), folder / "bundle")
    shutil.copytree(Path(str(manifest)).parent, folder / "encoded")
