"""Three days: values come and go, and the champion is replaced only if the gate passes."""

from datetime import date
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

from ctrloom import stages, storage
from ctrloom.cli import app
from ctrloom.config import DataConfig, ModelsConfig, VocabularyConfig
from ctrloom.config.base import ConfigError
from ctrloom.config.files import load_retraining_config
from ctrloom.config.growth import GrowthConfig
from ctrloom.config.promotion_gate import PromotionGateConfig
from ctrloom.config.retraining import DriftConfig, RetrainingConfig, TrainingConfig
from ctrloom.data.dataset import Dataset
from ctrloom.data.ingest.date_window import last_day, windowed
from ctrloom.data.synthetic import SynthConfig, synthesize
from ctrloom.evaluation.drift import Drift, stability_index
from ctrloom.evaluation.promotion_gate import load_verdict
from ctrloom.models.bundle import load_bundle, load_card
from ctrloom.serving.predict import predict
from ctrloom.serving.registry import Registry, RegistryError

SYNTH = SynthConfig(
    rows=8_000,
    fields=4,
    sizes=(12,),
    pairs=1,
    main_effects=1.0,
    noise=0.5,
    zipf=0.0,
    days=3,
    renewed=0.25,
    seed=1,
)
DATA = {
    "files": "clicks-{date}.csv",
    "columns": {"click": "label", "field_00..field_03": "categorical", "time": "timestamp"},
    "split": {"by": "time", "valid": 0.1, "test": 0.2},
}
MODEL = {
    "default": {"embedding_size": 4, "hidden": [8], "epochs": 60, "batch_size": 400, "learning_rate": 0.02}
}
GATE = PromotionGateConfig(require="not_worse", auc_margin=0.002, bootstrap=100, calibration_error=0.05)


