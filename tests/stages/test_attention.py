"""Attention maps of trained models, against maps row by row and against the raw rows."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from ctrloom.architecture import Architecture
from ctrloom.config import ModelsConfig
from ctrloom.data.dataset import Dataset
from ctrloom.models import build
from ctrloom.models.autoint import AutoInt
from ctrloom.stages import baselines
from ctrloom.stages.attention import attention_of, values_of
from ctrloom.stages.evaluation import scored
from ctrloom.training.batch_sources import BatchSources
from ctrloom.training.loop import score
from ctrloom.training.runs import open_runs

SMALL = {"embedding_size": 4, "head_size": 3, "attention_layers": 2, "hidden": (4,), "epochs": 1}


def model_of(mixed: Dataset) -> AutoInt:
    torch.manual_seed(1)
    every = Architecture.complete(mixed.schema.names)
    settings = SMALL | {"embedding_std": 1.0}
    built = build("autoint", every, mixed.schema, ModelsConfig({"autoint": settings}).of("autoint"))
    assert isinstance(built, AutoInt)
    return built.eval()


def test_maps_are_means_and_the_example_has_the_highest_probability(mixed: Dataset) -> None:
    model, valid = model_of(mixed), mixed.rows("valid")
    logit_N = score(model, valid)
    found = attention_of(model, mixed, valid, logit_N)
    assert found is not None
    singles = [
        model.attention_maps(row.ids_NC, row.factors_NC)[:, 0].numpy().astype(float)
        for row in valid.batches(1)
    ]
    np.testing.assert_allclose(found.layers, np.mean(singles, 0), rtol=0, atol=6e-5)
    np.testing.assert_allclose(np.sum(found.layers, -1), 1, rtol=0, atol=3e-4)
    assert np.ptp(found.layers) > 0.01  # not uniform
    best = int(np.argmax(logit_N))
    np.testing.assert_allclose(found.example.layers, singles[best], rtol=0, atol=6e-5)
    assert found.example.probability == pytest.approx(1 / (1 + np.exp(-float(logit_N[best]))))
    assert found.example.values == values_of(mixed.encoder(), valid[best : best + 1])
    assert (found.rows, found.fields) == (400, mixed.schema.names)


def test_example_values_match_the_raw_row(mixed: Dataset, mixed_folder: Path) -> None:
    encoder, valid = mixed.encoder(), mixed.rows("valid")
    known = {name: set(v.tokens.to_pylist()) for name, v in encoder.vocabularies.items()}
    low, high = mixed.schema.fields[2].boundaries

    def shown(name: str, token: str) -> str:
        return "missing" if not token else token if token in known[name] else "unseen"

    with (mixed_folder / "valid.csv").open() as file:
        raw = list(csv.DictReader(file))
    for n in range(100):
        user, _, price, tags = values_of(encoder, valid[n : n + 1])
        assert user == shown("user", raw[n]["user"])
        assert tags == ", ".join(shown("tags", token) for token in raw[n]["tags"].split("|"))
        if raw[n]["price"]:
            scaled = np.clip((float(raw[n]["price"]) - low) / (high - low), 0, 1)
            assert float(price) == pytest.approx(scaled, rel=0.01)
        else:
            assert price == "missing"


def test_evaluation_stores_attention_only_of_models_that_have_it(mixed: Dataset, tmp_path: Path) -> None:
    settings = ModelsConfig({"autointplus": SMALL, "fm": {"epochs": 1}})
    none = {**SMALL, "attention_layers": 0}
    baselines(
        mixed.directory,
        ["autoint", "fm", "autointplus"],
        settings.override("autoint", none),
        [0, 1],
        tmp_path,
    )
    valid = mixed.rows("valid")
    flat, plus, fm = (scored(run, mixed, BatchSources(mixed, "valid", "test")) for run in open_runs(tmp_path))
    assert fm.attention is None
    assert flat.attention is None  # it has no layers
    assert plus.attention is not None
    first = next(iter(open_runs(tmp_path)[1].trained(mixed)))
    assert plus.attention == attention_of(first.model, mixed, valid, plus.valid_logit_SN[0])
