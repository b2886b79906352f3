"""Lookup of cross-feature rows in a static hash table, as in `nn.cross_features.CrossEmbedding`.

The plain version needs a host sync per probing round; here each program probes on its own.

B batch, C columns of ids, P pairs of fields, N = B P, X buckets of K stored keys.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 256


@triton.jit
def _cross_rows(ids_BC, left_P, right_P, size_P, shift_P, start_X, key_K, row_BP, N, C, P: tl.constexpr,
          ODD1: tl.constexpr, ODD2: tl.constexpr, BITS: tl.constexpr, BLOCK: tl.constexpr):  # fmt: skip
    n = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = n < N
    ids, p = ids_BC + (n // P).to(tl.int64) * C, n % P
    left = tl.load(ids + tl.load(left_P + p), mask=there, other=0).to(tl.int64)
    right = tl.load(ids + tl.load(right_P + p), mask=there, other=0).to(tl.int64)
    key = left * tl.load(size_P + p) + right + tl.load(shift_P + p)
    mixed = key * ODD1
    mixed ^= mixed >> 32
    mixed *= ODD2
    bucket = (mixed >> (64 - BITS)) & ((1 << BITS) - 1)
    at = tl.load(start_X + bucket, mask=there, other=0).to(tl.int64)
    stop = tl.load(start_X + bucket + 1, mask=there, other=0).to(tl.int64)
    row = p.to(tl.int64)
    left_over = tl.max((stop - at).to(tl.int32), 0)
    while left_over > 0:
        looking = (at < stop) & (row < P)
        stored = tl.load(key_K + at, mask=looking, other=-1)
        row = tl.where(looking & (stored == key), at + P, row)
        at += 1
        left_over -= 1
    tl.store(row_BP + n, row, mask=there)


def rows(ids_BC: Tensor, pairs: Any, table: Any, odd: tuple[int, int]) -> Tensor:
    """Table row of each pair's value (B, P): P plus the index of its key, or p for unseen values of pair p.

    Args:
        ids_BC: ids of a batch.
        pairs: has `left_P`, `right_P`, `size_P` and `shift_P`, which define the key of a value.
        table: has `start_X`, `key_K` and `bits`.
        odd: multipliers of the hash function.
    """
    ids_BC, count = ids_BC.contiguous(), len(pairs.left_P)
    row_BP = torch.empty(len(ids_BC), count, dtype=torch.long, device=ids_BC.device)
    if row_BP.numel():
        given = pairs.left_P, pairs.right_P, pairs.size_P, pairs.shift_P, table.start_X, table.key_K, row_BP
        constants = {"P": count, "ODD1": odd[0], "ODD2": odd[1], "BITS": table.bits, "BLOCK": BLOCK}
        grid = (triton.cdiv(row_BP.numel(), BLOCK),)
        _cross_rows[grid](ids_BC, *given, row_BP.numel(), ids_BC.shape[1], **constants)
    return row_BP
