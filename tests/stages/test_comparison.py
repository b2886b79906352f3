"""A comparison of a few methods on synthetic clicks: its table, and resuming a stopped comparison."""

import csv
import json
import os
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from processes import fork_server
from sklearn.metrics import log_loss, roc_auc_score

from ctrloom.architecture import Architecture
from ctrloom.config import CompareConfig
from ctrloom.config.base import ConfigError
from ctrloom.config.files import load_compare_config
from ctrloom.data.dataset import Dataset
from ctrloom.data.synthetic import SynthConfig, synthesize
from ctrloom.evaluation.failed_entries import EntriesFailedError, require_complete
from ctrloom.evaluation.results import Results
from ctrloom.models.bundle import load_card
from ctrloom.runners import compare
from ctrloom.runners.compare import _called, run_comparison
from ctrloom.search_trace import SearchTrace
from ctrloom.stages import tabulate
from ctrloom.stages.comparison import titles_of
from ctrloom.storage import StorageError
from ctrloom.training.loop import score
from ctrloom.training.runs import open_runs

SECTIONS: dict[str, Any] = {
    "name": "small",
    "title": "Three of them",
    "data": {"files": "clicks.csv", "columns": {"click": "label", "field_00..field_03": "categorical"}},
    "models": {"default": {"epochs": 2, "hidden": [8], "learning_rate": 0.01, "batch_size": 512}},
    "searches": {"autofis": {"epochs": 2}},
    "seeds": [3, 5],
    "evaluation": {"base": "plain", "bootstrap": 50, "segments": ["field_00"]},
    "bundles": ["lr", "found-ipnn"],
    "entries": [
        {"name": "lr", "model": "lr"},
        {
            "name": "plain",
            "model": "fm",
            "published": {
                "auc": 0.79,
                "logloss": 0.55,
                "kept": [0.25, 0.02],
                "parameters": 29_000_000,
                "train_minutes": 5.5,
            },
        },
        {
            "name": "wide",
            "title": "FM, wide",
            "model": "fm",
            "settings": {"embedding_size": 32},
            "orders": [2, 3],
        },
        {
            "name": "found",
            "title": "AutoFIS",
            "search": {"random_draws": 3},
            "controls": ["random", "unpruned"],
            "transfer": ["ipnn", {"model": "fm", "of": "random"}, {"model": "ipnn", "of": "selection"}],
            "published_for": {"random-fm": {"auc": 0.71, "split": "same"}},
        },
    ],
}
MOVED = ["found-ipnn", "found-random-fm", "found-selection-ipnn"]
NAMES = ["lr", "plain", "wide", "found", "found-random", "found-unpruned", *MOVED]


@pytest.fixture(scope="module", autouse=True)
def workers_start_at_once() -> Iterator[None]:
    """Fork workers from one process that has imported what they need, instead of starting each anew."""
    warm = fork_server()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compare, "get_context", lambda _: warm)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("comparison")
    synthesize(SynthConfig(rows=6000, fields=4, pairs=2, sizes=(12,)), place)
    (place / "compare.yaml").write_text(yaml.safe_dump(SECTIONS, sort_keys=False))
    return place


@pytest.fixture(scope="module")
def config(folder: Path) -> CompareConfig:
    return load_compare_config(folder / "compare.yaml")


@pytest.fixture(scope="module")
def done(folder: Path, config: CompareConfig) -> Path:
    run_comparison(config, folder / "out", workers=1)
    return folder / "out"


def lines(done: Path) -> dict[str, dict[str, str]]:
    with open(done / "comparison" / "table.csv", newline="") as file:
        return {line["name"]: line for line in csv.DictReader(file)}


def test_table_has_one_line_per_model(done: Path) -> None:
    table = lines(done)
    assert list(table) == NAMES
    assert [table[n]["model"] for n in NAMES[2:]] == [
        "FM, wide",
        "AutoFIS",
        "AutoFIS, random selection",
        "AutoFIS, all gates",
        "AutoFIS to IPNN",
        "AutoFIS, random selection, to FM",
        "AutoFIS, selection only, to IPNN",
    ]
    assert table["plain"]["published_auc"] == "0.79"
    assert table["plain"]["published_split"] == "another"
    assert table["plain"]["published_kept"] == "0.25 + 0.02"
    assert table["plain"]["published_parameters"] == "29000000"
    assert table["found"]["published_kept"] == ""
    random = table["found-random-fm"]
    assert (random["published_auc"], random["published_split"], random["kind"]) == ("0.71", "same", "control")
    assert table["lr"]["kept_percent_order_2"] == ""
    assert float(table["wide"]["kept_percent_order_3"]) == 100
    assert float(table["found-unpruned"]["kept_percent_order_2"]) == 100
    assert float(table["found"]["search_seconds"]) > 0
    assert int(table["wide"]["parameters"]) > 2 * int(table["plain"]["parameters"])


