"""Event files, read with TensorBoard's own reader and compared with the raw records."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from finished_run import Finished, place
from PIL import Image

pytest.importorskip("tensorboard", reason="the extra `tensorboard` is not installed")

from ctrloom.config.tracking import TrackingConfig
from ctrloom.tracking import Places, track

LIMIT = 300  # seconds, on a busy machine


def read(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    sizes = {"scalars": 0, "tensors": 0, "images": 0}
    return EventAccumulator(str(folder), size_guidance=sizes).Reload()


def scalars(folder: Path, tag: str) -> list[tuple[int, float]]:
    return [(each.step, each.value) for each in read(folder).Scalars(tag)]


def config(folder: Path) -> TrackingConfig:
    return TrackingConfig.parse({"tensorboard": str(folder), "seconds": LIMIT}, "test")


@pytest.fixture(scope="module")
def events(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("events")
    assert track(config(base), "unused", Places.of(finished.folder))
    (folder,) = base.iterdir()
    assert folder.name.startswith("small-")
    return folder


def test_curves_are_those_of_the_training_records(events: Path, finished: Finished) -> None:
    checked = 0
    for folder in finished.trainings:
        for record in (json.loads(path.read_text()) for path in folder.glob("*/run.json")):
            for seed in record["seeds"]:
                for name in ("train_logloss", "valid_auc", "valid_logloss"):
                    found = scalars(events / record["name"] / place(seed), f"epoch/{name}")
                    expected = [(each["epoch"], each[name]) for each in seed["history"]["epochs"]]
                    assert [step for step, _ in found] == [step for step, _ in expected]
                    assert [v for _, v in found] == pytest.approx([v for _, v in expected], rel=1e-6)
                    checked += 1
    assert checked >= 3 * 2 * 4


def test_final_metrics_are_those_of_the_evaluation(events: Path, finished: Finished) -> None:
    for model in json.loads((finished.folder / "metrics.json").read_text())["models"]:
        for seed in model["seeds"]:
            found = scalars(events / model["name"] / place(seed), "final/test_auc")
            assert found == [(3, pytest.approx(seed["test"]["auc"], rel=1e-6))]
        ((_, mean),) = scalars(events / model["name"], "final/test_auc")
        assert mean == pytest.approx(model["summary"]["test"]["auc"]["mean"], rel=1e-6)


def test_the_whole_has_the_verdict_and_the_architecture(events: Path, finished: Finished) -> None:
    found = read(events)

    def text(tag: str) -> str:
        return bytes(found.Tensors(f"{tag}/text_summary")[0].tensor_proto.string_val[0]).decode()

    summary = (finished.folder / "summary.md").read_text()
    assert text("summary") == summary
    architecture = json.loads((finished.folder / "architecture.json").read_text())
    assert len(architecture["interactions"]) == 3
    assert all(" x ".join(pair["fields"]) in text("architecture") for pair in architecture["interactions"])
    picture = Image.open(io.BytesIO(found.Images("architecture")[0].encoded_image_string))
    assert min(picture.size) > 300
    assert len(picture.convert("RGB").getcolors(1_000_000) or ()) > 50


def test_models_have_their_settings_in_the_dashboard_of_hyper_parameters(events: Path) -> None:
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    found = read(events / "fm" / "seed-3").summary_metadata["_hparams_/session_start_info"]
    data = HParamsPluginData.FromString(found.plugin_data.content)
    settings = data.session_start_info.hparams
    assert settings["learning_rate"].number_value == 0.01
    assert settings["hidden"].string_value == "[8]"


def test_tracking_again_replaces_the_files(finished: Finished, tmp_path: Path) -> None:
    seen = []
    for _ in range(2):
        assert track(config(tmp_path), "unused", Places.of(finished.folder))
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        folders = [path.parent for path in files]
        assert len(set(folders)) == len(folders)  # two files of one run would be two lines of one curve
        seen.append((sorted(folders), {path.name for path in files}))
    assert seen[0][0] == seen[1][0]
    assert not seen[0][1] & seen[1][1]


def test_files_of_others_are_kept(
    finished: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert track(config(tmp_path), "unused", Places.of(finished.folder))
    (folder,) = tmp_path.iterdir()
    (folder / "notes.txt").write_text("mine")
    assert not track(config(tmp_path), "unused", Places.of(finished.folder))
    assert "notes.txt" in capsys.readouterr().err
    assert (folder / "notes.txt").read_text() == "mine"
