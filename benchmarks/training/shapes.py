"""Random data with the shapes of public data sets.

N rows, F fields.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from ctrloom.config import SourceConfig
from ctrloom.data.batches.batch import Batch
from ctrloom.schema import Field, Schema

# Distinct tokens of Criteo's 26 categorical fields in the Kaggle data; its 13 numeric ones are buckets.
CRITEO = (
    1460,
    583,
    10_131_227,
    2_202_608,
    305,
    24,
    12_517,
    633,
    3,
    93_145,
    5683,
    8_351_593,
    3194,
    27,
    14_992,
)
CRITEO += (5_461_306, 10, 5652, 2173, 4, 7_046_547, 18, 15, 286_181, 105, 142_572, *(60,) * 13)
# Avazu's 24: hour, weekday and weekend, then the published fields.
AVAZU = (24, 7, 2, 7, 7, 4737, 7745, 26, 8552, 559, 36, 2_686_408, 6_729_486, 8251, 5, 4, 2626, 8, 9, 435, 4)
AVAZU += (68, 172, 60)
FRAPPE = (957, 4082, 7, 7, 2, 3, 2, 9, 80, 233)  # of each field, as published
MOVIELENS = (943, 1682, 61, 2, 21, 795)  # MovieLens 100k: user, item, age, gender, occupation, zip code
SIZES = {"criteo": CRITEO, "avazu": AVAZU, "frappe": FRAPPE, "movielens": MOVIELENS}
DIFFERENT = 2**20  # distinct rows at most; more are repetitions, which does not change the access pattern
SMALL = 1000  # fields up to this size are not scaled


def sizes_of(shape: str, ids: int | None) -> list[int]:
    """The size of each field; fields above SMALL are scaled so that all together have about `ids`."""
    sizes = SIZES[shape]
    if ids is None:
        return list(sizes)
    large = sum(size for size in sizes if size > SMALL)
    rest = ids - sum(size for size in sizes if size <= SMALL)
    return [max(SMALL, size * rest // large) if size > SMALL else max(size, 3) for size in sizes]


def draw(sizes: Sequence[int], rows: int, seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Tokens log-uniform over each field (Zipf with exponent 1) (N, F), and labels, a quarter of them 1."""
    rng = np.random.default_rng(seed)
    columns = [
        np.minimum(n - 1, np.exp(rng.random(rows) * np.log(n + 1)).astype(np.int64) - 1) for n in sizes
    ]
    return np.maximum(np.stack(columns, 1), 0), (rng.random(rows) < 0.25).astype(np.float32)


def schema_of(sizes: Sequence[int]) -> Schema:
    """Fields of tokens of those sizes."""
    fields = tuple(
        Field(name=f"f{i}", column=f"f{i}", kind="categorical", size=size) for i, size in enumerate(sizes)
    )
    columns = {"click": "label", **{field.name: "categorical" for field in fields}}
    return Schema(fields=fields, source=SourceConfig.parse({"columns": columns}, "benchmark"))


def encoded(sizes: Sequence[int], rows: int, seed: int = 0) -> tuple[Schema, Batch]:
    """The same as an encoded batch with its schema."""
    schema = schema_of(sizes)
    token_NF, label_N = draw(sizes, min(rows, DIFFERENT), seed)
    ids_NC = (token_NF + np.array(schema.offsets)).astype(np.int32)
    return schema, repeated(Batch(torch.from_numpy(ids_NC), torch.from_numpy(label_N)), rows)


def repeated(drawn: Batch, rows: int) -> Batch:
    """`rows` rows, repeating those that were drawn."""
    return drawn if len(drawn) == rows else drawn.take(torch.arange(rows) % len(drawn))
