"""The best model of a table is bundled, trees too, and every bundle scores raw rows."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy.special import expit
from sklearn.metrics import roc_auc_score

import ctrloom
from ctrloom import stages
from ctrloom.config import EvaluationConfig, ModelsConfig, SelectionConfig
from ctrloom.config.base import ConfigError
from ctrloom.config.errors import UserError
from ctrloom.data.dataset import Dataset
from ctrloom.data.row_values import row_values
from ctrloom.evaluation.results import Results
from ctrloom.metrics.grouped import gauc
from ctrloom.models.bundle import load_card
from ctrloom.serving.predict import predict
from ctrloom.training.loop import score
from ctrloom.training.runs import open_by_name, open_runs

MODELS = ModelsConfig(
    {"default": {"embedding_size": 3, "hidden": (8,), "epochs": 2, "batch_size": 128}, "gbdt": {"trees": 20}}
)
SEEDS = [0, 1]


@pytest.fixture(scope="module")
def folder(mixed: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search, its models, and baselines whose steps were separate, as in a pipeline."""
    made = tmp_path_factory.mktemp("trained")
    search = SelectionConfig.parse({"method": "random", "keep": {2: 2}, "random_draws": 1}, "search")
    stages.search(mixed.path, search, MODELS, made / "search")
    stages.retrain(mixed.path, made / "search", MODELS, SEEDS, made / "retrained", controls=[])
    stages.transfer(mixed.path, made / "search", ["ipnn"], MODELS, SEEDS, made / "moved")
    for seed in SEEDS:
        stages.baselines(mixed.path, ["fm"], MODELS, [seed], made / f"plain-{seed}")
    stages.baselines(mixed.path, ["gbdt"], MODELS, SEEDS, made / "trees")
    return made


def folders(made: Path) -> tuple[list[Path], list[Path], list[Path]]:
    return [made / "retrained"], [made / "moved"], [made / "plain-0", made / "plain-1", made / "trees"]


@pytest.fixture(scope="module")
def bundles(mixed: Dataset, folder: Path) -> Path:
    outputs = (folder / name for name in ("best", "others", "bundles"))
    stages.bundle(mixed.path, *folders(folder), ["gbdt", "fm", "autofm", "ipnn-transfer"], *outputs)
    return folder / "bundles"


def test_the_best_of_all_models_is_recorded(mixed: Dataset, folder: Path, bundles: Path) -> None:
    label, weight = mixed.rows("valid").label_N.numpy(), mixed.rows("valid").weight_N
    assert weight is not None
    aucs = {
        name: np.mean(
            [
                roc_auc_score(label, score(trained.model, mixed.rows("valid")), sample_weight=weight)
                for run in runs
                for trained in run.trained(mixed)
            ]
        )
        for name, runs in open_by_name([each for part in folders(folder) for each in part]).items()
    }
    best = json.loads((bundles / "best.json").read_text())
    assert best["name"] == max(aucs, key=lambda name: aucs[name])
    assert best["valid_auc"] == pytest.approx(max(aucs.values()), abs=1e-5)
    assert best["bundles"] == ["gbdt", "fm", "autofm", "ipnn-transfer"]
    card = load_card(bundles / "best")
    assert (card.title, card.seed) == (best["title"], best["seed"])


@pytest.mark.parametrize("name", ["best", "gbdt", "fm", "autofm", "ipnn-transfer"])
def test_every_bundle_scores_raw_rows(
    mixed: Dataset, mixed_folder: Path, folder: Path, bundles: Path, name: str, tmp_path: Path
) -> None:
    predict(bundles / name, [str(mixed_folder / "test.csv")], tmp_path / "p.parquet")
    model = json.loads((bundles / "best.json").read_text())["name"] if name == "best" else name
    runs = open_by_name([each for part in folders(folder) for each in part])[model]
    seed = load_card(bundles / name).seed
    (trained,) = (each for run in runs for each in run.trained(mixed) if each.seed == seed)
    expected = expit(score(trained.model, mixed.rows("test")).astype(float))
    got = pq.read_table(tmp_path / "p.parquet")["probability"].to_numpy()
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_a_model_that_was_not_trained_cannot_be_bundled(mixed: Dataset, folder: Path, tmp_path: Path) -> None:
    outputs = (tmp_path / name for name in ("best", "others", "bundles"))
    with pytest.raises(
        ConfigError, match=r"bundles: 'afm' was not trained; choose from autofm, ipnn-transfer, fm, gbdt"
    ):
        stages.bundle(mixed.path, *folders(folder), ["afm"], *outputs)
    assert not (tmp_path / "bundles").exists()


def test_a_model_that_ignores_its_seed_is_trained_once(folder: Path) -> None:
    (run,) = open_runs(folder / "trees")
    assert run.record.deterministic
    assert [each.seed for each in run.record.seeds] == [0]
    again = open_by_name([folder / "trees", folder / "trees"])["gbdt"]
    assert len(again) == 1


