"""Embeddings of the values that two fields have together.

B batch, C columns of the id matrix, P pairs of fields, D embedding size, K kept values of all pairs, N values
looked up at once.
"""

from collections.abc import Iterable, Sequence
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor, nn

from ctrloom import distributed, kernels
from ctrloom.config import MemorizingSettings
from ctrloom.nn.sparse_rows import touched_rows
from ctrloom.schema import CrossKeys, Schema, SchemaMismatchError

_ODD = (-0x61C8864680B583EB, -0x3D4D51C2D82B14B1)  # multipliers that mix bits (Steele et al., SplitMix)


class KeyTable(nn.Module):
    """The place of each of K different keys (0 or more): an exact, static hash table in tensors.

    Keys lie sorted by bucket, and `start_X` says where each bucket begins; there are up to twice as many
    buckets as keys. Both are buffers and saved with a model.
    """

    key_K: Tensor
    start_X: Tensor

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count, self.bits = count, max(1, count.bit_length())
        self.ready = False
        # A key that no one has stands at the end, where an empty last bucket points to.
        self.register_buffer("key_K", torch.full((count + 1,), -1))
        self.register_buffer("start_X", torch.zeros(2**self.bits + 1, dtype=torch.int32))

    def fill(self, key_K: Tensor) -> Tensor:
        """Put the keys in; returns which one lies at each place."""
        assert len(key_K) == self.count, "as many keys as the table was made for"
        bucket_K = self._bucket(key_K)
        per_bucket_X = torch.bincount(bucket_K, minlength=2**self.bits)
        self.start_X[1:] = per_bucket_X.cumsum(0)
        order_K = bucket_K.argsort(stable=True)
        self.key_K[:-1] = key_K[order_K]
        return order_K

    def check(self) -> None:
        """Ask once whether the keys are there.

        Raises:
            ValueError: they were never put in.
        """
        if not self.ready and int(self.start_X[-1]) != self.count:
            raise ValueError(
                "the crosses of this model have no keys yet: call fill_crosses after building it"
            )
        self.ready = True

    def forward(self, key_N: Tensor) -> Tensor:
        """The place of each key, from 0; -1 for one that is not in the table.

        Raises:
            ValueError: the keys were never put in.
        """
        self.check()
        bucket_N = self._bucket(key_N)
        # index_select is several times faster than indexing by a tensor on the CPU.
        at_N, stop_N = (self.start_X.index_select(0, bucket_N + i) for i in (0, 1))
        hit_N = self.key_K.index_select(0, at_N) == key_N
        place_N, left_N = torch.where(hit_N, at_N, -1), torch.arange(len(key_N), device=key_N.device)
        while len(more_N := (~hit_N & (at_N + 1 < stop_N)).nonzero().squeeze(1)):
            key_N, at_N, stop_N, left_N = (
                x_N.index_select(0, more_N) for x_N in (key_N, at_N + 1, stop_N, left_N)
            )
            hit_N = self.key_K.index_select(0, at_N) == key_N
            place_N.index_copy_(0, left_N, torch.where(hit_N, at_N, -1))
        return place_N

    def _bucket(self, key_N: Tensor) -> Tensor:
        mixed_N = key_N * _ODD[0]
        mixed_N ^= mixed_N >> 32
        mixed_N *= _ODD[1]
        return (mixed_N >> (64 - self.bits)) & (2**self.bits - 1)


