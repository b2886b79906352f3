"""GBDT and GBDT+LR compared with LightGBM; training, bundles and predictions."""

import builtins
import csv
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import lightgbm
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from scipy import sparse
from scipy.special import expit
from small import rows_of, schema_of

import ctrloom
from ctrloom.architecture import Architecture
from ctrloom.config import MODELS, GBDTSettings, Hyperparameters, ModelsConfig
from ctrloom.config.base import ConfigError
from ctrloom.data.batches.batch import Batch
from ctrloom.data.dataset import Dataset
from ctrloom.metrics.measure import auc
from ctrloom.models import build
from ctrloom.models.bundle import load_bundle, load_weights, save_weights
from ctrloom.models.trees import GBDT, categorical, matrix
from ctrloom.schema import Schema
from ctrloom.serving.predict import predict
from ctrloom.stages import baselines
from ctrloom.training.history import History
from ctrloom.training.loop import score
from ctrloom.training.runs import open_runs
from ctrloom.training.trees import fit_trees

SCHEMA = schema_of(("categorical", 9), ("multivalued", 4, 2), ("numeric", 2), ("categorical", 5))
NAMES: tuple[Literal["gbdt", "gbdtlr"], ...] = ("gbdt", "gbdtlr")
SMALL = {"trees": 30, "leaves": 6, "min_rows_in_leaf": 10, "tree_l2": 0.5, "patience": 10, "epochs": 5}


def clicks(count: int, seed: int) -> Batch:
    """Rows whose label depends on a categorical pair, a number and a value of a multivalued field."""
    rows, rng = rows_of(SCHEMA, count, seed), np.random.default_rng(seed)
    x = dense(SCHEMA, rows)
    logit = 1.5 * ((x[:, 0] > 4) == (x[:, 6] > 2)) + np.nan_to_num(x[:, 5]) + 1.5 * x[:, 3] - 1.5
    label = torch.from_numpy((rng.random(count) < expit(logit)).astype(np.float32))
    weight = torch.from_numpy(rng.integers(1, 4, count).astype(np.float32))
    return Batch(rows.ids_NC, label, rows.factors_NC, weight)


def dense(schema: Schema, rows: Batch) -> np.ndarray:
    """The expected input matrix of the trees, by loops over rows and fields."""
    out = []
    for n in range(len(rows)):
        line, c = [], 0
        for field, offset in zip(schema.fields, schema.offsets, strict=True):
            ids = [int(i) - offset for i in rows.ids_NC[n, c : c + field.width]]
            factors = [1.0] * field.width if rows.factors_NC is None else rows.factors_NC[n, c:].tolist()
            if field.kind == "categorical":
                line.append(float(ids[0]))
            elif field.kind == "numeric":
                line.append(factors[0] if ids[0] else math.nan)
            else:
                held = {i for i, factor in zip(ids, factors, strict=False) if factor}
                line += [float(i in held) for i in range(field.size)]
            c += field.width
        out.append(line)
    return np.array(out)


def settings(name: str, **more: Any) -> GBDTSettings:
    hyper = ModelsConfig({name: SMALL | more}).of(name)
    assert isinstance(hyper, GBDTSettings)
    return hyper


def planted(
    name: Literal["gbdt", "gbdtlr"], train: Batch, valid: Batch, seed: int = 0, **more: Any
) -> tuple[GBDT, History]:
    hyper = settings(name, **more)
    model = build(name, Architecture.complete(SCHEMA.names), SCHEMA, hyper)
    assert isinstance(model, GBDT)
    return model, fit_trees(model, train, valid, hyper, seed, name)


TRAIN, VALID = clicks(1500, 1), clicks(500, 2)


def reference(trees: int, **more: Any) -> lightgbm.Booster:
    """LightGBM called directly on `dense` rows."""
    given = {"objective": "binary", "num_leaves": 6, "min_data_in_leaf": 10, "lambda_l2": 0.5, **more}
    quiet = {"verbosity": -1, "num_threads": 1, "deterministic": True, "force_row_wise": True}
    assert TRAIN.weight_N is not None
    data = lightgbm.Dataset(
        dense(SCHEMA, TRAIN),
        TRAIN.label_N.numpy(),
        weight=TRAIN.weight_N.numpy(),
        categorical_feature=[0, 6],
        params=given | quiet,
    )
    return lightgbm.train(given | quiet, data, trees)


