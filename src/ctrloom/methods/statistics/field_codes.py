"""One code per row and field, by which rows are grouped: an id, the bucket of a number, or a set of values.

N rows, F fields, C columns of the id matrix.
"""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ctrloom.data.batches.batch import Batch, BatchSource
from ctrloom.data.batches.stream import Stream
from ctrloom.schema import MISSING_ID, Schema

BUCKETS = 20  # quantile buckets of a numeric field
BUCKETED_ROWS = 1_000_000  # maximum streamed rows from which the buckets are found
CODED_BATCH = 65_536
SPREAD = np.uint64(0x9E3779B97F4A7C15)  # odd multiplier that spreads ids over 64 bits


@dataclass(frozen=True)
class Coder:
    """How rows become codes; the buckets of numbers are quantiles of training rows."""

    schema: Schema
    edges: dict[str, NDArray]  # per numeric field

    @classmethod
    def fit(cls, schema: Schema, train: BatchSource) -> Self:
        """Find the buckets of numeric fields."""
        numeric = [field.name for field in schema.fields if field.kind == "numeric"]
        if not numeric:
            return cls(schema, {})
        rows = train.some(BUCKETED_ROWS) if isinstance(train, Stream) else train
        assert isinstance(rows, Batch), "training rows must be in memory: see `SearchData.whole`"
        found, column, shares = {}, 0, np.linspace(0, 1, BUCKETS + 1)[1:-1]
        for field in schema.fields:
            if field.kind == "numeric":
                assert rows.factors_NC is not None, "numeric fields have factors"
                missing_N = rows.ids_NC[:, column].numpy() - schema.offsets[schema.names.index(field.name)]
                known = rows.factors_NC[:, column].numpy()[missing_N != MISSING_ID]
                found[field.name] = np.unique(np.quantile(known, shares)) if len(known) else np.empty(0)
            column += field.width
        return cls(schema, found)

    def codes(self, rows: Batch) -> NDArray[np.int64]:
        """Codes (N, F); they are not consecutive."""
        ids_NC = rows.ids_NC.cpu().numpy()
        factors_NC = None if rows.factors_NC is None else rows.factors_NC.cpu().numpy()
        code_NF = np.empty((len(rows), len(self.schema.fields)), np.int64)
        column = 0
        for f, (field, offset) in enumerate(zip(self.schema.fields, self.schema.offsets, strict=True)):
            here = slice(column, column := column + field.width)
            own_NC = ids_NC[:, here].astype(np.int64) - offset
            if field.kind == "categorical" or factors_NC is None:
                code_NF[:, f] = field.common(own_NC[:, 0])
            elif field.kind == "multivalued":
                code_NF[:, f] = _set_code(own_NC, factors_NC[:, here] > 0)
            else:
                bucket_N = np.digitize(factors_NC[:, here][:, 0], self.edges[field.name])
                code_NF[:, f] = np.where(own_NC[:, 0] == MISSING_ID, -1, bucket_N)
        return code_NF


def _set_code(ids_NC: NDArray[np.int64], present_NC: NDArray[np.bool_]) -> NDArray[np.int64]:
    """A 64-bit hash of the set of ids of each row; the order of ids does not count."""
    spread_NC = (ids_NC.astype(np.uint64) + np.uint64(1)) * SPREAD
    spread_NC ^= spread_NC >> np.uint64(31)
    return np.where(present_NC, spread_NC * SPREAD, np.uint64(0)).sum(1, dtype=np.uint64).view(np.int64)


@dataclass(frozen=True)
class CodedRows:
    """Consecutive codes per field, labels and weights of rows; streamed rows have their codes in a file."""

    code_FN: Sequence[NDArray[np.int32]]
    sizes: tuple[int, ...]  # number of codes per field
    label_N: Tensor
    weight_N: Tensor | None
    parts: tuple[int, ...]  # rows of each source, in order

    def __len__(self) -> int:
        return sum(self.parts)

    def column(self, field: int, device: torch.device) -> Tensor:
        """Codes of one field, int64 on the device."""
        return torch.from_numpy(np.ascontiguousarray(self.code_FN[field])).to(device).long()

    @classmethod
    def of(cls, coder: Coder, *sources: BatchSource) -> Self:
        """Code the rows of all sources, one after the other; rows of weight 0 are left out."""
        used = [_used(source) for source in sources]
        parts = tuple(int(used_N.sum()) for used_N in used)
        shape = len(coder.schema.fields), sum(parts)
        raw_FN: NDArray[np.int64] = _array(shape, any(isinstance(s, Stream) for s in sources))
        written = 0
        for source, used_N in zip(sources, used, strict=True):
            for batch, used_B in zip(source.batches(CODED_BATCH), used_N.split(CODED_BATCH), strict=True):
                code_BF = coder.codes(batch)[used_B.numpy()]
                raw_FN[:, written : written + len(code_BF)] = code_BF.T
                written += len(code_BF)
        codes, sizes = [], []
        for raw_N in raw_FN:
            distinct, code_N = np.unique(raw_N, return_inverse=True)
            raw_N.view(np.int32)[: sum(parts)] = code_N  # in place: half of its bytes are enough
            codes.append(raw_N.view(np.int32)[: sum(parts)])
            sizes.append(len(distinct))
        weighted = all(source.weight_N is not None for source in sources)
        return cls(
            code_FN=codes,
            sizes=tuple(sizes),
            label_N=_joined([source.label_N for source in sources], used),
            weight_N=_joined([s.weight_N for s in sources if s.weight_N is not None], used)
            if weighted
            else None,
            parts=parts,
        )


def _used(rows: BatchSource) -> Tensor:
    """Mask of the rows whose weight is not 0."""
    return torch.ones(len(rows), dtype=torch.bool) if rows.weight_N is None else rows.weight_N.cpu() > 0


def _joined(columns: Sequence[Tensor], used: Sequence[Tensor]) -> Tensor:
    return torch.cat([column.cpu()[used_N] for column, used_N in zip(columns, used, strict=True)]).double()


def _array(shape: tuple[int, int], in_file: bool) -> NDArray[np.int64]:
    """An array in memory or in an unnamed temporary file, which the system reads and drops as it needs."""
    if not in_file:
        return np.empty(shape, np.int64)
    with tempfile.TemporaryFile() as file:
        os.posix_fallocate(file.fileno(), 0, max(1, 8 * shape[0] * shape[1]))  # fails now if the disk is full
        return np.memmap(file, np.int64, "r+", shape=shape)
