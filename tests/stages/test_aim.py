"""AIM's stages over files: individually, together, and invalid input."""

from pathlib import Path

import pytest

from ctrloom import stages
from ctrloom.architecture import Architecture
from ctrloom.config import AIMConfig, ModelsConfig
from ctrloom.data.dataset import Dataset
from ctrloom.search_trace import SearchTrace
from ctrloom.training.runs import open_runs

CONFIG = AIMConfig(
    confirm=False,
    permuted=0,
    batch_size=200,
    epochs=2,
    embedding_epochs=2,
    random_draws=2,
    threshold=0.5,
    embedding_threshold=0.5,
)
MODELS = ModelsConfig({"default": {"embedding_size": 4, "hidden": (8,), "epochs": 1}})


@pytest.fixture(scope="module")
def folders(mixed: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`first` and `second` by stages, `whole` by the search that runs both."""
    folder = tmp_path_factory.mktemp("aim")
    manifest = mixed.base / "manifest.json"
    stages.aim_search_interactions(manifest, CONFIG, MODELS, folder / "first")
    stages.aim_search_embeddings(manifest, folder / "first", CONFIG, MODELS, folder / "second")
    stages.search(manifest, CONFIG, MODELS, folder / "whole")
    return folder


def found(folder: Path) -> Architecture:
    return Architecture.load(folder / "architecture.json").model_copy(update={"provenance": None})


def test_both_stages_match_the_whole_search(folders: Path) -> None:
    assert found(folders / "second") == found(folders / "whole")
    clock = {"seconds": 0.0, "rows_per_second": 0.0, "stages": (), "files": None}  # checksums of provenance
    traces = [SearchTrace.load(folders / name / "search.json") for name in ("second", "whole")]
    for trace in traces:
        names = ["interactions of order 2", "confirmation", "statistics", "embedding sizes"]
        assert [stage.name for stage in trace.stages] == names
        trained = sum(stage.seconds for stage in trace.stages if stage.name not in names[1:3])
        assert trained == pytest.approx(trace.seconds)
    assert traces[0].model_copy(update=clock) == traces[1].model_copy(update=clock)
    names = [
        sorted(str(p.relative_to(folders / n)) for p in (folders / n).rglob("*.json"))
        for n in ("second", "whole")
    ]
    assert names[0] == names[1]


def test_first_stage_has_full_embeddings_and_is_a_control(folders: Path) -> None:
    first, second = found(folders / "first"), found(folders / "second")
    assert first.embedding_size is None
    assert second.embedding_size == 4
    control = Architecture.load(folders / "second" / "controls" / "whole-embeddings" / "0.json")
    assert control.fingerprint == first.fingerprint
    assert not (folders / "first" / "controls" / "whole-embeddings").exists()


def test_what_the_stages_found_can_be_retrained(mixed: Dataset, folders: Path, tmp_path: Path) -> None:
    manifest = mixed.base / "manifest.json"
    stages.retrain(manifest, folders / "second", MODELS, [0], tmp_path / "runs", tmp_path / "bundle")
    names = {run.record.name for run in open_runs(tmp_path / "runs")}
    assert names == {"aim", "aim-random", "aim-unpruned", "aim-whole-embeddings"}
    parameters = {run.record.name: run.record.parameters for run in open_runs(tmp_path / "runs")}
    assert parameters["aim"] <= parameters["aim-whole-embeddings"]


def test_second_stage_can_be_disabled(mixed: Dataset, folders: Path, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"search_embeddings": False})
    manifest = mixed.base / "manifest.json"
    stages.aim_search_embeddings(manifest, folders / "first", config, MODELS, tmp_path / "same")
    assert found(tmp_path / "same") == found(folders / "first")


def test_second_stage_accepts_only_first_stage_output(mixed: Dataset, folders: Path, tmp_path: Path) -> None:
    manifest = mixed.base / "manifest.json"
    with pytest.raises(ValueError, match="needs the output of AIM's first stage"):
        stages.aim_search_embeddings(manifest, folders / "second", CONFIG, MODELS, tmp_path / "no")
    assert not (tmp_path / "no").exists()