def test_matrix_encodes_every_kind_of_field() -> None:
    found = matrix(SCHEMA, VALID.ids_NC, VALID.factors_NC)
    assert sparse.issparse(found)
    np.testing.assert_array_equal(found.toarray(), dense(SCHEMA, VALID).astype(np.float32))
    assert categorical(SCHEMA) == [0, 6]
    plain = schema_of(("categorical", 5), ("numeric", 2))
    rows = rows_of(plain, 20)
    np.testing.assert_array_equal(matrix(plain, rows.ids_NC, rows.factors_NC), dense(plain, rows))


def test_duplicate_value_is_encoded_once() -> None:
    schema = schema_of(("multivalued", 4, 3))
    ids, factors = torch.tensor([[2, 2, 0]], dtype=torch.int32), torch.tensor([[0.5, 0.5, 0.0]])
    found = matrix(schema, ids, factors)
    assert sparse.issparse(found)
    assert found.toarray().tolist() == [[0, 0, 1, 0]]


def test_gbdt_matches_lightgbm() -> None:
    model, history = planted("gbdt", TRAIN, VALID)
    kept = min(history.best * 10, 30)
    booster = reference(kept)
    expected = booster.predict(dense(SCHEMA, VALID), raw_score=True)
    np.testing.assert_allclose(score(model, VALID), expected, rtol=0, atol=2e-6)
    assert auc(expected, VALID.label_N.numpy()) > 0.7
    leaves = sum(tree["num_leaves"] for tree in booster.dump_model()["tree_info"])
    assert sum(p.numel() for p in model.parameters()) == leaves + 1  # plus a zero bias


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({"category_smoothing": 300.0}, {"cat_smooth": 300.0}),
        ({"category_l2": 0.1}, {"cat_l2": 0.1}),
        ({"min_rows_in_category": 5}, {"min_data_per_group": 5}),
        ({"field_share": 0.5}, {"feature_fraction": 0.5, "feature_fraction_seed": 0}),
        ({"row_share": 0.5}, {"bagging_fraction": 0.5, "bagging_freq": 1, "bagging_seed": 0}),
    ],
)
def test_settings_of_trees_are_those_of_lightgbm(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    model, _ = planted("gbdt", TRAIN, VALID, **ours)
    plain, _ = planted("gbdt", TRAIN, VALID)
    expected = reference(model.booster.num_trees(), **theirs).predict(dense(SCHEMA, VALID), raw_score=True)
    np.testing.assert_allclose(score(model, VALID), expected, rtol=0, atol=2e-6)
    assert not np.allclose(score(model, VALID), score(plain, VALID), atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_a_hook_gets_the_best_epoch_so_far(name: Literal["gbdt", "gbdtlr"]) -> None:
    hyper, seen = settings(name, monitor="auc"), list[tuple[int, float]]()
    model = build(name, Architecture.complete(SCHEMA.names), SCHEMA, hyper)
    history = fit_trees(
        model, TRAIN, VALID, hyper, 0, name, lambda number, best: seen.append((number, best.valid_auc))
    )
    aucs = [epoch.valid_auc for epoch in history.epochs]
    assert seen == [(n, max(aucs[:n])) for n in range(1, len(aucs) + 1)]


def test_gbdtlr_matches_a_regression_on_the_leaves() -> None:
    model, history = planted("gbdtlr", TRAIN, VALID)
    trees = model.booster.num_trees()
    leaf_NT = np.asarray(reference(trees).predict(dense(SCHEMA, VALID), pred_leaf=True))
    sizes = [tree["num_leaves"] for tree in reference(trees).dump_model()["tree_info"]]
    state = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    expected = np.full(len(VALID), state["regression.bias"], dtype=np.float64)
    for n in range(len(VALID)):
        for t in range(trees):
            expected[n] += state["regression.linear.weights.weight"][sum(sizes[:t]) + leaf_NT[n, t], 0]
    np.testing.assert_allclose(score(model, VALID), expected, rtol=0, atol=1e-5)
    assert len(state["regression.linear.weights.weight"]) == sum(sizes)
    assert len(history.epochs) == 5
    boosted, _ = planted("gbdt", TRAIN, VALID)
    assert not np.allclose(score(boosted, VALID), score(model, VALID), atol=0.01)  # different leaf weights


def test_early_stopping_keeps_the_best_trees() -> None:
    quick = {"trees": 1000, "patience": 2, "tree_learning_rate": 0.3}
    model, history = planted("gbdt", TRAIN, VALID, **quick, monitor="auc")
    assert len(history.epochs) == history.best + 2 < 100
    assert model.booster.num_trees() == 10 * history.best
    best = max(history.epochs, key=lambda epoch: epoch.valid_auc)
    assert best.epoch == history.best
    assert VALID.weight_N is not None
    measured = auc(score(model, VALID), VALID.label_N.numpy(), VALID.weight_N.numpy())
    assert best.valid_auc == pytest.approx(measured, abs=1e-6)
    by_loss = planted("gbdt", TRAIN, VALID, trees=1000, patience=2, monitor="logloss")[1]
    assert by_loss.best == min(by_loss.epochs, key=lambda epoch: epoch.valid_logloss).epoch


def test_last_epoch_may_have_fewer_trees_and_boosting_may_find_none() -> None:
    model, history = planted("gbdt", TRAIN, VALID, trees=13, monitor="logloss")
    assert (model.booster.num_trees(), len(history.epochs)) == (13, 2)
    single, history = planted("gbdt", TRAIN, VALID, min_rows_in_leaf=1500)
    assert len(set(score(single, VALID).tolist())) == 1
    assert (single.booster.num_trees(), len(history.epochs)) == (1, 1)


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_is_bit_identical(name: Literal["gbdt", "gbdtlr"]) -> None:
    one, two = (planted(name, TRAIN, VALID, seed=3)[0].state_dict() for _ in range(2))
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_every_seed_gives_the_same_trees() -> None:
    """So one is trained, unless a setting draws rows or fields. A new setting must be in one of the two."""
    same: dict[str, Any] = {
        "trees": 20,
        "leaves": 7,
        "min_rows_in_leaf": 30,
        "tree_learning_rate": 0.2,
        "tree_l2": 2.0,
        "category_smoothing": 50.0,
        "category_l2": 1.0,
        "min_rows_in_category": 20,
    }
    drawing = {"field_share": 0.5, "row_share": 0.5}
    assert set(GBDTSettings.model_fields) - set(Hyperparameters.model_fields) == {*same, *drawing}
    for chosen in ({}, same, *({key: value} for key, value in drawing.items())):
        its = settings("gbdt", **chosen)
        once = chosen.keys().isdisjoint(drawing)
        assert MODELS["gbdt"].same_for_every_seed(its) is once
        assert not MODELS["gbdtlr"].same_for_every_seed(its)
        one, two = (planted("gbdt", TRAIN, VALID, seed=seed, **chosen)[0].state_dict() for seed in (3, 4))
        assert all(torch.equal(one[key], two[key]) for key in one) is once


@pytest.mark.parametrize("name", NAMES)
def test_saved_trees_score_the_same(name: Literal["gbdt", "gbdtlr"], tmp_path: Path) -> None:
    model, _ = planted(name, TRAIN, VALID)
    save_weights(model, tmp_path / "model.safetensors")
    again = build(name, Architecture.complete(SCHEMA.names), SCHEMA, settings(name))
    load_weights(again, tmp_path / "model.safetensors")
    np.testing.assert_array_equal(score(model, VALID), score(again, VALID))


def test_boosting_uses_the_threads_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = planted("gbdt", TRAIN, VALID)
    assert f"[num_threads: {torch.get_num_threads()}]" in bytes(model.text.numpy()).decode()
    asked: list[Any] = []
    predicted = model.booster.predict

    def watched(*args: Any, **kwargs: Any) -> Any:
        asked.append(kwargs["num_threads"])
        return predicted(*args, **kwargs)

    monkeypatch.setattr(model.booster, "predict", watched)
    score(model, VALID)
    assert asked == [torch.get_num_threads()]


def test_raw_rows_go_through_a_bundle(mixed: Dataset, mixed_folder: Path, tmp_path: Path) -> None:
    baselines(mixed.directory, NAMES, ModelsConfig({name: SMALL for name in NAMES}), [4], tmp_path / "runs")
    for run in open_runs(tmp_path / "runs"):
        assert run.record.parameters > 30
        bundle = tmp_path / f"{run.record.name}-bundle"
        run.export(mixed, bundle)
        predict(bundle, [str(mixed_folder / "test.csv")], tmp_path / "p.parquet")
        expected = expit(score(load_bundle(bundle).model, mixed.rows("test")).astype(float))
        got = pq.read_table(tmp_path / "p.parquet")["probability"].to_numpy()
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6)
        assert len(set(got)) > 20
        rows = list(csv.DictReader((mixed_folder / "test.csv").read_text().splitlines()))
        predictor = ctrloom.load_bundle(bundle)
        with ThreadPoolExecutor(4) as pool:
            for each in pool.map(predictor.predict, [rows] * 8):
                np.testing.assert_array_equal(each, got)


def test_missing_lightgbm_names_the_install_command(
    mixed: Dataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    imported = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "lightgbm":
            raise ModuleNotFoundError("No module named 'lightgbm'")
        return imported(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=r"need LightGBM .* pip install '\.\[trees\]'"):
        baselines(mixed.directory, ["lr", "gbdt"], ModelsConfig(), [0], tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