@pytest.fixture(scope="module")
def results(mixed: Dataset, folder: Path) -> Results:
    evaluation = EvaluationConfig(
        bootstrap=50, group="user", segments=("age",), columns=("user", "age"), permutations=2
    )
    every = [each for part in folders(folder) for each in part]
    return stages.evaluate(
        mixed.path, folder / "search", every, SEEDS, evaluation, "test", {}, folder / "evaluation"
    )


def test_a_deterministic_model_has_no_spread_and_its_cost_is_counted_once(
    results: Results, folder: Path
) -> None:
    trees = results.model("gbdt")
    assert trees.deterministic
    assert trees.summary["test"]["auc"].sd is None
    assert len(trees.seeds) == len(trees.curves) == 1
    assert results.model("fm").summary["test"]["auc"].sd is not None
    (run,) = open_runs(folder / "trees")
    assert trees.train_seconds == run.record.seeds[0].history.seconds
    assert results.seeds == (0, 1)
    versus = results.versus_base("gbdt")
    assert versus is not None
    means = [results.model(name).summary["test"]["auc"].mean for name in ("gbdt", "fm")]
    assert versus.auc.delta == pytest.approx(means[0] - means[1])
    assert "GBDT: trained once." in (folder / "evaluation" / "report.html").read_text()


def test_report_and_bundles_name_the_same_best_model(results: Results, bundles: Path) -> None:
    best = json.loads((bundles / "best.json").read_text())
    assert best["name"] == results.best.name
    assert best["valid_auc"] == pytest.approx(results.best.summary["valid"]["auc"].mean, abs=1e-6)
    assert {versus.model for versus in results.against_best} == {best["name"]}


def test_predictions_have_all_models_and_reproduce_the_figures(
    mixed: Dataset, results: Results, folder: Path
) -> None:
    predictions = folder / "evaluation" / "predictions.parquet"
    table = pq.read_table(predictions)
    assert ctrloom.read_predictions(predictions).equals(table)
    content = predictions.read_bytes()
    predictions.write_bytes(content[:-20] + bytes([content[-20] ^ 1]) + content[-19:])  # in the footer
    with pytest.raises(UserError, match=r"predictions\.parquet: was changed or damaged after it was written"):
        ctrloom.read_predictions(predictions)
    predictions.write_bytes(content)
    seeded = [f"{model}_seed_{s}" for model in ("autofm", "ipnn-transfer", "fm") for s in SEEDS]
    assert set(table.column_names) == {"row", "user", "age", "label", "weight", "gbdt", *seeded}
    assert table.column_names[:5] == ["row", "user", "age", "label", "weight"]
    assert table["row"].to_pylist() == list(range(mixed.rows_in("test")))
    label, weight = table["label"].to_numpy(), table["weight"].to_numpy()
    for model in results.models:
        for its in model.seeds:
            name = model.name if model.deterministic else f"{model.name}_seed_{its.seed}"
            auc = roc_auc_score(label, table[name].to_numpy(), sample_weight=weight)
            assert its.test.auc == pytest.approx(auc, abs=1e-6)


def test_gauc_leaves_out_rows_without_a_user(mixed: Dataset, results: Results, folder: Path) -> None:
    table = pq.read_table(folder / "evaluation" / "predictions.parquet").to_pandas()
    known = table[table["user"].notna()]
    aucs, masses = [], []
    for _, rows in known.groupby("user"):
        if rows["label"].nunique() == 2:
            aucs.append(roc_auc_score(rows["label"], rows["gbdt"], sample_weight=rows["weight"]))
            masses.append(rows["weight"].sum())
    assert results.grouping is not None
    assert results.grouping.covered["test"].groups == len(aucs)
    assert results.grouping.covered["test"].share == pytest.approx(sum(masses) / table["weight"].sum())
    assert results.model("gbdt").gauc["test"].mean == pytest.approx(np.average(aucs, weights=masses))
    values = row_values(mixed, "test", "user")
    assert gauc(table["gbdt"].to_numpy(), table["label"].to_numpy(), values.code_N).groups >= len(aucs)


def test_segments_compare_the_found_model_with_the_base(results: Results, mixed: Dataset) -> None:
    (table,) = results.segments
    assert table.column == "age"
    assert all(set(segment.models) == {"autofm", "fm"} for segment in table.segments)
    assert sum(segment.rows for segment in table.segments) == mixed.rows_in("test")


def test_only_the_found_model_has_importances(results: Results) -> None:
    assert {model.name for model in results.models if model.importance} == {"autofm"}
    found = results.model("autofm").importance
    assert found is not None
    assert {effect.fields[0] for effect in found.fields} == {field.name for field in results.data.fields}
    assert len(found.interactions) == 2


def test_stored_results_of_before_still_load(results: Results, folder: Path) -> None:
    old = json.loads((folder / "evaluation" / "metrics.json").read_text())
    del old["checksum"]
    for name in ("grouping", "segments", "stability"):
        del old[name]
    for name in ("group", "segments", "segment_values", "columns", "permutations", "permutation_rows"):
        del old["evaluation"][name]
    for model in old["models"]:
        for name in ("deterministic", "gauc", "size", "importance"):
            del model[name]
    loaded = Results.parse(old, "metrics.json")
    assert loaded.models[0].size is None
