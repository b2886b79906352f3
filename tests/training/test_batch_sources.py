"""Training, searching and scoring on streamed rows compared with rows in memory; when rows are streamed."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist

from ctrloom import memory, stages
from ctrloom.architecture import Architecture
from ctrloom.config import METHODS, DataConfig, Hyperparameters, ModelsConfig, VocabularyConfig, search_config
from ctrloom.data.batches import stream
from ctrloom.data.dataset import Dataset
from ctrloom.data.ingest.run import ingest
from ctrloom.data.parquet import writer
from ctrloom.data.synthetic import Planted, SynthConfig, synthesize
from ctrloom.data.vocabulary import encode
from ctrloom.data.vocabulary.build import build_vocabulary
from ctrloom.memory import LowMemoryError
from ctrloom.methods.statistics.candidates import with_statistics
from ctrloom.models import build
from ctrloom.stages.evaluation import described, labels_of, scored
from ctrloom.stages.search_stage import search_data
from ctrloom.training import batch_sources
from ctrloom.training.batch_sources import BatchSources
from ctrloom.training.loop import fit, score
from ctrloom.training.runs import open_runs

MADE = SynthConfig(rows=20_000, fields=5, sizes=(12,), pairs=2, strength=1.5, main_effects=0.3)
HYPER = Hyperparameters(embedding_size=4, hidden=(8,), batch_size=500, learning_rate=0.01, epochs=5)
STREAMED = HYPER.model_copy(update={"rows": "stream"})
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def clicks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dataset]:
    """20,000 clicks with two planted pairs and cross features, in row groups of 1,000; three per window."""
    folder = tmp_path_factory.mktemp("clicks")
    with pytest.MonkeyPatch.context() as patch:
        for module in (writer, encode):
            patch.setattr(module, "GROUP_ROWS", 1000)
        patch.setattr(writer, "PART_ROWS", 4000)
        patch.setattr(stream, "WINDOW", 3)
        columns = {"click": "label", **dict.fromkeys(Planted(MADE).names, "categorical")}
        data = DataConfig.parse({"files": str(synthesize(MADE, folder)), "columns": columns}, "test")
        vocabulary = VocabularyConfig.parse({"crosses": {"min_count": 2}}, "test")
        yield Dataset.open(build_vocabulary(ingest(data, folder), vocabulary, folder))


def fitted(dataset: Dataset, hyper: Hyperparameters, seed: int = 0) -> tuple[float, dict[str, torch.Tensor]]:
    torch.manual_seed(seed)
    model = build("fm", Architecture.complete(dataset.schema.names), dataset.schema, hyper)
    history = fit(model, *BatchSources(dataset, "train", "valid").of(hyper), hyper, seed, "test")
    return history.best_epoch.valid_auc, model.state_dict()


def test_training_on_streamed_rows_is_as_good_and_reproducible(clicks: Dataset) -> None:
    assert len(clicks.stream("train").row_groups) > 4 * stream.WINDOW
    (streamed, weights), (again, same), (memory, _) = (fitted(clicks, h) for h in (STREAMED, STREAMED, HYPER))
    assert streamed == again
    assert all(torch.equal(weights[name], same[name]) for name in weights)
    assert memory > 0.7
    assert streamed == pytest.approx(memory, abs=0.01)
    assert fitted(clicks, STREAMED, seed=1)[0] != streamed


def test_streamed_scores_match_scores_in_memory(clicks: Dataset) -> None:
    model = build("fm", Architecture.complete(clicks.schema.names), clicks.schema, HYPER)
    with torch.no_grad():
        assert np.array_equal(score(model, clicks.stream("test")), score(model, clicks.rows("test")))


@pytest.mark.parametrize(
    ("method", "own"),
    [
        ("autofis", {"epochs": 4}),
        ("autofis", {"epochs": 6, "bi_level": True}),
        ("aim", {"search_embeddings": False, "functions": ["inner"]}),
    ],
)
def test_searches_find_planted_interactions_in_streamed_rows(
    method: str, own: dict[str, Any], clicks: Dataset
) -> None:
    config = search_config({"method": method, "random_draws": 1, **own})
    hyper = ModelsConfig({config.base: {"embedding_size": 4, "rows": "stream"}}).of(config.base)
    found = METHODS[method].find(search_data(clicks, hyper), config, hyper)
    kept = {interaction.fields for interaction in found.architecture.interactions}
    planted = Planted(MADE)
    assert {tuple(planted.names[f] for f in pair) for pair in planted.interactions} <= kept
    assert all(candidate.statistics_auc is not None for candidate in found.trace.candidates)


@pytest.mark.parametrize(
    ("method", "own"),
    [
        ("optinter", {"epochs": 1, "bi_level": True}),
        ("autopi", {"epochs": 1, "batch_size": 4000, "choose_by": "perturbation", "choosing_rows": 200}),
        ("autopi", {"strategy": "random", "samples": 1}),
        (
            "autopi",
            {"strategy": "one_shot", "epochs": 1, "candidates": 3, "finalists": 1, "finalist_epochs": 1},
        ),
    ],
)
def test_other_searches_run_on_streamed_rows(method: str, own: dict[str, Any], clicks: Dataset) -> None:
    small = {"nodes": 2} if method == "autopi" else {}
    config = search_config({"method": method, "random_draws": 0, **small, **own})
    settings = {"embedding_size": 4, "hidden": [4], "epochs": 1, "rows": "stream"}
    hyper = ModelsConfig({config.base: settings}).of(config.base)
    assert (
        METHODS[method].find(search_data(clicks, hyper), config, hyper).architecture.method[:4] == method[:4]
    )


def test_statistics_of_streamed_rows_use_a_sample(clicks: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    config = search_config({"method": "autofis", "epochs": 1, "random_draws": 0})
    task, whole = search_data(clicks, STREAMED), search_data(clicks, HYPER)
    trace = METHODS["autofis"].find(whole, config, HYPER).trace
    again = with_statistics(trace, task).model_copy(update={"stages": trace.stages})
    assert again == trace  # a split smaller than the sample is used in full
    monkeypatch.setattr(sys.modules["ctrloom.stages.search_stage"], "STATISTICS_ROWS", 4000)
    sampled = with_statistics(trace, search_data(clicks, STREAMED))
    for one, other in zip(sampled.candidates, trace.candidates, strict=True):
        assert one.statistics_auc != other.statistics_auc
        assert one.statistics_auc == pytest.approx(other.statistics_auc, abs=0.05)


def test_the_residual_test_takes_all_streamed_rows(clicks: Dataset) -> None:
    config = search_config({"method": "residual", "random_draws": 0})
    held, streamed = (
        METHODS["residual"].find(search_data(clicks, settings), config, settings)
        for settings in (HYPER, STREAMED)
    )
    assert held.architecture == streamed.architecture
    assert held.architecture.interactions
    scores = [[c.score for c in found.trace.candidates] for found in (held, streamed)]
    assert scores[0] == pytest.approx(scores[1], rel=1e-9)


def test_stages_stream_from_training_to_evaluation(clicks: Dataset, tmp_path: Path) -> None:
    for rows in ("memory", "stream"):
        models = ModelsConfig({"default": {**HYPER.model_dump(), "rows": rows, "epochs": 1}})
        stages.baselines(clicks.base, ["lr"], models, [0], tmp_path / rows)
    held, streamed = (open_runs(tmp_path / rows)[0] for rows in ("memory", "stream"))
    assert streamed.record.hyperparameters.rows == "stream"
    sources = BatchSources(clicks, "valid", "test")
    one, other = (scored(run, clicks, sources) for run in (held, streamed))
    assert one.test_logit_SN.shape == other.test_logit_SN.shape
    assert labels_of(clicks, "test").label_N.tolist() == clicks.rows("test").label_N.tolist()
    rates = {split: float(clicks.rows(split).label_N.double().mean()) for split in ("train", "valid", "test")}
    assert described(clicks, "test").label_rate == pytest.approx(rates)


def test_rows_are_streamed_if_they_need_over_half_of_memory(
    clicks: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = clicks.row_bytes() * (clicks.rows_in("train") + clicks.rows_in("valid"))
    train = clicks.rows("train")
    assert clicks.row_bytes() * len(train) == sum(tensor.nbytes for _, tensor in train.tensors())
    sources = BatchSources(clicks, "train", "valid")
    for there, streams in ((2 * needed, False), (2 * needed - 1, True)):
        monkeypatch.setattr(batch_sources, "memory_of", lambda _, there=there: there)
        assert sources.streams(HYPER) is streams
        assert sources.streams(STREAMED)
        assert not sources.streams(HYPER.model_copy(update={"rows": "memory"}))
    monkeypatch.undo()
    assert sources.of(HYPER) is sources.of(HYPER)  # read once


def test_rows_that_must_be_in_memory_but_do_not_fit_are_an_error(
    clicks: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "SMALL", 0)
    monkeypatch.setattr(memory, "available", lambda: 1)
    with pytest.raises(LowMemoryError, match=r"for the encoded rows: .*; set rows: stream"):
        BatchSources(clicks, "train").of(HYPER.model_copy(update={"rows": "memory"}))


@pytest.fixture
def world_of_one() -> Iterator[None]:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_several_processes_never_stream(
    clicks: Dataset, world_of_one: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_sources, "memory_of", lambda _: 1)
    assert not BatchSources(clicks, "train").streams(HYPER)
    with pytest.raises(ValueError, match="rows: stream supports one process"):
        BatchSources(clicks, "train").of(STREAMED)


def test_models_and_searches_that_need_all_rows_refuse_streaming(clicks: Dataset, tmp_path: Path) -> None:
    models = ModelsConfig({"default": {"rows": "stream"}})
    with pytest.raises(ValueError, match=r"gbdt: LightGBM needs all rows at once.*rows: memory"):
        stages.baselines(clicks.base, ["gbdt"], models, [0], tmp_path / "runs")
    config = search_config({"method": "statistics_auc", "keep": {2: 2}})
    with pytest.raises(ValueError, match=r"statistics_auc needs all rows at once.*rows: memory"):
        stages.search(clicks.base, config, models, tmp_path / "search")
    assert not list(tmp_path.iterdir())


PASS = """
import sys
from pathlib import Path
import torch
from small import categorical_schema
from ctrloom.data.batches import stream
from ctrloom.data.manifest import PartFile
from ctrloom.training.passes import Passes

