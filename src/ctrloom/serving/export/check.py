"""Writes the model file of an export, runs it, and compares it with the bundle.

N rows.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ctrloom.config.errors import UserError
from ctrloom.data.batches.batch import Batch
from ctrloom.metrics.logistic import expit
from ctrloom.models.bundle import Bundle
from ctrloom.nn.compressed_tables import Tables
from ctrloom.serving.export.formats import FORMATS, Format
from ctrloom.serving.export.program import inputs, scorer, traced
from ctrloom.serving.export.record import Parity
from ctrloom.serving.export.rows import SIZES, batches

TOLERANCE = 1e-5  # of probabilities
Floats = NDArray[np.float64]


class ParityError(UserError):
    """An exported model differs from its bundle."""


class Written(NamedTuple):
    """A model file that was run, with the logits of the bundle and its own."""

    opset: int | None
    parity: Parity
    bundle_N: Floats
    exported_N: Floats


@torch.no_grad()
def write_checked(
    bundle: Bundle, format: Format, tables: Tables | None, rows: Batch, folder: Path, what: str
) -> Written:
    """Write the model file of a format to a folder and compare it with the bundle.

    The bundle's model is changed: trees and tables get the form of exports. With `tables`, the exported model
    is compared with the bundle's model with the same compressed tables.

    Raises:
        ParityError: a probability differs by more than 1e-5; the message begins with `what`.
    """
    kind = FORMATS[format]
    shift = np.log(bundle.schema.negatives_kept)
    (bundle_N,) = _scored(lambda batch: (bundle.model(*inputs(batch)),), rows)
    bundle_N = bundle_N + shift
    portable = scorer(bundle, tables)
    reference_N = bundle_N if tables is None else _scored(lambda batch: portable(*inputs(batch)), rows)[0]
    opset = kind.write(traced(portable, rows), folder / kind.name)
    exported_N, probability_N = _scored(kind.open(folder / kind.name), rows)
    parity = _parity(reference_N, exported_N, probability_N, what)
    return Written(opset, parity, bundle_N, exported_N)


def _scored(run: Callable[[Batch], tuple[Tensor, ...]], rows: Batch) -> tuple[Floats, ...]:
    """Outputs for all rows, computed in batches of several sizes."""
    outputs = zip(*(run(batch) for batch in batches(rows)), strict=True)
    return tuple(torch.cat(parts).double().numpy() for parts in outputs)


def _parity(reference_N: Floats, exported_N: Floats, probability_N: Floats, what: str) -> Parity:
    if not np.isfinite(reference_N).all():
        raise ParityError(f"{what}: the model gives logits that are not finite; train it again")
    expected_N = expit(reference_N)
    difference_N = np.nan_to_num(np.abs(expected_N - probability_N), nan=np.inf)
    row = int(difference_N.argmax())
    if difference_N[row] > TOLERANCE:
        raise ParityError(
            f"{what}: the exported model differs from the bundle: the probability of checked row {row} is "
            f"{probability_N[row]:.7f} instead of {expected_N[row]:.7f}; nothing was "
            "written. Score with the bundle itself, and please report this model"
        )
    return Parity(
        rows=len(reference_N),
        batch_sizes=SIZES,
        probability=float(difference_N[row]),
        logit=float(np.abs(reference_N - exported_N).max()),
    )