def test_table_figures_match_the_models_on_test_rows(done: Path, config: CompareConfig) -> None:
    dataset = Dataset.open(manifest(done))
    test = dataset.rows("test")
    label_N = test.label_N.numpy()
    aucs, losses = [], []
    for seed in config.seeds:
        (run,) = open_runs(done / "jobs" / "wide" / f"seed-{seed}" / "runs")
        (trained,) = run.trained(dataset)
        probability_N = 1 / (1 + np.exp(-score(trained.model, test).astype(float)))
        aucs.append(roc_auc_score(label_N, probability_N))
        losses.append(log_loss(label_N, probability_N))
    line = lines(done)["wide"]
    assert float(line["test_auc"]) == pytest.approx(np.mean(aucs), abs=1e-9)
    assert float(line["test_auc_sd"]) == pytest.approx(np.std(aucs, ddof=1), abs=1e-9)
    assert float(line["test_logloss"]) == pytest.approx(np.mean(losses), abs=1e-7)


def test_relative_improvement_is_that_of_mean_aucs(done: Path) -> None:
    results = Results.load(done / "comparison" / "metrics.json")
    base = results.model(results.base)
    assert base.relative_auc is None
    aucs = {m.name: np.mean([each.test.auc for each in m.seeds]) for m in results.models}
    page, table = (done / "comparison" / "comparison.html").read_text(), lines(done)
    for model in results.models:
        if model is not base:
            expected = aucs[model.name] / aucs[base.name] - 1
            assert model.relative_auc == pytest.approx(expected, abs=1e-12)
            assert float(table[model.name]["relative_auc"]) == model.relative_auc
            assert f"{100 * expected:+.2f} %".replace("-", "−") in page


@pytest.mark.parametrize(
    ("row", "place"),
    [("found-random", "runs/autofm-random"), ("found-random-fm", "transfer/random-fm-transfer")],
)
def test_a_random_row_is_the_mean_over_all_draws(
    done: Path, config: CompareConfig, row: str, place: str
) -> None:
    """Two of the three draws belong to the first seed; each is over another selection of the same size."""
    dataset, line = Dataset.open(manifest(done)), lines(done)[row]
    test = dataset.rows("test")
    aucs, drawn = [], []
    for seed, names in ((3, ["seed-3-draw-0", "seed-3-draw-1"]), (5, ["seed-5"])):
        folder = done / f"jobs/found/seed-{seed}"
        (run,) = (run for run in open_runs((folder / place).parent) if run.record.name == place.split("/")[1])
        assert [record.folder for record in run.record.seeds] == names
        kept = Architecture.load(folder / "search" / "architecture.json").interactions
        for trained in run.trained(dataset):
            aucs.append(roc_auc_score(test.label_N.numpy(), score(trained.model, test)))
            drawn.append(trained.architecture)
            assert len(trained.architecture.interactions) == len(kept)
    assert (len(aucs), line["note"], line["seeds"], line["trainings"]) == (3, "mean of 3 draws", "2", "3")
    assert float(line["test_auc"]) == pytest.approx(np.mean(aucs), abs=1e-9)
    assert float(line["test_auc_sd"]) == pytest.approx(np.std(aucs, ddof=1), abs=1e-9)
    page = (done / "comparison" / "comparison.html").read_text()
    assert page.count("control; mean of 3 draws") == 2
    predictions = pq.read_schema(done / "comparison" / "predictions.parquet").names
    assert {f"{row}_seed_3_draw_0", f"{row}_seed_3_draw_1", f"{row}_seed_5"} <= set(predictions)


def test_transfers_are_compared_with_what_they_lack(done: Path) -> None:
    results = Results.load(done / "comparison" / "metrics.json")
    pairs = {versus.model: versus.base for versus in results.counterparts}
    assert pairs == {
        "found-random": "found",
        "found-unpruned": "found",
        "found-random-fm": "found",
        "found-selection-ipnn": "found-ipnn",
    }
    same = [results.model(name).summary for name in ("found-ipnn", "found-selection-ipnn")]
    assert same[0] == same[1], "AutoFIS finds no functions"


