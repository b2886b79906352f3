"""Where the records of a finished run are."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self


@dataclass(frozen=True)
class Places:
    """Records of a run, as its stages wrote them; what a run does not have is None.

    A retraining has a verdict, runs and comparisons have metrics, and what has only a tuning is one.
    """

    metrics: Path | None = None  # metrics.json
    page: Path | None = None  # of a run, comparison or retraining (HTML)
    search: Path | None = None  # folder with architecture.json and search.json
    bundle: Path | None = None  # folder
    tuning: Path | None = None  # folder with tuning.json
    verdict: Path | None = None  # verdict.json
    drift: Path | None = None  # drift.json
    runs: Path | None = None  # folder of the trainings of a retraining
    dataset: str | None = None  # manifest of the encoded data set, a path or URL

    @classmethod
    def of(cls, output: Path, dataset: str | None = None) -> Self:
        """The records in the folder of a run, comparison, tuning or retraining."""
        table, found = output / "comparison", dict[str, Path]()
        compares = (table / "metrics.json").is_file()
        found["metrics"] = (table if compares else output) / "metrics.json"
        found["page"] = table / "comparison.html" if compares else output / "report.html"
        found["bundle"] = output / "bundles" / "best" if compares else output / "bundle"
        found |= {name: output / f"{name}.json" for name in ("verdict", "drift")}
        if (output / "search.json").is_file():
            found["search"] = output
        if (output / "tuning.json").is_file():
            found["tuning"] = output
        found["runs"] = _artifact(output, "refresh", "runs") or output / "runs"
        encoded = dataset or _artifact(output, "vocabulary", "dataset")
        there = {name: path for name, path in found.items() if path.exists()}
        return cls(**there, dataset=str(encoded) if encoded else None)

    @classmethod
    def parse(cls, texts: dict[str, str]) -> Self:
        """Inverse of `texts`."""
        given = {name: text if name == "dataset" else Path(text) for name, text in texts.items()}
        return cls(**given)  # type: ignore[arg-type]

    def texts(self) -> dict[str, str]:
        """The paths as JSON."""
        every = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: str(path) for name, path in every.items() if path}


def _artifact(output: Path, step: str, artifact: str) -> Path | None:
    """What a step of a pipeline wrote that is not among the results of the run; the newest one."""
    made = list(output.glob(f"steps/**/{step}/{artifact}"))
    return max(made, key=lambda path: path.stat().st_mtime_ns) if made else None
