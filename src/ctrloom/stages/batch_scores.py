"""Score files with a bundle: the stages of the pipeline `batch_predict`."""

from pathlib import Path
from typing import Literal

from ctrloom import storage
from ctrloom.config.base import ConfigError, StrictModel
from ctrloom.config.batch import BatchConfig
from ctrloom.data.ingest.date_window import in_window, last_day
from ctrloom.models.bundle import FILES, load_card
from ctrloom.serving.predict import Predicted, predict
from ctrloom.serving.registry import Registry, version_name
from ctrloom.stages.promotion import require_champion

SCORES, SUMMARY = "scores.json", "summary.md"


class BatchScores(StrictModel):
    """`scores.json`: where the predictions are, and what was found in the rows."""

    version: Literal[1] = 1
    output: str
    bundle: str  # version that a registry gives to the bundle
    predicted: Predicted

    @property
    def figures(self) -> dict[str, float]:
        """The metrics of the step."""
        done = self.predicted
        return {
            "rows": done.rows,
            "malformed": done.malformed,
            "malformed_share": done.malformed / max(done.rows, 1),
            "files": len(done.files),
            "skipped_files": sum(file.skipped for file in done.files),
            "largest_missing_share": max((field.missing for field in done.fields), default=0.0),
            "largest_unseen_share": max((field.unseen for field in done.fields), default=0.0),
        }

    @property
    def markdown(self) -> str:
        """All fields in one table."""
        done, figures = self.predicted, self.figures
        lines = [
            f"{done.rows:,} rows of {len(done.files):,} files, {done.malformed:,} of them malformed, in "
            f"`{self.output}`; {figures['skipped_files']:,} files were scored before. Bundle {self.bundle}.",
            "",
            "| field | missing | in training | unseen | in training | first unseen value |",
            "|---|--:|--:|--:|--:|---|",
        ]
        for field in done.fields:
            shares = (field.missing, field.missing_in_training, field.unseen, field.unseen_in_training)
            cells = ["" if share is None else f"{share:.1%}" for share in shares]
            unseen = "" if field.unseen_value is None else _cell(repr(field.unseen_value)[:100])
            lines.append(f"| {' | '.join([_cell(field.name), *cells, unseen])} |")
        return "\n".join(lines) + "\n"


def fetch_bundle(bundle: str, registry: str, output: Path) -> str:
    """Copy a bundle, or the champion's of a registry, to the folder `output`; returns its version.

    Raises:
        ConfigError: not exactly one of the two is given.
        RegistryError: there is no champion yet.
        StorageError: it cannot be read, or is no bundle.
    """
    if bool(bundle) == bool(registry):
        raise ConfigError("bundle, registry: give one of them, and not both")
    if registry:
        name, _ = require_champion(registry)
        Registry(registry).fetch(name, output)
        return name
    with storage.atomic_directory(output, *FILES) as temporary:
        storage.download(storage.place(bundle), temporary)
        load_card(temporary)
        return version_name(storage.described(temporary))


def batch_predict(bundle: Path, config: BatchConfig, store: str, output: Path) -> BatchScores:
    """Score the files of a configuration; `output` gets scores.json and summary.md.

    The predictions are in `config.output`, or in scores/<name> of the store, with one file per input.

    Raises:
        ConfigError: `until` is not a date, or no file has one in its name.
        DataError: a file is missing, empty or has other columns, or lacks one to keep.
        StorageError: the predictions cannot be written.
    """
    to = (config.output or str(storage.place(store) / "scores" / config.name)).rstrip("/") + "/"
    done = predict(bundle, files_of(config), to, config.keep, config.format)
    version = version_name(storage.described(bundle))
    scores = BatchScores(output=to, bundle=version, predicted=done)
    with storage.atomic_directory(output, SCORES, SUMMARY) as temporary:
        storage.write_record(temporary / SCORES, scores)
        storage.write_text(temporary / SUMMARY, scores.markdown)
    return scores


def read_scores(folder: Path) -> BatchScores:
    """Read the output of `batch_predict`.

    Raises:
        StorageError: no such folder.
    """
    return storage.read_record(folder / SCORES, BatchScores)


def files_of(config: BatchConfig) -> tuple[str, ...]:
    """The files of a configuration, those of its window of days if it has one.

    Raises:
        ConfigError: `until` is not a date, or no file has one in its name, or one has but `until` is not set.
    """
    dated = [name for name in config.files if "{date" in name]
    if config.until is None:
        if dated:
            raise ConfigError(f"files: {dated[0]} is of a day; set `until`, for example to yesterday")
        return config.files
    return in_window(config.files, last_day(config.until, config.timezone), config.days, "files")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