def manifest(done: Path) -> Path:
    """The manifest of the encoded data, which has a schema."""
    found = [p for p in (done / "data").rglob("manifest.json") if "schema_fingerprint" in p.read_text()]
    return found[-1]


def test_every_seed_has_its_own_search(done: Path, config: CompareConfig) -> None:
    seeds = set()
    for seed in config.seeds:
        architecture = json.loads((done / f"jobs/found/seed-{seed}/search/architecture.json").read_text())
        seeds.add(architecture["provenance"]["seed"])
    assert seeds == set(config.seeds)


def test_page_shows_published_figures(done: Path) -> None:
    page = (done / "comparison" / "comparison.html").read_text()
    assert "Three of them" in page
    assert "One search per seed" in page
    assert "0.7900*" in page
    assert "25 + 2 %</td>" in page
    assert "29 000 000</td>" in page
    assert "5.5 min</td>" in page
    assert page.count('<th class="n" scope="col">published</th>') == 5, "no column without a figure"
    assert page.count("<svg") == 4  # sizes, differences, and two of the agreement of seeds


def stamps(done: Path) -> dict[str, int]:
    return {str(p.relative_to(done)): p.stat().st_mtime_ns for p in (done / "jobs").rglob("job.json")}


def test_finished_jobs_are_skipped(done: Path, folder: Path, config: CompareConfig) -> None:
    before, table = stamps(done), (done / "comparison" / "metrics.json").read_bytes()
    assert len(before) == 8
    (done / "jobs" / "lr" / "seed-3" / "job.json").unlink()
    renamed = config.entries[2].model_copy(update={"title": "FM, wider"})
    changed = config.entries[1].model_copy(update={"settings": {"epochs": 1}})
    run_comparison(config, done, workers=1)
    again = stamps(done)
    assert {k for k in before if before[k] != again[k]} == {"jobs/lr/seed-3/job.json"}
    assert without_clock(table) == without_clock((done / "comparison" / "metrics.json").read_bytes())

    entries = (config.entries[0], changed, renamed, config.entries[3])
    run_comparison(config.model_copy(update={"entries": entries}), done, workers=2)
    other = stamps(done)
    assert {k for k in again if other[k] != again[k]} == {f"jobs/plain/seed-{s}/job.json" for s in (3, 5)}
    assert lines(done)["wide"]["model"] == "FM, wider"


def without_clock(metrics: bytes) -> list[Any]:
    models = json.loads(metrics)["models"]
    clock = ("seconds", "per_second")
    return [{k: v for k, v in model.items() if not k.endswith(clock)} for model in models]


def test_the_best_row_and_those_asked_for_are_bundled(done: Path) -> None:
    best = json.loads((done / "bundles" / "best.json").read_text())
    table = lines(done)
    assert best["name"] == Results.load(done / "comparison" / "metrics.json").best.name
    assert best["name"] == max(NAMES, key=lambda name: float(table[name]["valid_auc"]))
    assert best["title"] == table[best["name"]]["model"]
    assert best["valid_auc"] == pytest.approx(float(table[best["name"]]["valid_auc"]), abs=1e-6)
    titles = {name: load_card(done / "bundles" / name).title for name in ("best", "lr", "found-ipnn")}
    assert titles == {"best": best["title"], "lr": "LR", "found-ipnn": "AutoFIS to IPNN"}


def test_searches_of_the_seeds_are_compared(done: Path, config: CompareConfig) -> None:
    results = Results.load(done / "comparison" / "metrics.json")
    (found,) = results.stability
    traces = [SearchTrace.load(done / f"jobs/found/seed-{s}/search/search.json") for s in config.seeds]
    kept = [{c.fields for c in trace.candidates if c.kept} for trace in traces]
    assert (found.entry, found.kept) == ("found", tuple(map(len, kept)))
    assert found.jaccard == pytest.approx(len(kept[0] & kept[1]) / len(kept[0] | kept[1]))
    gates = [[c.score for c in trace.candidates] for trace in traces]
    assert found.pearson == pytest.approx(np.corrcoef(gates)[0, 1])
    (analysis,) = results.searches
    assert (analysis.model, analysis.searches) == ("found", 2)
    for stage, *of_seeds in zip(analysis.stages, *(trace.stages for trace in traces), strict=True):
        assert {each.name for each in of_seeds} == {stage.name}
        assert stage.seconds == pytest.approx(np.mean([each.seconds for each in of_seeds]))
    (table,) = results.segments
    assert "plain" in table.segments[0].models
    predictions = pq.read_schema(done / "comparison" / "predictions.parquet").names
    once = [name for name in NAMES if "random" not in name]
    assert {f"{name}_seed_{seed}" for name in once for seed in config.seeds} <= set(predictions)


