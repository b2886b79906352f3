"""Looking keys up in a static hash table: the twin of `nn.crosses.KeyTable.forward`.

There the host asks again and again whether keys are left to be found; here each program looks on by itself.

N keys looked up, X buckets of K stored keys.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 256


@triton.jit
def _places(bucket_N, key_N, start_X, key_K, place_N, N, BLOCK: tl.constexpr):
    n = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = n < N
    bucket = tl.load(bucket_N + n, mask=there, other=0)
    key = tl.load(key_N + n, mask=there, other=0)
    at = tl.load(start_X + bucket, mask=there, other=0).to(tl.int64)
    stop = tl.load(start_X + bucket + 1, mask=there, other=0).to(tl.int64)
    place = tl.full([BLOCK], -1, tl.int64)
    left = tl.max((stop - at).to(tl.int32), 0)
    while left > 0:
        looking = (at < stop) & (place < 0)
        stored = tl.load(key_K + at, mask=looking, other=-1)
        place = tl.where(looking & (stored == key), at, place)
        at += 1
        left -= 1
    tl.store(place_N + n, place, mask=there)


def places(bucket_N: Tensor, key_N: Tensor, start_X: Tensor, key_K: Tensor) -> Tensor:
    """The place of each key among the stored ones, which lie bucket by bucket; -1 where it has none."""
    place_N = torch.empty_like(key_N)
    if len(key_N):
        grid = (triton.cdiv(len(key_N), BLOCK),)
        _places[grid](bucket_N, key_N, start_X, key_K, place_N, len(key_N), BLOCK=BLOCK)
    return place_N
