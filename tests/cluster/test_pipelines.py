"""Every pipeline on a cluster: figures match a local run of the same configuration."""

from typing import Any

import pytest
from on_cluster import Cluster, farthest, figures

from ctrloom import storage
from ctrloom.data.synthetic import SynthConfig, synthesize
from ctrloom.evaluation.results import Results
from ctrloom.tuning.record import Tuning

pytestmark = pytest.mark.cluster
ROUNDING = 1e-4  # other processors and numbers of threads
MODELS = {"default": {"hidden": [8], "epochs": 40, "batch_size": 500, "learning_rate": 0.01}}
SEARCHES: dict[str, dict[str, Any]] = {
    "autofis": {"batch_size": 200, "random_draws": 2},
    "aim": {"batch_size": 200, "epochs": 1, "random_draws": 2},
    "optinter": {"batch_size": 200, "epochs": 1, "random_draws": 2},
    "autopi": {"batch_size": 200, "epochs": 1, "random_draws": 2},
    "statistics_auc": {"keep": {2: 2}},
    "random": {"keep": {2: 2}, "random_draws": 2},
    "mutual_information": {"keep": {2: 2}},
}
ENTRIES = [
    {"name": "fm", "model": "fm"},
    {
        "name": "found",
        "search": {"batch_size": 200, "epochs": 1},
        "controls": ["random"],
        "transfer": ["ipnn"],
    },
]


@pytest.fixture(scope="session")
def base(cluster: Cluster) -> dict[str, Any]:
    """Sections of all configurations; the clicks are in the store."""
    synthesize(SynthConfig(rows=8_000, fields=5, sizes=(8,), pairs=2, seed=3), cluster.folder)
    columns = {"click": "label", "field_00..field_04": "categorical"}
    return {
        "data": {"files": cluster.put("clicks.csv"), "columns": columns},
        "models": MODELS,
        "seeds": [0, 1, 2],
    }


def on_this_machine(sections: dict[str, Any]) -> dict[str, Any]:
    return {**sections, "data": {**sections["data"], "files": "clicks.csv"}}


@pytest.mark.parametrize("method", SEARCHES)
def test_search_and_retrain_matches_a_local_run(method, base, cluster: Cluster):
    sections = {
        **base,
        "name": f"small-{method.replace('_', '-')}",
        "search": {"method": method, **SEARCHES[method]},
        "baselines": ["lr", "fm"],
        "transfer": [] if method == "autopi" else ["ipnn"],
        "evaluation": {"base": "fm", "bootstrap": 50},
        "vocabulary": {"crosses": {"pairs": "all"}} if method == "optinter" else {},
    }
    run = cluster.submit(cluster.write(f"{method}.yaml", sections))
    here = cluster.write(f"{method}-here.yaml", on_this_machine(sections))
    local = cluster.ctrloom("run", here, "--output", f"{method}-here")
    assert local.returncode == 0, local.stderr
    done = cluster.wait(run)
    assert done.returncode == 0, done.stderr
    there = figures(f"{cluster.artifact(run, 'evaluate', 'evaluation')}/metrics.json")
    difference = farthest(there, figures(cluster.folder / f"{method}-here" / "metrics.json"))
    print(f"{method}: {len(there)} models and seeds, largest difference {difference:.2g}")
    assert {seed for _, seed in there} == {0, 1, 2}
    assert difference < ROUNDING


def test_tuning_matches_a_local_run(base, cluster: Cluster):
    sections = {
        **base,
        "name": "tuned",
        "seeds": [0],
        "search": SEARCHES["autofis"],
        "baselines": ["fm"],
        "transfer": ["ipnn"],
        "evaluation": {"base": "fm", "bootstrap": 50},
        "tuning": {"trials": 3, "sampler": "random", "spaces": {"ipnn": {"hidden": [[8], [16]]}}},
    }
    name = cluster.write("tuned.yaml", sections)
    run, trials = cluster.submit(name), cluster.submit(name, "--pipeline", "tune")
    here = cluster.write("tuned-here.yaml", on_this_machine(sections))
    for started, command in (
        (run, ("run", here, "--output", "tuned-here")),
        (trials, ("tune", here, "--pipeline", "--output", "trials-here")),
    ):
        local = cluster.ctrloom(*command)
        assert local.returncode == 0, local.stderr
        done = cluster.wait(started)
        assert done.returncode == 0, done.stderr
        there = f"{cluster.artifact(started, 'collect-tuning', 'tuned')}/tuning.json"
        mine, theirs = (
            storage.read_record(place, Tuning)
            for place in (cluster.folder / command[-1] / "tuning.json", storage.place(there))
        )
        assert [model.name for model in theirs.models] == ["fm", "autofm", "ipnn-transfer"]
        for own, other in zip(mine.models, theirs.models, strict=True):
            assert [trial.settings for trial in own.trials] == [trial.settings for trial in other.trials]
            for ours, its in zip(own.trials, other.trials, strict=True):
                assert ours.scores == pytest.approx(its.scores, abs=ROUNDING)


def test_compare_and_regression_match_a_local_run(base, cluster: Cluster):
    sections = {**base, "name": "table", "evaluation": {"base": "fm", "bootstrap": 50}, "entries": ENTRIES}
    run = cluster.submit(cluster.write("table.yaml", sections), "--pipeline", "compare")
    here = cluster.write("table-here.yaml", on_this_machine(sections))
    accepted = cluster.ctrloom(
        "regression", here, "--baseline", "baseline.json", "--accept", "--output", "here"
    )
    assert accepted.returncode == 0, accepted.stderr
    done = cluster.wait(run)
    assert done.returncode == 0, done.stderr
    there = figures(f"{cluster.artifact(run, 'compare-table', 'table')}/metrics.json")
    assert farthest(there, figures(cluster.folder / "here" / "comparison" / "metrics.json")) < ROUNDING

    wild = {"name": "wild", "model": "ipnn", "settings": {"learning_rate": 1e9}}  # diverges
    cluster.write("wild.yaml", {**sections, "entries": [*ENTRIES, wild]})
    failing = cluster.submit("wild.yaml", "--pipeline", "compare")
    failed = cluster.wait(failing)
    assert failed.returncode == 1
    assert "require-complete" in failed.stderr
    table = storage.place(f"{cluster.artifact(failing, 'compare-table', 'table')}/metrics.json")
    assert [*storage.read_record(table, Results).failed] == ["wild"]

    def regression(*settings: str) -> int:
        given = ("--pipeline", "regression_eval", "--parameter", "baseline=@baseline.json", *settings)
        return cluster.wait(cluster.submit("table.yaml", *given)).returncode

    assert regression() == 0
    assert (
        regression("--set", "models.default.learning_rate=0.00001", "--set", "models.default.epochs=1") == 1
    )