def test_an_entry_without_a_seed_has_one_job() -> None:
    entries = [*SECTIONS["entries"], {"name": "trees", "model": "gbdt"}]
    config = CompareConfig.parse({**SECTIONS, "entries": entries}, "compare.yaml")
    assert [seed for entry, seed in config.jobs if entry.name == "trees"] == [3]
    assert len(config.jobs) == 2 * len(SECTIONS["entries"]) + 1
    with pytest.raises(ConfigError, match="bundles: 'tree' is not trained; choose from lr, plain, wide, fo"):
        CompareConfig.parse({**SECTIONS, "bundles": ["tree"]}, "compare.yaml")


def test_a_missing_job_is_named(config: CompareConfig, done: Path, tmp_path: Path) -> None:
    some = [done / "jobs" / "lr" / "seed-3"]
    with pytest.raises(StorageError, match="entry 'lr', seed 5: this job has not finished"):
        tabulate(manifest(done), config, some, tmp_path / "out")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"name": "x"}, "x: give either `model` or `search`"),
        ({"name": "x", "model": "fm", "search": {}}, "x: give either `model` or `search`"),
        ({"name": "x", "model": "fm", "controls": ["random"]}, "x: controls and transfer need a `search`"),
        (
            {"name": "x", "search": {}, "published_for": {"random": {"auc": 1}}},
            "x: published_for: 'random' is neither a control nor a transfer",
        ),
        (
            {"name": "x", "search": {"method": "optinter"}, "transfer": [{"model": "fm", "of": "unpruned"}]},
            "transfer.0.of: must be 'found', 'selection', 'random', 'all-memorize' or 'all-hadamard', not",
        ),
        (
            {"name": "x", "search": {}, "transfer": ["fm", {"model": "fm", "of": "random"}, "fm"]},
            "transfer: duplicate 'fm'",
        ),
        (
            {"name": "x", "search": {"random_draws": 0}, "transfer": [{"model": "fm", "of": "random"}]},
            "transfer.0.of: random needs search.random_draws above 0",
        ),
        (
            {"name": "x", "search": {"random_draws": 0}, "controls": ["random"]},
            "x: controls: random needs search.random_draws above 0",
        ),
        ({"name": "x", "search": {}, "transfer": ["fmm"]}, "transfer.0.model: must be .*did you mean 'fmfm'"),
        (
            {"name": "x", "search": {"method": "optinter"}, "controls": ["random", "unpruned"]},
            "x: controls: 'unpruned' is not a control of this search; choose from random, all-memorize, all-",
        ),
        (
            {"name": "x", "search": {"method": "autopi", "strategy": "random"}, "controls": ["random"]},
            "x: controls: 'random' is not a control of this search; choose from .none",
        ),
        (
            {
                "name": "x",
                "search": {"method": "statistics_auc", "keep": {2: 3}},
                "controls": ["statistics-auc"],
            },
            "x: controls: 'statistics-auc' is not a control of this search; choose from random, unpruned",
        ),
        (
            {
                "name": "x",
                "search": {"method": "aim", "search_embeddings": False},
                "controls": ["whole-embeddings"],
            },
            "x: controls: 'whole-embeddings' is not a control of this search; choose from random, unpruned",
        ),
        ({"name": "lr", "model": "fm"}, "entries: duplicate name 'lr'"),
        (
            {"name": "x", "model": "fm", "settings": {"hiden": [3]}},
            "unknown key 'hiden'; did you mean 'hidden'",
        ),
        (
            {"name": "x", "search": {"method": "aim", "epoch": 3}},
            "unknown key 'epoch'; did you mean 'epochs'",
        ),
        ({"name": "x", "search": {"method": "aims"}}, "aims"),
    ],
)
def test_invalid_entry_is_rejected(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        CompareConfig.parse({**SECTIONS, "entries": [*SECTIONS["entries"], entry]}, "compare.yaml")


def test_the_base_must_be_an_entry() -> None:
    with pytest.raises(ConfigError, match=r"evaluation.base: 'fm' is not an entry; choose from lr, plain"):
        CompareConfig.parse({**SECTIONS, "evaluation": {}}, "compare.yaml")


def test_a_failed_entry_does_not_lose_the_table(config: CompareConfig, tmp_path: Path) -> None:
    search = {"method": "mutual_information", "keep": {"2": 1}}
    entries = [{"name": "bad", "search": search, "title": "Bad"}, {"name": "plain", "model": "lr"}]
    evaluation = {"base": "bad", "bootstrap": 20}
    given = {**SECTIONS, "entries": entries, "bundles": ["bad"], "evaluation": evaluation}
    parsed = CompareConfig.parse(given, "compare.yaml").model_copy(update={"data": config.data})
    bad = parsed.entries[0].model_copy(update={"controls": ("rnadom",)})  # fails after the search
    broken = parsed.model_copy(update={"entries": (bad, parsed.entries[1])})
    results = run_comparison(broken, tmp_path, workers=2)
    assert [*results.failed] == ["bad"]
    reason = r"seed [35]: controls: 'rnadom' is not a control of this search"
    assert re.match(reason, results.failed["bad"])
    assert [model.name for model in results.models] == ["plain"]
    assert results.base == "plain"
    assert "All are compared with LR instead of Bad." in results.notes
    page = (tmp_path / "comparison" / "comparison.html").read_text()
    assert "Bad failed and is left out: seed " in page
    assert "One search per seed" not in page, "LR alone has no search"
    assert {path.name for path in (tmp_path / "bundles").iterdir()} == {"best", "best.json"}
    with pytest.raises(EntriesFailedError, match=rf"1 of the entries failed.*: bad: {reason}"):
        require_complete(results)
    jobs = sorted(tmp_path.glob("jobs/*/*/job.json"))
    assert {path.parts[-3] for path in jobs} == {"plain"}
    times = [path.stat().st_mtime_ns for path in jobs]
    whole = run_comparison(parsed, tmp_path, workers=1)
    assert ([model.name for model in whole.models], whole.failed) == (["bad", "plain"], {})
    assert [path.stat().st_mtime_ns for path in jobs] == times


def test_the_call_that_kills_its_process_is_found() -> None:
    calls = {("dies", 1): partial(os._exit, 1), ("lives", 1): partial(bool, 1), ("also", 2): partial(bool, 1)}
    failed = _called(calls, 2, "compare", "jobs")  # type: ignore[arg-type]
    assert [*failed] == [("dies", 1)]
    assert failed["dies", 1].startswith("its process died; ")


def test_a_search_that_finds_nothing_has_no_controls_of_its_size(
    folder: Path, config: CompareConfig, tmp_path: Path
) -> None:
    search = {"threshold": 100.0, "epochs": 1, "warm_up": 0}
    given = {"search": search, "controls": ["random", "unpruned"], "transfer": ["ipnn"]}
    entries = [{"name": "plain", "model": "lr"}, {"name": "nothing", **given}]
    changes = {"entries": entries, "bundles": ["plain", "nothing-ipnn"]}
    parsed = CompareConfig.parse({**SECTIONS, **changes}, "compare.yaml")
    parsed = parsed.model_copy(update={"data": config.data})
    results = run_comparison(parsed, tmp_path, workers=1)
    assert [model.name for model in results.models] == ["plain", "nothing", "nothing-unpruned"]
    assert results.model("nothing").kept == {2: 0}
    note = "AutoFM by AutoFIS found no interaction with seeds 3, 5; left out: nothing-random, nothing-ipnn."
    assert results.notes == (note,)
    assert {path.name for path in (tmp_path / "bundles").iterdir()} == {"best", "best.json", "plain"}
    assert note in (tmp_path / "comparison" / "comparison.html").read_text()


def test_every_entry_has_its_own_title() -> None:
    entries = [
        {"name": "plain", "model": "fm"},
        {"name": "found", "search": {}},
        {"name": "top", "search": {"method": "statistics_auc", "keep": {2: 1}}},
        {"name": "aim", "search": {"method": "aim"}},
        {"name": "wide", "model": "deepfm"},
        {"name": "wider", "model": "deepfm"},
        {"name": "named", "title": "My own", "model": "fm"},
    ]
    config = CompareConfig.parse({**SECTIONS, "bundles": [], "entries": entries}, "compare.yaml")
    assert titles_of(config.entries) == {
        "plain": "FM",
        "found": "AutoFM by AutoFIS",
        "top": "AutoFM by Statistics AUC",
        "aim": "AIM",
        "wide": "DeepFM (wide)",
        "wider": "DeepFM (wider)",
        "named": "My own",
    }
