"""A batch prediction on this machine, through its pipeline."""

from pathlib import Path

from ctrloom import storage
from ctrloom.config import Files
from ctrloom.config.base import ConfigError
from ctrloom.config.batch import BatchConfig
from ctrloom.runners.local import run_pipeline
from ctrloom.stages.batch_scores import BatchScores, files_of, read_scores

EXPECTED = ("fetch-bundle", "batch-predict")


def batch_arguments(config: BatchConfig, store: Path | str) -> dict[str, object]:
    """Parameters of the pipeline `batch_predict`."""
    return {**config.model_dump(mode="json", exclude_none=True), "store": str(store)}


def batch_local(config: BatchConfig, output: Path) -> BatchScores:
    """Run a batch prediction; scores.json and summary.md go to the folder `output`.

    The predictions go to `config.output`, or to `output`/scores.

    Raises:
        RunError: a step failed, or KFP is not installed.
        ConfigError: there is neither bundle nor registry, or the files do not fit the window.
    """
    if not (config.bundle or config.registry):
        raise ConfigError(
            f"{config.name}: bundle, registry: set one, the folder or URL of a model or a champion"
        )
    output = output.resolve()
    results = {
        "scores.json": ("batch-predict", "scores/scores.json"),
        "summary.md": ("batch-predict", "scores/summary.md"),
    }
    files = Files(train=files_of(config))
    with storage.locked(output):
        storage.write_json(output / "config.json", config.model_dump(mode="json"))
        to = config.output or str(output / "scores")
        parameters = batch_arguments(config.model_copy(update={"output": to}), output / "data")
        run_pipeline("batch_predict", parameters, output, EXPECTED, results, files)
        return read_scores(output)
