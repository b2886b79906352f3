"""From encoded rows to probabilities, with a loaded bundle.

N rows, C columns of the id matrix.
"""

import math

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from ctrloom.data.batches.tensors import to_batch
from ctrloom.metrics.logistic import expit
from ctrloom.models.bundle import Bundle
from ctrloom.training.loop import SCORING_BATCH


def encoded_logits(bundle: Bundle, encoded: pa.RecordBatch) -> NDArray[np.float64]:
    """Logit of a click for each encoded row (N,); see `data.vocabulary.encode`."""
    rows = to_batch(bundle.schema, encoded).widened()
    return logits_of(bundle, rows.ids_NC, rows.factors_NC)


@torch.inference_mode()
def logits_of(bundle: Bundle, ids_NC: Tensor, factors_NC: Tensor | None) -> NDArray[np.float64]:
    """Logit of a click for each row (N,), given as int32 ids and factors; see `data.batches.batch`.

    The model is in evaluation mode. Its logits are those of `training.loop.score`, bit for bit. If training
    kept a share w of the negative rows, the model's odds are 1/w too high: the logit plus ln w corrects them.
    """
    device = next(bundle.model.parameters()).device
    logits = [np.empty(0, np.float32)]
    for start in range(0, len(ids_NC), SCORING_BATCH):
        rows = slice(start, start + SCORING_BATCH)
        factors = None if factors_NC is None else factors_NC[rows].to(device)
        logits.append(bundle.model(ids_NC[rows].to(device), factors).float().cpu().numpy())
    return np.concatenate(logits).astype(np.float64) + math.log(bundle.schema.negatives_kept)


def probabilities(logit_N: NDArray[np.float64]) -> NDArray[np.float32]:
    """Probability of a click for each logit (N,)."""
    return np.asarray(expit(logit_N).astype(np.float32))
