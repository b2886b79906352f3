"""The three selections without training, from encoded data to the report."""

from pathlib import Path

import pytest
from kfp.dsl import Artifact, Metrics
from small import made_older

from ctrloom import stages
from ctrloom.architecture import Architecture
from ctrloom.config import EvaluationConfig, ModelsConfig
from ctrloom.data.dataset import Dataset
from ctrloom.search_trace import SearchTrace
from ctrloom.training.runs import open_runs

MODELS = ModelsConfig({"default": {"embedding_size": 4, "hidden": (8,), "epochs": 1}})
WORDS = {
    "random": ("random number", "random selection"),
    "statistics_auc": ("statistics AUC", "by statistics-AUC"),
    "mutual_information": ("mutual information", "by mutual information"),
}


@pytest.fixture(scope="module", params=list(WORDS))
def selected(
    request: pytest.FixtureRequest, mixed: Dataset, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Output of the component of one method."""
    from components.select_interactions.component import select_interactions

    folder = tmp_path_factory.mktemp("selection")
    artifacts = [Artifact(uri=str(folder / name)) for name in ("data", "search")]
    artifacts[0].path = str(mixed.base / "manifest.json")
    artifacts[1].path = str(folder / "search")
    summary = Metrics(uri=str(folder / "summary"))
    config = {"method": request.param, "keep": {"2": 2, "3": 1}, "random_draws": 2}
    select_interactions.python_func(*artifacts, summary, config, MODELS.model_dump())
    assert {key: summary.metadata[key] for key in ("kept_order_2", "kept_order_3")} == {
        "kept_order_2": 2,
        "kept_order_3": 1,
    }
    return folder / "search"


def test_a_selection_is_trained_and_reported_under_its_own_name(
    mixed: Dataset, selected: Path, tmp_path: Path
) -> None:
    manifest, trace = mixed.base / "manifest.json", SearchTrace.load(selected / "search.json")
    measure, title = WORDS[trace.method]
    stages.retrain(manifest, selected, MODELS, [0], tmp_path / "retrained", tmp_path / "bundle")
    stages.baselines(manifest, ["fm"], MODELS, [0], tmp_path / "baselines")
    titles = {run.record.name: run.record.title for run in open_runs(tmp_path / "retrained")}
    assert titles["autofm"] == f"AutoFM, {title}"
    assert titles["autofm-unpruned"] == "AutoFM, all gates"
    runs = [tmp_path / "retrained", tmp_path / "baselines"]
    stages.evaluate(
        manifest, selected, runs, [0], EvaluationConfig(bootstrap=50), "test", {}, tmp_path / "out"
    )
    page = (tmp_path / "out" / "report.html").read_text()
    assert f"{measure[0].upper()}{measure[1:]} of all pairs" in page
    assert "mut. inf." in page
    assert "AutoFIS" not in page
    assert "Gates are not effects" not in page
    assert "Are the gates plausible" not in page


def test_a_control_of_an_unknown_name_has_a_readable_title(
    mixed: Dataset, selected: Path, tmp_path: Path
) -> None:
    every = Architecture.complete(mixed.schema.names)
    every.save(selected / "controls" / "my-own-choice" / "0.json")
    made_older(selected)  # a new search lists its controls
    controls = ["my-own-choice"]
    stages.retrain(mixed.base / "manifest.json", selected, MODELS, [0], tmp_path / "runs", controls=controls)
    titles = {run.record.title for run in open_runs(tmp_path / "runs")}
    assert "AutoFM, my own choice" in titles
