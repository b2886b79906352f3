"""Permutation importance against loops over rows, and on data with known effects."""

import numpy as np
import pytest
import torch
from scipy.special import expit
from sklearn.metrics import log_loss, roc_auc_score
from small import categorical_schema, rows_of, schema_of
from torch import nn

from ctrloom.architecture import Architecture, Interaction
from ctrloom.config import GatedSettings
from ctrloom.data.batches.batch import Batch
from ctrloom.data.dataset import Dataset
from ctrloom.evaluation.importance import importance
from ctrloom.models.shallow import AutoFM
from ctrloom.schema import Schema
from ctrloom.training.loop import score

SETTINGS = GatedSettings(embedding_size=4, embedding_std=0.8)


def model_of(schema: Schema, *interactions: tuple[str, ...]) -> tuple[AutoFM, Architecture]:
    torch.manual_seed(0)
    kept = tuple(Interaction(fields=fields) for fields in interactions)
    architecture = Architecture(method="test", fields=schema.names, interactions=kept)
    return AutoFM(architecture, schema, SETTINGS).eval(), architecture


def clicked(model: nn.Module, rows: Batch, seed: int = 0) -> Batch:
    """The rows with labels drawn from the model's own probabilities, and weights with zeros."""
    rng = np.random.default_rng(seed)
    label = rng.random(len(rows)) < expit(2 * score(model, rows))
    weight = rng.choice([0.0, 1.0, 2.0], len(rows))
    return Batch(
        rows.ids_NC, torch.from_numpy(label).float(), rows.factors_NC, torch.from_numpy(weight).float()
    )


def test_shuffling_a_field_moves_all_its_columns_and_nothing_else() -> None:
    schema = schema_of(("categorical", 6), ("multivalued", 5, 3), ("numeric", 2))
    model, architecture = model_of(schema, ("a", "b"), ("b", "c"))
    rows = clicked(model, rows_of(schema, 400))
    found = importance(model, rows, schema, architecture, repeats=2, most=10_000, seed=4)
    assert rows.weight_N is not None
    there = np.flatnonzero(rows.weight_N.numpy())
    kept = rows[torch.from_numpy(there)]
    label, weight = kept.label_N.numpy(), kept.weight_N.numpy()
    assert (found.rows, found.repeats) == (len(there), 2)

    def figures(logit: np.ndarray) -> tuple[float, float]:
        return (
            roc_auc_score(label, logit, sample_weight=weight),
            log_loss(label, expit(logit.astype(float)), sample_weight=weight),
        )

    plain = figures(score(model, kept))
    assert (found.auc, found.logloss) == pytest.approx(plain, abs=1e-6)
    columns = {"a": [0], "b": [1, 2, 3], "c": [4]}
    for number, (name, its) in enumerate(columns.items()):
        drops, rises = [], []
        for repeat in range(2):
            order = np.random.default_rng([4, number, repeat]).permutation(len(there))
            ids, factors = kept.ids_NC.clone(), kept.factors_NC.clone()
            for n in range(len(there)):
                for column in its:
                    ids[n, column] = kept.ids_NC[order[n], column]
                    factors[n, column] = kept.factors_NC[order[n], column]
            auc, loss = figures(score(model, Batch(ids, kept.label_N, factors)))
            drops.append(plain[0] - auc)
            rises.append(loss - plain[1])
        (effect,) = (each for each in found.fields if each.fields == (name,))
        assert effect.auc_drop == pytest.approx(np.mean(drops), abs=1e-6)
        assert effect.auc_drop_sd == pytest.approx(np.std(drops, ddof=1), abs=1e-6)
        assert effect.logloss_rise == pytest.approx(np.mean(rises), abs=1e-6)
        assert effect.logloss_rise_sd == pytest.approx(np.std(rises, ddof=1), abs=1e-6)


def test_shuffling_an_interaction_leaves_its_fields_alone() -> None:
    schema = categorical_schema(4, 6)
    model, architecture = model_of(schema, ("a", "b"), ("c", "d"), ("a", "b", "d"))
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.running_mean.uniform_(-1, 1)
                module.running_var.uniform_(0.5, 2)
    rows = clicked(model, rows_of(schema, 500))
    found = importance(model, rows, schema, architecture, repeats=1, most=10_000, seed=0)
    kept = rows[torch.from_numpy(np.flatnonzero(rows.weight_N.numpy()))]
    emb = model.embedding(kept.ids_NC.int(), None)
    third = model.interactions.tables["3"](kept.ids_NC.int(), None)
    raw = {
        ("a", "b"): (emb[:, 0] * emb[:, 1]).sum(1),
        ("c", "d"): (emb[:, 2] * emb[:, 3]).sum(1),
        ("a", "b", "d"): (third[:, 0] * third[:, 1] * third[:, 3]).sum(1),
    }
    logit = score(model, kept).astype(float)
    for number, (fields, value) in enumerate(raw.items()):
        gates = model.gates[str(len(fields))]
        place = architecture.of_order(len(fields)).index(fields)
        norm = gates.norm
        normed = (value - norm.running_mean[place]) / (norm.running_var[place] + norm.eps).sqrt()
        term = (gates.gate_P[place] * normed).detach().numpy()
        changed = logit - term + term[np.random.default_rng([0, number, 0]).permutation(len(term))]
        auc = roc_auc_score(kept.label_N, changed, sample_weight=kept.weight_N)
        (effect,) = (each for each in found.interactions if each.fields == fields)
        assert effect.auc_drop == pytest.approx(found.auc - auc, abs=1e-5)


def test_streamed_rows_give_the_same_importances(mixed: Dataset) -> None:
    model, architecture = model_of(mixed.schema, ("user", "age"), ("price", "tags"))
    for most in (10_000, 150):
        held, streamed = (
            importance(model, rows, mixed.schema, architecture, repeats=1, most=most, seed=0)
            for rows in (mixed.rows("valid"), mixed.stream("valid"))
        )
        assert held == streamed
        assert held.rows == min(most, 400)


def test_a_field_without_effect_has_no_importance_and_the_strongest_is_first() -> None:
    schema = categorical_schema(4, 6)
    model, architecture = model_of(schema, ("a", "b"))
    with torch.no_grad():
        model.linear.weights.weight[3 * 6 :] = 0
        model.linear.weights.weight[2 * 6 : 3 * 6] *= 3
    rows = clicked(model, rows_of(schema, 3000))
    found = importance(model, rows, schema, architecture, repeats=3, most=1000, seed=0)
    assert found.rows == 1000
    drops = [effect.auc_drop for effect in found.fields]
    assert drops == sorted(drops, reverse=True)
    nothing = next(effect for effect in found.fields if effect.fields == ("d",))
    assert (nothing.auc_drop, nothing.logloss_rise) == pytest.approx((0, 0), abs=1e-12)
    assert {effect.fields[0] for effect in found.fields[:3]} == {"a", "b", "c"}
    assert all(effect.auc_drop > 0.01 for effect in found.fields[:3])
    again = importance(model, rows, schema, architecture, repeats=3, most=1000, seed=0)
    assert again == found
