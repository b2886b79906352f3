"""The section `tracking`: hostile values, secrets, and where paths are."""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from finished_run import RUN
from typer.testing import CliRunner

from ctrloom.cli import app
from ctrloom.config import RunConfig
from ctrloom.config.base import ConfigError
from ctrloom.config.files import load_run_config
from ctrloom.config.tracking import TrackingConfig
from ctrloom.runners.local import arguments
from ctrloom.runners.request import PipelineRequest, RequestError


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ({"mlflw": {}}, "mlflw: unknown key 'mlflw'; did you mean 'mlflow'?"),
        ({"mlflow": {"url": "http://h"}}, "mlflow.url: unknown key 'url'; did you mean 'uri'?"),
        ({"mlflow": {"uri": ""}}, "mlflow.uri: must be the address of a server"),
        ({"mlflow": {"uri": "http://"}}, "mlflow.uri: must be the address of a server"),
        ({"mlflow": {"uri": "file:///etc"}}, "mlflow.uri: must be the address of a server"),
        ({"mlflow": {"uri": "mlruns"}}, "mlflow.uri: must be the address of a server"),
        ({"mlflow": {"uri": "http://h/\r\nX: y"}}, "mlflow.uri: must be the address of a server"),
        ({"mlflow": {"uri": "http://h" + "x" * 3_000}}, "mlflow.uri: "),
        ({"mlflow": {"uri": 5}}, "mlflow.uri: must be text, not 5"),
        ({"mlflow": {"experiment": ""}}, "mlflow.experiment: "),
        ({"mlflow": {"experiment": "a\x00b"}}, "mlflow.experiment: must be a name"),
        ({"mlflow": {"experiment": " a"}}, "mlflow.experiment: must be a name"),
        ({"mlflow": {"experiment": "x" * 300}}, "mlflow.experiment: "),
        ({"mlflow": {"registered_model": "a/b"}}, "mlflow.registered_model: must not contain / or :"),
        ({"mlflow": {"bundle": "yes"}}, "mlflow.bundle: must be true or false, not 'yes'"),
        ({"mlflow": "http://h"}, "mlflow: "),
        ({"tensorboard": ""}, "tensorboard: "),
        ({"tensorboard": "a\nb"}, "tensorboard: must be a path without control characters"),
        ({"tensorboard": ["a"]}, "tensorboard: "),
        ({"seconds": 0}, "seconds: "),
        ({"seconds": -1}, "seconds: "),
        ({"seconds": float("inf")}, "seconds: must be a finite number"),
        ({"seconds": 1e9}, "seconds: "),
        ({"seconds": True}, "seconds: must be a number, not true"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_its_key(raw: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as error:
        TrackingConfig.parse(raw, "f.yaml")
    (line,) = str(error.value).splitlines()
    assert line.startswith(f"f.yaml: {said}")


def test_it_is_off_by_default() -> None:
    assert RunConfig.parse(RUN, "test").tracking is None
    assert not TrackingConfig().is_on


def test_a_path_is_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(yaml.safe_dump({**RUN, "tracking": {"tensorboard": "tb"}}))
    loaded = load_run_config(tmp_path / "run.yaml").tracking
    assert loaded
    assert loaded.tensorboard == str(tmp_path / "tb")
    stored = load_run_config(tmp_path / "run.yaml", [("tracking.tensorboard", "gs://b/tb")]).tracking
    assert stored
    assert stored.tensorboard == "gs://b/tb"


def test_a_password_is_hidden_and_rejected_on_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CTRLOOM_URL_SECRETS", "")
    raw = {**RUN, "tracking": {"mlflow": {"uri": "https://me:canary-Pa55@h"}}}
    config = RunConfig.parse(raw, "test")
    assert "canary" not in config.model_dump_json()
    assert "canary" in os.environ["CTRLOOM_URL_SECRETS"]
    offered = arguments(config, "gs://b")
    with pytest.raises(RequestError, match="tracking: has a password"):
        PipelineRequest.of("search_and_retrain_selection", offered, {})
    with pytest.raises(ConfigError, match="has a password"):
        RunConfig.parse({**RUN, "tracking": {"tensorboard": "s3://me:canary-Pa55@b/x"}}, "test")


def test_track_needs_a_folder_and_a_tracker(tmp_path: Path) -> None:
    for arguments_, said in (
        ([str(tmp_path)], "--mlflow, --tensorboard: name at least one of them"),
        ([str(tmp_path / "no"), "--tensorboard", "x"], "no such folder"),
        ([str(tmp_path), "--mlflow", "ftp://h"], "track: mlflow.uri: must be the address"),
    ):
        done = CliRunner(env={"MLFLOW_TRACKING_URI": ""}).invoke(app, ["track", *arguments_])
        assert said in str(done.exception)
