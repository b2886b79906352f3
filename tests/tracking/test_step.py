"""The step `track` of pipelines: only in runs with trackers, and never in those of this machine."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from finished_run import RUN, Finished

pytest.importorskip("kfp", reason="the extra `pipelines` is not installed")

from ctrloom.config import METHODS, RunConfig
from ctrloom.runners import compiled
from ctrloom.runners.local import arguments
from ctrloom.runners.request import PipelineRequest
from ctrloom.tracking import Places

WITH = {METHODS[name].pipeline for name in METHODS}
WITH |= {"search_and_retrain_plugin", "compare", "tune", "scheduled_retrain"}
TRACKING = {"mlflow": {"uri": "http://h"}}


def used(spec: dict[str, Any]) -> set[str]:
    return {task["componentRef"]["name"] for task in compiled.tasks(spec)}


def test_pipelines_that_find_or_train_models_have_the_step() -> None:
    having = {name for name in compiled.names() if compiled.TRACKING in used(compiled.read(name)[0])}
    assert having == WITH


@pytest.mark.parametrize("name", sorted(WITH))
def test_the_step_is_there_only_with_trackers(name: str) -> None:
    for parameters, there in (({}, False), ({"tracking": {}}, False), ({"tracking": TRACKING}, True)):
        spec, _ = compiled.read(name)
        compiled.remove_idle(spec, {**parameters, "tuning": {"trials": 1}})
        assert (compiled.TRACKING in used(spec)) is there
    assert "tracking" in compiled.declared(name)


def test_trackers_change_no_parameter_of_another_step() -> None:
    plain = arguments(RunConfig.parse(RUN, "test"), "gs://b")
    tracked = arguments(RunConfig.parse({**RUN, "tracking": TRACKING}, "test"), "gs://b")
    assert tracked.pop("tracking") == {
        "mlflow": {"uri": "http://h", "experiment": "ctrloom", "bundle": True},
        "seconds": 120,
    }
    assert tracked == plain
    request = PipelineRequest.of("search_and_retrain_selection", {**tracked, "tracking": TRACKING}, {})
    spec = request.body.get("pipeline_spec", request.body)
    task = spec["root"]["dag"]["tasks"]["track"]
    assert set(task["dependentTasks"]) >= {"evaluate", "bundle"}
    assert "tuned" not in task["inputs"]["artifacts"]


def test_the_component_finds_the_records(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from components.track.component import track

    calls: list[Any] = []
    monkeypatch.setattr("ctrloom.tracking.track", lambda *given: calls.append(given) or True)
    folder = finished.folder
    artifact = SimpleNamespace(path=str(folder))
    bundle = SimpleNamespace(path=str(folder / "bundle"))
    track.python_func(name="small", evaluation=artifact, search=artifact, best=bundle)
    assert calls == []
    track.python_func(name="small", tracking=TRACKING, evaluation=artifact, search=artifact, best=bundle)
    ((config, name, places),) = calls
    assert (config.mlflow.uri, name) == ("http://h", "small")
    assert places == Places.of(folder)
    calls.clear()
    table, bundles = (SimpleNamespace(path=str(tmp_path / name)) for name in ("table", "bundles"))
    track.python_func(name="x", tracking=TRACKING, table=table, bundles=bundles)
    expected = Places(
        metrics=tmp_path / "table" / "metrics.json",
        page=tmp_path / "table" / "comparison.html",
        bundle=tmp_path / "bundles" / "best",
    )
    assert calls[0][2] == expected
