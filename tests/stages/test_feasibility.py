"""What cannot be trained is reported before anything is trained, all at once."""

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from ctrloom.cli import app
from ctrloom.config import METHODS, MODELS, CompareConfig, Entry, ModelsConfig, RunConfig, SelectionConfig
from ctrloom.config.base import ConfigError
from ctrloom.config.errors import UserError
from ctrloom.data.dataset import Dataset
from ctrloom.runners.compare import run_comparison
from ctrloom.stages import require_feasible
from ctrloom.stages.feasibility import planned_schema

DATA = {
    "files": "none.csv",
    "columns": {
        "click": "label",
        "user": "categorical",
        "age": "numeric",
        "price": "numeric",
        "tags": "multivalued",
        "at": {"kind": "timestamp", "derive": ["hour"]},
    },
}
KEPT = {"fields": {"price": {"bucketing": {"method": "keep"}}}}
LR = {"name": "lr", "model": "lr"}


def compared(*entries: dict[str, Any], **changes: Any) -> CompareConfig:
    base = {"name": "a", "data": DATA, "vocabulary": KEPT, "evaluation": {"base": "lr"}}
    return CompareConfig.parse({**base, "entries": [LR, *entries], **changes}, "compare.yaml")


def run(**changes: Any) -> RunConfig:
    base = {"name": "a", "data": DATA, "vocabulary": KEPT, "baselines": ["fm"], "transfer": []}
    return RunConfig.parse({**base, **changes}, "run.yaml")


BAD = [
    ({"search": {"method": "optinter"}}, {}, "no cross features; set vocabulary.crosses"),
    ({"model": "poly2"}, {}, "no cross features of user and age.* set vocabulary.crosses"),
    ({"model": "gbdtpoly2"}, {}, "set vocabulary.crosses"),
    ({"search": {"method": "residual"}, "transfer": ["gbdtpoly2"]}, {}, ", transfer: gbdtpoly2: .*crosses"),
    ({"search": {"order": 3}}, {"data": {**DATA, "columns": {"y": "label", "a": "numeric", "b": "numeric"}}},
     "search.order: needs at least 3 fields, but the data has 2"),
    ({"search": {"method": "random", "keep": {"2": 11}}}, {}, "11 interactions .* only 10"),
    ({"search": {"method": "aim"}, "settings": {"shared_embeddings": True}}, {}, "shared_embeddings"),
    ({"search": {"method": "aim"}, "transfer": ["ffm", "ipnn"]}, {"models": {"ipnn": {"embedding_size": 4}}},
     ", transfer: ipnn: embedding_size: is 4, but .* embeddings of size 10"),
    ({"model": "gbdt", "settings": {"rows": "stream"}}, {}, "cannot stream"),
    ({"search": {"method": "random", "keep": {"2": 1}}, "settings": {"rows": "stream"}}, {}, "stream"),
]  # fmt: skip


@pytest.mark.parametrize(("entry", "changes", "message"), BAD)
def test_an_entry_that_cannot_be_trained_is_named(
    tmp_path: Path, entry: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    config = compared({"name": "bad", **entry}, **changes)
    with pytest.raises(ConfigError, match=f"^entries: bad.*{message}"):
        run_comparison(config, tmp_path / "out", workers=1)
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
def test_a_missing_device_is_reported_where_the_work_runs() -> None:
    config = compared({"name": "gpu", "model": "fm", "settings": {"device": "cuda"}})
    with pytest.raises(ConfigError, match="entries: gpu: device: cuda was requested"):
        require_feasible(config)
    require_feasible(config, here=False)


@pytest.mark.parametrize(("library", "config"), [
    ("lightgbm", run(baselines=["fm", "gbdt"])),
    ("optuna", run(tuning={"trials": 2})),
])  # fmt: skip
def test_a_missing_library_is_reported(
    monkeypatch: pytest.MonkeyPatch, library: str, config: RunConfig
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ConfigError, match=f"(?i)(baselines: gbdt|tuning): .*{library}"):
        require_feasible(config)
    require_feasible(config, here=False)


def test_all_problems_of_a_run_are_in_one_message() -> None:
    config = run(search={"method": "optinter"}, baselines=["fm", "poly2"], transfer=["gbdtpoly2", "ipnn"])
    with pytest.raises(ConfigError) as caught:
        require_feasible(config)
    lines = str(caught.value).split("\n")
    starts = [re.match(r"(search|baselines: \w+|transfer: \w+): ", line) for line in lines]
    assert [start and start[1] for start in starts] == ["search", "baselines: poly2", "transfer: gbdtpoly2"]


def test_a_command_reports_it_before_it_writes(tmp_path: Path) -> None:
    config = run(search={"method": "optinter"}).model_dump(mode="json", exclude_none=True)
    (tmp_path / "run.json").write_text(json.dumps({**config, "searches": {}}))
    done = CliRunner().invoke(app, ["run", str(tmp_path / "run.json"), "--output", str(tmp_path / "out")])
    assert isinstance(done.exception, ConfigError)
    assert "search: search.method: optinter" in str(done.exception)
    assert os.listdir(tmp_path) == ["run.json"]


def test_all_models_and_methods_are_feasible_with_crosses() -> None:
    columns = {"click": "label", **dict.fromkeys("abcdef", "categorical")}
    entries = [{"name": name, "model": name} for name in MODELS if MODELS[name].baseline and name != "lr"]
    keep = {"keep": {"2": 3}}
    for name in METHODS:
        search = {"method": name, **(keep if METHODS[name].config is SelectionConfig else {})}
        entries.append({"name": f"by-{name.replace('_', '-')}", "search": search})
    crosses = {"crosses": {"pairs": "all"}}
    require_feasible(compared(*entries, data={"files": "none.csv", "columns": columns}, vocabulary=crosses))


def test_the_planned_schema_has_the_fields_of_the_encoded_data(mixed: Dataset) -> None:
    vocabulary = mixed.manifest.vocabulary.model_dump(mode="json", exclude_none=True)
    columns = mixed.schema.source.model_dump(mode="json", exclude_none=True)["columns"]
    planned = planned_schema(run(data={"files": "none.csv", "columns": columns}, vocabulary=vocabulary))
    found = [(field.name, field.kind, field.column) for field in planned.fields]
    assert found == [(field.name, field.kind, field.column) for field in mixed.schema.fields]


def test_a_step_checks_all_that_it_trains_before_it_begins(
    mixed: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a cluster, each job and stage checks its own part on the encoded data."""
    from ctrloom import stages
    from ctrloom.stages import comparison_job, training

    for module, name in ((comparison_job, "search"), (training, "train_runs")):
        monkeypatch.setattr(module, name, lambda *_, **__: pytest.fail("it began"))
    given = {"name": "late", "search": {"method": "residual"}, "transfer": ["fm", "gbdtpoly2"]}
    with pytest.raises(ConfigError, match=r"entries: late, transfer: gbdtpoly2: .*cross features"):
        stages.run_job(mixed.path, Entry.parse(given, "entry"), 0, ModelsConfig(), tmp_path / "job")
    with pytest.raises(UserError, match="cross features"):
        stages.baselines(mixed.path, ["fm", "poly2"], ModelsConfig(), [0], tmp_path / "runs")
    assert os.listdir(tmp_path) == []
