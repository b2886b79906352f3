"""The direct call of a model has the bits of the training loop's `score`."""

import numpy as np
import pytest
import torch
from small import LITTLE, categorical_schema, crossed, rows_of

from ctrloom.architecture import Architecture
from ctrloom.config import MODELS, ModelsConfig
from ctrloom.models import build
from ctrloom.models.bundle import Bundle, ModelCard
from ctrloom.nn.cross_features import fill_crosses
from ctrloom.serving import scoring
from ctrloom.serving.scoring import logits_of
from ctrloom.training import loop
from ctrloom.training.loop import score

SPECIAL = {"aim", "autopi", "gbdt", "gbdtlr", "gbdtpoly2"}  # need a search or trees
NAMES = sorted({*MODELS} - SPECIAL)
SCHEMA, KEYS = crossed(categorical_schema(5))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("count", [1, 3, 50])
def test_direct_call_has_the_bits_of_the_training_loop(
    name: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "SCORING_BATCH", 20)
    monkeypatch.setattr(scoring, "SCORING_BATCH", 20)
    torch.manual_seed(0)
    wide = {"hidden": (300, 300)}  # layers that oneDNN scores
    settings = ModelsConfig({"default": {**LITTLE.model_dump(), **wide, "embedding_std": 0.4}}).of(name)
    architecture = Architecture.complete(SCHEMA.names)
    model = build(name, architecture, SCHEMA, settings)
    fill_crosses(model, KEYS)
    schema = SCHEMA.model_copy(update={"negatives_kept": 0.25})
    bundle = Bundle(ModelCard.model_construct(), architecture, schema, model.eval())
    rows = rows_of(SCHEMA, count)
    expected = score(model, rows).astype(np.float64) + np.log(0.25)
    assert logits_of(bundle, rows.ids_NC.int(), rows.factors_NC).tobytes() == expected.tobytes()
    assert len({*expected}) > count // 2