class CrossEmbedding(nn.Module):
    """Embeds the value that each pair of fields has in a row: ids_BC -> emb_BPD.

    Cross ids are nowhere stored: a value is found by its key (see `schema.Cross`). Row p of the one table is
    pair number p's vector for rare and unseen values; the rows of the kept ones follow as they lie in the
    `KeyTable`. Gradients are sparse: they name the rows that the batch touches, each once.

    A value of a single training row learns the label of that row by heart. If training never met a value
    without a row of its own, the model would not know what to make of those that it meets afterwards; so
    training now and then takes single values for unseen ones, which is what they are to all other rows.

    Args:
        schema: gives the sizes of the crosses.
        pairs: field names, in schema order.
        size: D.
        std: standard deviation of the initialisation.
        hyper: settings of the table.

    Raises:
        SchemaMismatchError: the data set has no crosses of one of the pairs.
    """

    size_P: Tensor
    left_P: Tensor
    right_P: Tensor
    shift_P: Tensor
    single_R: Tensor  # rows of values that one training row has
    absent_R: Tensor | None  # rows of values that no training row has, once `recount` has found any

    def __init__(
        self,
        schema: Schema,
        pairs: Sequence[tuple[str, ...]],
        size: int,
        std: float,
        hyper: MemorizingSettings,
    ) -> None:
        super().__init__()
        kept: dict[tuple[str, ...], int] = {cross.fields: cross.size - 1 for cross in schema.crosses}
        if missing := [pair for pair in pairs if pair not in kept]:
            raise SchemaMismatchError(
                f"the data set has no crosses of {' and '.join(missing[0])}, which the model memorizes: "
                f"set {'vocabulary.crosses.pairs: all' if kept else 'vocabulary.crosses'} and encode it again"
            )
        self.pairs, self.hiding = tuple(pairs), hyper.cross_hiding
        self.each_time = False  # whether gradients name a row as often as it was looked up
        self.l2, self.learning_rate = hyper.cross_l2, hyper.cross_learning_rate  # for `training.loop.adam`
        self.keys = KeyTable(sum(kept[pair] for pair in self.pairs))
        self.weight = nn.Parameter(torch.empty(len(pairs) + self.keys.count, size).normal_(0.0, std))
        self.register_buffer("single_R", torch.zeros(len(self.weight), dtype=torch.bool), persistent=False)
        self.register_buffer("absent_R", None, persistent=False)
        self.singles = False  # whether there are any to hide, which costs a draw per value
        # Keys of different pairs are kept apart by adding the number of keys that the pairs before can have.
        fields = [schema.indices(pair) for pair in self.pairs]
        sizes = [schema.fields[f].size for f in range(len(schema.fields))]
        self.bases = [0, *accumulate(sizes[a] * sizes[b] for a, b in fields)]
        assert self.bases[-1] < 2**63, "keys fit into 64 bits"
        column = {f: c for c, f in reversed(list(enumerate(schema.field_of_column)))}
        starts = schema.offsets
        shifts = [
            base - starts[a] * sizes[b] - starts[b] for base, (a, b) in zip(self.bases, fields, strict=False)
        ]
        for name, values in (
            ("left_P", [column[a] for a, _ in fields]),
            ("right_P", [column[b] for _, b in fields]),
            ("size_P", [sizes[b] for _, b in fields]),
            ("shift_P", shifts),
        ):
            self.register_buffer(name, torch.tensor(values, dtype=torch.long), persistent=False)

    def fill(self, keys: CrossKeys) -> None:
        """Put in the keys of the pairs, as a data set gives them."""
        parts = [keys[pair] for pair in self.pairs]
        shifted = [part.key_K + base for part, base in zip(parts, self.bases, strict=False)]
        order_K = self.keys.fill(torch.from_numpy(np.concatenate([np.empty(0, np.int64), *shifted])))
        single_K = np.concatenate([np.empty(0, bool), *(part.count_K == 1 for part in parts)])
        self.single_R[len(self.pairs) :] = torch.from_numpy(single_K)[order_K]
        self.singles = bool(single_K.any())

    def recount(self, batches: Iterable[Tensor]) -> None:
        """Count values anew, in a part of the rows, given as ids_BC: those in none of it are unseen now."""
        count_R = torch.zeros(len(self.weight), dtype=torch.long, device=self.weight.device)
        for ids_BC in batches:
            count_R += torch.bincount(self._known(ids_BC).flatten(), minlength=len(count_R))
        count_R = distributed.all_reduce(count_R)
        self.single_R, self.absent_R = count_R == 1, count_R == 0
        self.singles = bool(self.single_R.any())

    def rows(self, ids_BC: Tensor) -> Tensor:
        """Row of the table for each pair, row_BP."""
        row_BP = self._known(ids_BC)
        hidden_BP = None if self.absent_R is None else self.absent_R[row_BP]
        if self.training and self.hiding and self.singles:
            drawn_BP = torch.rand(row_BP.shape, device=row_BP.device) < self.hiding
            single_BP = self.single_R[row_BP] & drawn_BP
            hidden_BP = single_BP if hidden_BP is None else hidden_BP | single_BP
        if hidden_BP is None:
            return row_BP
        return torch.where(hidden_BP, torch.arange(len(self.pairs), device=row_BP.device), row_BP)

    def _known(self, ids_BC: Tensor) -> Tensor:
        if kernels.usable(ids_BC):
            from ctrloom.kernels.keys import rows

            self.keys.check()
            return rows(ids_BC, self, self.keys, _ODD)
        ids_BC = ids_BC.long()
        key_BP = ids_BC.index_select(1, self.left_P) * self.size_P
        key_BP += ids_BC.index_select(1, self.right_P) + self.shift_P
        place_BP = self.keys(key_BP.flatten()).view_as(key_BP)
        unseen_P = torch.arange(len(self.pairs), device=ids_BC.device)
        return torch.where(place_BP < 0, unseen_P, place_BP + len(self.pairs))

    def forward(self, ids_BC: Tensor) -> Tensor:
        """Embeddings emb_BPD."""
        return touched_rows(self.weight, self.rows(ids_BC), self.each_time)


def fill_crosses(model: nn.Module, keys: CrossKeys) -> None:
    """Give a model that was just built the keys of its crosses; a trained one has them in its weights."""
    for module in model.modules():
        if isinstance(module, CrossEmbedding):
            module.fill(keys)
