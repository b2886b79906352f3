"""Which command reads which files that an earlier one wrote."""

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from program import Done

import ctrloom
from ctrloom.config.errors import UserError
from ctrloom.evaluation.regression import load_baseline
from ctrloom.evaluation.results import Results
from ctrloom.stages.batch_scores import read_scores
from ctrloom.stages.job_records import read_failure


@dataclass(frozen=True)
class Reader:
    """Files of a kind, relative to the folder of references, and the scenario or function that reads them."""

    kind: str
    globs: tuple[str, ...]
    by: str  # name of a scenario, or of what the function does
    share: float = 1.0  # of all flips, relative to the other readers
    by_function: Callable[[Path], Any] | None = None

    def files(self, reference: Path) -> list[Path]:
        """All files of the kind that have bytes."""
        found = {path for glob in self.globs for path in reference.glob(glob)}
        return sorted(path for path in found if path.is_file() and path.stat().st_size)


def _reading(read: Callable[[Path], Any]) -> Callable[[Path], tuple[Done, Any]]:
    def called(reference: Path) -> tuple[Done, Any]:
        try:
            return Done(0, "", "", 0.0), read(reference)
        except (UserError, OSError) as error:
            return Done(2, "", f"ctrloom: {error}", 0.0), None
        except BaseException:
            return Done(1, "", traceback.format_exc(), 0.0), None

    return called


def _figures(reference: Path) -> Any:
    return Results.load(reference / "evaluate" / "metrics.json").model_dump_json()


def _baseline(reference: Path) -> Any:
    return load_baseline(reference.parent / "baseline.json").model_dump_json()


def _table(file: str) -> Callable[[Path], Any]:
    def read(reference: Path) -> Any:
        return str(ctrloom.read_predictions(reference / file).to_pydict())

    return read


def _export(format: str) -> Callable[[Path], Any]:
    def read(reference: Path) -> Any:
        return ctrloom.read_export(reference / f"export-{format}" / "exported").model_dump_json()

    return read


def _scores(reference: Path) -> Any:
    return read_scores(reference / "batch-predict").model_dump_json()


def _failure(reference: Path) -> Any:
    failure = read_failure(reference / "failed")
    return failure and failure.model_dump_json()


DATA, CHAMPION = "vocabulary/encoded-*", "champion/bundle"
READERS = (
    Reader("ingested rows", ("ingest/ingested-*/t*/*", "ingest/ingested-*/valid/*"), "vocabulary"),
    Reader("ingested manifest", ("ingest/ingested-*/manifest.json",), "vocabulary"),
    Reader("ingested counts", ("ingest/ingested-*/counts/*",), "vocabulary"),
    Reader("counts and manifest", ("ingest-window/ingested-*/counts/*", "ingest-window/*/*.json"), "grow"),
    Reader("ingested rows", ("ingest-window/ingested-*/test/*",), "gate"),
    Reader("schema and manifest", (f"{DATA}/schema.json", f"{DATA}/manifest.json"), "baselines", 2),
    Reader("encoded rows", (f"{DATA}/train/*", f"{DATA}/valid/*"), "baselines"),
    Reader("encoded test rows", (f"{DATA}/test/*",), "evaluate"),
    Reader("vocabularies", (f"{DATA}/vocabulary/*", f"{DATA}/reference.json"), "retrain"),
    Reader("crosses", (f"{DATA}/crosses/*",), "optinter"),
    Reader("grown data", ("grow/encoded-*/*", "grow/encoded-*/*/*"), "refresh", 2),
    Reader("grown data", ("grow/encoded-*/*.json", "grow/encoded-*/vocabulary/*"), "drift"),
    Reader("search", ("autofis/architecture.json", "autofis/controls/*/*"), "retrain", 2),
    Reader("search", ("autofis/search.json",), "evaluate"),
    Reader("search", ("search-interactions/**/*.json",), "search-embeddings"),
    Reader("trainings", ("retrain/runs/**/*", "baselines/runs/**/*"), "evaluate", 3),
    Reader("bundle", ("retrain/bundle/*", "retrain/bundle/vocabulary/*"), "predict", 3),
    Reader("champion", (f"{CHAMPION}/*", f"{CHAMPION}/vocabulary/*", "champion/*.json"), "grow"),
    Reader("champion", (f"{CHAMPION}/*", f"{CHAMPION}/vocabulary/*", "champion/*.json"), "refresh"),
    Reader("champion", (f"{CHAMPION}/*", f"{CHAMPION}/vocabulary/*", "champion/*.json"), "gate"),
    Reader("champion", (f"{CHAMPION}/*", f"{CHAMPION}/vocabulary/*", "champion/*.json"), "drift"),
    Reader("challenger", ("refresh/bundle/*", "refresh/bundle/vocabulary/*"), "gate"),
    Reader("registry", ("promote/registry/**/*",), "champion", 2),
    Reader("tuning", ("tune/tuning.json",), "retrain tuned"),
    Reader("studies", ("tune/studies/*",), "tune again"),
    Reader("drift and verdict", ("drift/*", "gate/verdict.json"), "report"),
    Reader("verdict", ("gate/verdict.json",), "promote passed"),
    Reader("checkpoints", ("checkpoints/**/*",), "retrain again", 2),
    Reader("checkpoints of a search", ("search-checkpoints/**/*",), "search again"),
    Reader("predictions of a folder", ("predict-folder/scores/*",), "predict again"),
    Reader("records of predictions", ("predict-folder/scores/_scores/*",), "predict again"),
    Reader("traffic log", ("../log/**/*",), "join-labels"),
    Reader("joined labels", ("join-labels/joined.parquet",), "ingest joined"),
    Reader("bundle", ("retrain/bundle/*", "retrain/bundle/vocabulary/*"), "export torch", 0.2),
    Reader("export as torch", ("export-torch/**/*",), "read_export", 1, _reading(_export("torch"))),
    Reader("export as onnx", ("export-onnx/**/*",), "read_export", 1, _reading(_export("onnx"))),
    Reader("scores of a batch", ("batch-predict/scores.json",), "read_scores", 1, _reading(_scores)),
    Reader("failed job", ("failed/failure.json",), "read_failure", 0.5, _reading(_failure)),
    Reader("steps of a run", ("stopped/steps/**/*.json", "stopped/.begun"), "run again", 0.1),
    Reader("jobs", ("compare/jobs/**/*",), "compare again", 0.1),
    Reader("metrics", ("evaluate/metrics.json",), "Results.load", 1, _reading(_figures)),
    Reader("baseline", ("../baseline.json",), "load_baseline", 1, _reading(_baseline)),
    Reader(
        "predictions",
        ("evaluate/predictions.parquet",),
        "read_predictions",
        1,
        _reading(_table("evaluate/predictions.parquet")),
    ),
    Reader(
        "scored rows",
        ("predict/scored.parquet",),
        "read_predictions",
        1,
        _reading(_table("predict/scored.parquet")),
    ),
)