stream.WINDOW = 2
path, rows = Path(sys.argv[1]), int(sys.argv[2])
schema = categorical_schema(39, 2000)
part = PartFile(path=path.name, rows=rows, bytes=0, sha256="0" * 64)
row_groups = stream.row_groups_of(path.parent, part, range(rows))
kept = row_groups[:8]
for part in (kept, row_groups):
    streamed, seen = stream.Stream(schema, ["label"], part), 0
    for batch in Passes(streamed, 2000, torch.Generator().manual_seed(0)).batches():
        seen += int(batch.label_N.sum())
    peak = Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]
    print(seen, int(peak) // 1024)
"""


@pytest.mark.slow
def test_streaming_memory_does_not_grow_with_rows(tmp_path: Path) -> None:
    """46 windows (480 MB in memory) after four: peak memory grows by less than a quarter.

    Thread timing changes it by tens of MB, independently of the number of windows.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows, rng = 3_000_000, np.random.default_rng(0)
    names = [chr(97 + i) for i in range(39)]
    group = {name: pa.array(rng.integers(0, 2000, 32_768, dtype=np.int32)) for name in names}
    table = pa.table({**group, "label": pa.array(np.ones(32_768, np.float32))})
    with pq.ParquetWriter(tmp_path / "rows.parquet", table.schema, compression="zstd") as writer:
        for start in range(0, rows, 32_768):
            writer.write_table(table.slice(0, min(32_768, rows - start)))
    here = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", PASS, str(tmp_path / "rows.parquet"), str(rows)],
        env={"PYTHONPATH": f"{here / 'src'}:{here / 'tests'}", "OMP_NUM_THREADS": "1", "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (few, before), (every, after) = (map(int, line.split()) for line in done.stdout.splitlines())
    assert (few, every) == (8 * 32_768, rows)
    assert after - before < 120
