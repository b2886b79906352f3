"""The program of a bundle: its model with the final logit and probability, traced for any number of rows.

B batch, C columns of the id matrix.
"""

import math

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from ctrloom.data.batches.batch import Batch
from ctrloom.models.bundle import Bundle
from ctrloom.models.trees import GBDT
from ctrloom.nn.compressed_tables import Tables, compress

IDS, FACTORS, LOGIT, PROBABILITY = "ids", "factors", "logit", "probability"
BATCH = "batch"  # name of the size that may be any
_TRACED_ROWS = 3  # of a size that nothing else has by chance: 0 and 1 are special to the tracer


class Scorer(nn.Module):
    """A model with the correction for downsampled negatives: (ids_BC, factors_BC) -> logit and probability.

    If training kept a share w of the negative rows, ln w is added to the logit.
    """

    def __init__(self, model: nn.Module, negatives_kept: float) -> None:
        super().__init__()
        self.model, self.shift = model, math.log(negatives_kept)

    def forward(self, ids: Tensor, factors: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Logits and probabilities."""
        logit_B = self.model(ids, factors).to(torch.float32) + self.shift
        return logit_B, logit_B.sigmoid()


def scorer(bundle: Bundle, tables: Tables | None) -> Scorer:
    """The scorer of a bundle, which changes the bundle's model: trees and tables get the form of exports."""
    for module in bundle.model.modules():
        if isinstance(module, GBDT):
            module.without_lightgbm()
    if tables:
        compress(bundle.model, tables)
    return Scorer(bundle.model, bundle.schema.negatives_kept).eval().requires_grad_(False)


def inputs(rows: Batch) -> tuple[Tensor, ...]:
    """The inputs of a program: ids, and factors if the model has any."""
    return (rows.ids_NC,) if rows.factors_NC is None else (rows.ids_NC, rows.factors_NC)


def traced(scored: Scorer, rows: Batch) -> ExportedProgram:
    """The program for any number of rows from 1; `rows` give types and widths."""
    first = next(rows.batches(_TRACED_ROWS))
    dynamic = tuple({0: Dim(BATCH)} for _ in inputs(first))
    with torch.no_grad():
        scored(*inputs(first))  # what models look up once, such as the fullest bucket of a hash table
        return torch.export.export(scored, inputs(first), dynamic_shapes=dynamic, strict=False)