class Days:
    """A registry, and the outputs of three days."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.registry = folder, str(folder / "registry")
        synthesize(SYNTH, folder)
        self.data = DataConfig.parse({**DATA, "files": str(folder / DATA["files"])}, "test")
        self.verdicts, self.drifts, self.champions, self.datasets = [], [], [], []

    def ingested(self, day: int, **changes) -> Path:
        data = self.data.model_copy(update=changes)
        return stages.ingest(windowed(data, date(2026, 1, day), 1), self.folder / "store")

    def first(self) -> None:
        dataset = stages.vocabulary(self.ingested(1), VocabularyConfig(), self.folder / "store")
        stages.baselines(dataset, ["fm"], ModelsConfig(MODEL), [0], self.folder / "runs")
        from ctrloom.training.runs import open_runs

        open_runs(self.folder / "runs")[0].export(Dataset.open(dataset), self.folder / "first")
        stages.promote(self.registry, self.folder / "first")
        self.champions.append(Registry(self.registry).champion()[0])
        self.datasets.append(dataset)

    def retrain(self, day: int, gate=GATE, training=None, **changes):
        """One day, with the steps of the pipeline: fetch, encode, compare, train, gate, promote."""
        out = self.folder / f"day-{len(self.verdicts)}"
        rows = self.ingested(day, **changes)
        stages.champion(self.registry, out / "champion")
        old = out / "champion" / "bundle"
        dataset = stages.grow(rows, old, GrowthConfig(min_count=5), self.folder / "store")
        self.drifts.append(stages.drift(dataset, old, DriftConfig(), out / "drift"))
        stages.refresh(dataset, old, training or TrainingConfig(), out / "runs", out / "bundle")
        verdict = stages.gate(rows, out / "bundle", out / "champion", gate, out / "verdict")
        if verdict.promote:
            stages.promote(self.registry, out / "bundle", out / "verdict" / "verdict.json")
        stages.report(out / "drift", out / "verdict", f"day {day}", out / "report")
        self.verdicts.append(verdict)
        self.champions.append(Registry(self.registry).champion()[0])
        self.datasets.append(dataset)
        return out


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> Days:
    made = Days(tmp_path_factory.mktemp("days"))
    made.first()
    made.retrain(2)
    made.retrain(3)
    return made


def auc_of_rows_with_new_values(bundle: Path, day: Path, known: set[str], folder: Path) -> float:
    table = pyarrow.csv.read_csv(day)
    newest = table.slice(int(0.8 * len(table)))
    new = np.any([[t not in known for t in newest[f"field_{f:02d}"].to_pylist()] for f in range(4)], axis=0)
    assert 500 < new.sum() < len(newest)
    pyarrow.csv.write_csv(newest.filter(new), folder / "new.csv")
    predict(bundle, [str(folder / "new.csv")], folder / "scores.parquet")
    scores = pq.read_table(folder / "scores.parquet")["probability"].to_numpy()
    return float(roc_auc_score(newest.filter(new)["click"].to_numpy(), scores))


def test_ids_are_stable_over_the_days(days: Days) -> None:
    vocabularies = [Dataset.open(path).encoder().vocabularies for path in days.datasets]
    for before, after in pairwise(vocabularies):
        for name, old in before.items():
            grown = after[name].tokens.to_pylist()
            assert grown[: len(old)] == old.tokens.to_pylist()
            assert len(grown) == len(old) + 3, "a quarter of 12 values was replaced"


def test_new_values_are_learned_and_the_champion_is_replaced(days: Days, tmp_path: Path) -> None:
    assert [verdict.promote for verdict in days.verdicts] == [True, True]
    assert len(set(days.champions)) == 3
    for number in (0, 1):
        old = days.folder / f"day-{number}" / "champion" / "bundle"
        known = {
            t
            for v in Dataset.open(days.datasets[number]).encoder().vocabularies.values()
            for t in v.tokens.to_pylist()
        }
        file = days.folder / f"clicks-2026-01-0{number + 2}.csv"
        before = auc_of_rows_with_new_values(old, file, known, tmp_path)
        after = auc_of_rows_with_new_values(days.folder / f"day-{number}" / "bundle", file, known, tmp_path)
        assert after > before + 0.05
    assert days.verdicts[1].champion.version == days.champions[1]


def test_the_registry_lists_model_auc_and_days(days: Days) -> None:
    done = CliRunner().invoke(app, ["registry", "list", days.registry], catch_exceptions=False)
    lines = [line.split("  ") for line in done.stdout.splitlines()[1:]]
    listed = [[cell.strip() for cell in line if cell.strip()] for line in lines]
    assert [line[0] for line in listed] == days.champions
    assert {line[1] for line in listed} == {"FM"}
    first = load_card(days.folder / "first")
    figures = [f"{verdict.challenger.metrics.auc:.4f} (test)" for verdict in days.verdicts]
    assert [line[2] for line in listed] == [f"{first.valid_auc:.4f} (valid)", *figures]
    assert [line[3] for line in listed] == ["2026-01-01", "2026-01-02", "2026-01-03"]
    assert [line[-1] == "champion" for line in listed] == [False, False, True]


def test_the_architecture_is_the_first_one(days: Days) -> None:
    first = load_bundle(days.folder / "first")
    last = load_bundle(days.folder / "day-1" / "bundle")
    assert last.architecture == first.architecture
    assert last.card.hyperparameters == first.card.hyperparameters


def test_the_drift_is_that_of_the_files(days: Days) -> None:
    drift, folder = days.drifts[0], days.folder
    first, second = (pyarrow.csv.read_csv(folder / f"clicks-2026-01-0{d}.csv") for d in (1, 2))
    train = [table.slice(0, int(0.7 * len(table))) for table in (first, second)]
    assert (drift.rows_before, drift.rows_now) == (5600, 5600)
    assert drift.label_rate_now == pytest.approx(train[1]["click"].to_numpy().mean())
    for field in drift.fields:
        known = set(first[field.name].to_pylist())
        now = train[1][field.name].to_pylist()
        assert field.unseen_now == pytest.approx(np.mean([t not in known for t in now]))
        assert field.new_ids == 3
        counts = [[side[field.name].to_pylist().count(t) for t in sorted(known)] for side in train]
        unseen = len(now) - sum(counts[1])
        assert field.stability == pytest.approx(
            stability_index([*counts[0], 0, 0], [*counts[1], 0, unseen]), rel=1e-6
        )
    assert len(drift.alarms) == 4
    page = (folder / "day-0" / "report" / "report.html").read_text()
    assert "A new champion" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "## Gate: promote" in (folder / "day-0" / "report" / "report.md").read_text()
    assert storage.read_record(folder / "day-0" / "drift" / "drift.json", Drift) == drift


def test_champion_stays_after_a_day_of_broken_labels(days: Days) -> None:
    table = pyarrow.csv.read_csv(days.folder / "clicks-2026-01-03.csv")
    mixed = np.random.default_rng(0).permutation(table["click"].to_numpy())
    broken = days.folder / "broken-2026-01-03.csv"
    pyarrow.csv.write_csv(table.set_column(0, "click", [mixed]), broken)
    files = days.data.files.model_copy(update={"train": (str(broken).replace("2026-01-03", "{date}"),)})
    champion = days.champions[-1]
    out = days.retrain(3, files=files)
    assert not days.verdicts[-1].promote
    assert Registry(days.registry).champion()[0] == champion
    assert "The champion stays" in (out / "report" / "report.html").read_text()
    with pytest.raises(RegistryError, match="rejects the promotion"):
        stages.promote(days.registry, out / "bundle", out / "verdict" / "verdict.json")
    assert len(Registry(days.registry).versions()) == 3


def test_verdict_applies_only_to_its_model_and_champion(days: Days, tmp_path: Path) -> None:
    registry = str(tmp_path / "registry")
    stages.promote(registry, days.folder / "first")
    stages.champion(registry, tmp_path / "champion")
    rows, bundle = days.ingested(2), days.folder / "day-0" / "bundle"
    stages.gate(rows, bundle, tmp_path / "champion", GATE, tmp_path / "verdict")
    verdict = tmp_path / "verdict" / "verdict.json"
    assert load_verdict(verdict).promote
    with pytest.raises(RegistryError, match="is of another model"):
        stages.promote(registry, days.folder / "day-1" / "bundle", verdict)
    stages.promote(registry, days.folder / "day-1" / "bundle")  # another process
    with pytest.raises(RegistryError, match="was not promoted"):
        stages.promote(registry, bundle, verdict)


def test_cold_start_ignores_the_champions_weights(days: Days, tmp_path: Path) -> None:
    old = days.folder / "day-0" / "champion" / "bundle"
    barely = {"settings": {"epochs": 1, "learning_rate": 1e-9}}
    for start in ("warm", "cold"):
        config = TrainingConfig.parse({"start": start, **barely}, "training")
        stages.refresh(days.datasets[1], old, config, tmp_path / f"{start}-runs", tmp_path / start)
    biases = [
        load_bundle(path).model.linear.weights.weight[2:14, 0].detach().numpy()
        for path in (old, tmp_path / "warm", tmp_path / "cold")
    ]
    np.testing.assert_allclose(biases[1], biases[0], atol=1e-5)
    assert np.abs(biases[2] - biases[0]).max() > 0.1


def test_refresh_rejects_invalid_settings(days: Days, tmp_path: Path) -> None:
    old = days.folder / "day-0" / "champion" / "bundle"
    larger = TrainingConfig(settings={"embedding_size": 9})
    with pytest.raises(ConfigError, match=r"training\.start: cold"):
        stages.refresh(days.datasets[1], old, larger, tmp_path / "r", tmp_path / "b")
    with pytest.raises(ConfigError, match="did you mean 'epochs'"):
        stages.refresh(
            days.datasets[1], old, TrainingConfig(settings={"epoch": 9}), tmp_path / "r", tmp_path / "b"
        )
    with pytest.raises(ConfigError, match=r"training\.settings.*did you mean 'epochs'"):
        stages.champion(days.registry, tmp_path / "champion", TrainingConfig(settings={"epoch": 9}))
    assert not (tmp_path / "champion").exists()
    with pytest.raises(RegistryError, match="has no champion yet"):
        stages.champion(str(tmp_path / "empty"), tmp_path / "champion")
    base = {"name": "x", "registry": "r", "data": {**DATA, "split": {"by": "random"}}}
    with pytest.raises(ConfigError, match="newest rows"):
        RetrainingConfig.parse(base, "x.yaml")


def test_bundled_configurations_are_valid() -> None:
    configs = sorted((Path(__file__).parents[2] / "configs" / "retraining").glob("*.yaml"))
    assert configs
    for path in configs:
        config = load_retraining_config(path)
        assert Path(str(config.registry)).is_absolute()
        assert windowed(config.data, date(2026, 1, 2), 2).files.train[1].endswith("2026-01-02.csv")


def test_window_selects_the_files_of_its_days() -> None:
    data = DataConfig.parse({**DATA, "files": ["a/{date:%Y%m%d}/*.csv", "b-{date}.csv", "c.csv"]}, "test")
    made = windowed(data, last_day("2026-03-01"), 2).files.train
    assert made == ("a/20260228/*.csv", "a/20260301/*.csv", "b-2026-02-28.csv", "b-2026-03-01.csv", "c.csv")
    with pytest.raises(ConfigError, match="no file name contains"):
        windowed(DataConfig.parse({**DATA, "files": "c.csv"}, "test"), date(2026, 3, 1), 1)
    with pytest.raises(ConfigError, match="is not a date"):
        last_day("1 March")
