"""`fit_briefly` compared with a plain loop with torch's Adam."""

import copy
import math

import pytest
import torch
from small import planting
from torch.nn.functional import binary_cross_entropy_with_logits

from ctrloom.architecture import Architecture
from ctrloom.config import Hyperparameters
from ctrloom.models import build
from ctrloom.training.loop import seed_everything
from ctrloom.training.passes import Passes
from ctrloom.training.short_fit import fit_briefly

HYPER = Hyperparameters(
    embedding_size=4, batch_size=300, learning_rate=0.02, embedding_l2=0, epochs=3, patience=1
)


def test_fit_briefly_is_adam_with_cosine_annealing() -> None:
    made = planting(rows=1000, fields=4, sizes=(6,), pairs=2, seed=3)
    rows, valid = made.rows[:800], made.rows[800:]
    torch.manual_seed(1)
    model = build("fm", Architecture.complete(made.schema.names), made.schema, HYPER)
    plain = copy.deepcopy(model)
    history = fit_briefly(model, rows, valid, HYPER, 5, "brief")

    generator, step = seed_everything(5), 0
    optimizer = torch.optim.Adam(plain.parameters())
    for _ in range(3):
        for batch in Passes(rows, 300, generator).batches():
            optimizer.param_groups[0]["lr"] = 0.02 * (1 + math.cos(math.pi * step / 9)) / 2
            optimizer.zero_grad()
            binary_cross_entropy_with_logits(plain(batch.ids_NC), batch.label_N).backward()
            optimizer.step()
            step += 1
    assert step == 9
    for ours, theirs in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)

    with torch.no_grad():
        last = binary_cross_entropy_with_logits(plain(valid.ids_NC), valid.label_N)
    assert history.best == len(history.epochs) == 3
    assert history.best_epoch.valid_logloss == pytest.approx(float(last), rel=1e-4)
