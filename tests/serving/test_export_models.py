"""Every model of the zoo is exported with any number of rows, and keeps its scores."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import expit

from benchmarks.zoo import Specimen, schema_and_keys, specimens
from ctrloom.config import METHODS, MODELS
from ctrloom.models.bundle import Bundle
from ctrloom.serving.export.check import Written, write_checked
from ctrloom.serving.export.formats import Format
from ctrloom.serving.export.program import inputs
from ctrloom.serving.export.rows import random_rows
from ctrloom.training.loop import score

ZOO = specimens()
SCHEMA, KEYS = schema_and_keys()
ROWS = random_rows(SCHEMA)


def bundle_of(specimen: Specimen) -> Bundle:
    card: Any = None
    return Bundle(card, specimen.architecture, SCHEMA, specimen.build(SCHEMA, KEYS))


def written(title: str, format: Format, folder: Path) -> Written:
    return write_checked(bundle_of(ZOO[title]), format, None, ROWS, folder, title)


def test_the_zoo_has_every_model_and_the_architectures_of_every_method() -> None:
    assert {specimen.name for specimen in ZOO.values()} == set(MODELS)
    methods = {specimen.architecture.method for specimen in ZOO.values()}
    assert set(METHODS) - methods == {  # find inner products of selected fields, as "some pairs" does
        "autofis",
        "residual",
        "random",
        "statistics_auc",
        "mutual_information",
    }


@pytest.mark.parametrize("title", ZOO)
def test_torch_program_scores_as_the_bundle(title: str, tmp_path: Path) -> None:
    expected = score(bundle_of(ZOO[title]).model, ROWS).astype(float) + np.log(0.5)
    made = written(title, "torch", tmp_path)
    module = torch.export.load(tmp_path / "model.pt2").module()
    logit, probability = module(*inputs(ROWS))  # all at once: another size than those that were checked
    np.testing.assert_allclose(logit.numpy(), expected, rtol=0, atol=2e-5)
    np.testing.assert_allclose(probability.numpy(), expit(expected), rtol=0, atol=1e-5)
    assert np.ptp(expected) > 0.05, "scores differ between rows"
    assert made.parity.probability < 1e-5
