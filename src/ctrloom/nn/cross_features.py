"""Embeddings of cross features: the joint values of two fields.

B batch, C columns of the id matrix, P pairs of fields, D embedding size, K kept values of all pairs, N keys
per lookup.
"""

from collections.abc import Iterable, Sequence
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor, nn

from ctrloom import distributed, kernels, memory
from ctrloom.config import MemorizingSettings
from ctrloom.nn.sparse_rows import lookup_sparse_gradient
from ctrloom.schema import CrossKeys, Schema, SchemaMismatchError

_ODD = (-0x61C8864680B583EB, -0x3D4D51C2D82B14B1)  # multipliers that mix bits (Steele et al., SplitMix)


class KeyTable(nn.Module):
    """Maps each of K distinct keys (0 or more) to its index: an exact, static hash table in tensors.

    Keys are sorted by bucket, and `start_X` holds the offset of each bucket; there are up to twice as many
    buckets as keys. Both are buffers and saved with the model.
    """

    key_K: Tensor
    start_X: Tensor

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count, self.bits = count, max(1, count.bit_length())
        self.ready, self.longest = False, 0  # set by `check`; `longest` is the size of the fullest bucket
        # The last entry is a sentinel that matches no key; an empty last bucket points to it.
        self.register_buffer("key_K", torch.full((count + 1,), -1))
        self.register_buffer("start_X", torch.zeros(2**self.bits + 1, dtype=torch.int32))

    def fill(self, key_K: Tensor) -> Tensor:
        """Store the keys; returns their permutation: which key is at each index."""
        assert len(key_K) == self.count, "number of keys differs from the size of the table"
        bucket_K = self._bucket(key_K)
        per_bucket_X = torch.bincount(bucket_K, minlength=2**self.bits)
        self.start_X[1:] = per_bucket_X.cumsum(0)
        order_K = bucket_K.argsort(stable=True)
        self.key_K[:-1] = key_K[order_K]
        return order_K

    def check(self) -> None:
        """Check that the table was filled; costs a host sync the first time only.

        Raises:
            ValueError: `fill` was never called.
        """
        if self.ready:
            return
        if int(self.start_X[-1]) != self.count:
            raise ValueError(
                "the cross features of this model have no keys: call fill_crosses after building it"
            )
        self.longest = int(self.start_X.diff().max())
        self.ready = True

    def forward(self, key_N: Tensor) -> Tensor:
        """The index of each key, or -1 if it is not in the table.

        Raises:
            ValueError: `fill` was never called.
        """
        self.check()
        bucket_N = self._bucket(key_N)
        # index_select is several times faster than indexing by a tensor on the CPU.
        at_N, stop_N = (self.start_X.index_select(0, bucket_N + i) for i in (0, 1))
        if torch.compiler.is_exporting():
            return self._probed(key_N, at_N)
        hit_N = self.key_K.index_select(0, at_N) == key_N
        place_N, left_N = torch.where(hit_N, at_N, -1), torch.arange(len(key_N), device=key_N.device)
        while len(more_N := (~hit_N & (at_N + 1 < stop_N)).nonzero().squeeze(1)):
            key_N, at_N, stop_N, left_N = (
                x_N.index_select(0, more_N) for x_N in (key_N, at_N + 1, stop_N, left_N)
            )
            hit_N = self.key_K.index_select(0, at_N) == key_N
            place_N.index_copy_(0, left_N, torch.where(hit_N, at_N, -1))
        return place_N

    def _probed(self, key_N: Tensor, at_N: Tensor) -> Tensor:
        """As `forward`, by as many comparisons for every key: its shapes depend on no key's value.

        A key is in no other bucket than its own, so that comparisons beyond its end find nothing.
        """
        place_N = torch.full_like(at_N, -1)
        for step in range(self.longest):
            next_N = (at_N + step).clamp(max=self.count)
            place_N = torch.where(self.key_K.index_select(0, next_N) == key_N, next_N, place_N)
        return place_N

    def _bucket(self, key_N: Tensor) -> Tensor:
        mixed_N = key_N * _ODD[0]
        mixed_N ^= mixed_N >> 32
        mixed_N *= _ODD[1]
        return (mixed_N >> (64 - self.bits)) & (2**self.bits - 1)


class CrossEmbedding(nn.Module):
    """Embeds the joint value of each pair of fields: ids_BC -> emb_BPD.

    Cross ids are not stored: a value is looked up by its key (see `schema.Cross`). Row p of the single table
    is the vector of rare and unseen values of pair p; the rows of kept values follow in `KeyTable` order.
    Gradients are sparse and contain each row of the batch once.

    A value that occurs in a single training row memorizes that row's label, so the vectors of unseen values
    would never be trained. Training therefore replaces such values at random (`cross_hiding`) by the unseen
    value, which is what they are to all other rows.

    Args:
        schema: sizes of the cross features.
        pairs: field names, in schema order.
        size: D.
        std: standard deviation of the initialisation.
        settings: settings of the table.

    Raises:
        SchemaMismatchError: the data set has no cross features of one of the pairs.
    """

    size_P: Tensor
    left_P: Tensor
    right_P: Tensor
    shift_P: Tensor
    single_R: Tensor  # rows of values that occur in exactly one training row
    absent_R: Tensor | None  # rows of values that occur in no training row; set by `recount`

    def __init__(
        self,
        schema: Schema,
        pairs: Sequence[tuple[str, ...]],
        size: int,
        std: float,
        settings: MemorizingSettings,
    ) -> None:
        super().__init__()
        kept: dict[tuple[str, ...], int] = {cross.fields: cross.size - 1 for cross in schema.crosses}
        if missing := [pair for pair in pairs if pair not in kept]:
            raise SchemaMismatchError(
                f"the data set has no cross features of {' and '.join(missing[0])}, which the model needs: "
                f"set {'vocabulary.crosses.pairs: all' if kept else 'vocabulary.crosses'} and encode it again"
            )
        self.pairs, self.hiding = tuple(pairs), settings.cross_hiding
        self.keep_duplicates = False  # whether gradients repeat a row for each lookup
        self.compressed: nn.Module | None = None  # in place of `weight`, see `nn.compressed_tables`
        self.l2, self.learning_rate = (
            settings.cross_l2,
            settings.cross_learning_rate,
        )  # for `training.loop.adam`
        count = sum(kept[pair] for pair in self.pairs)
        memory.require(
            (4 * size + 16) * count,  # with its keys
            f"the table of {count:,} cross features of {size:,} numbers",
            "raise vocabulary.crosses.min_count, name fewer vocabulary.crosses.pairs, or lower "
            "cross_embedding_size",
        )
        self.keys = KeyTable(count)
        self.weight = nn.Parameter(torch.empty(len(pairs) + self.keys.count, size).normal_(0.0, std))
        self.register_buffer("single_R", torch.zeros(len(self.weight), dtype=torch.bool), persistent=False)
        self.register_buffer("absent_R", None, persistent=False)
        self.singles = False  # whether any value can be hidden, which costs a random number per value
        # Each pair has its own key range, offset by the number of possible keys of the previous pairs.
        fields = [schema.indices(pair) for pair in self.pairs]
        sizes = [field.ids for field in schema.fields]
        self.bases = [0, *accumulate(sizes[a] * sizes[b] for a, b in fields)]
        assert self.bases[-1] < 2**63, "keys exceed 64 bits"
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
        """Store the keys of the pairs, as returned by `Dataset.crosses`."""
        parts = [keys[pair] for pair in self.pairs]
        shifted = [part.key_K + base for part, base in zip(parts, self.bases, strict=False)]
        order_K = self.keys.fill(torch.from_numpy(np.concatenate([np.empty(0, np.int64), *shifted])))
        single_K = np.concatenate([np.empty(0, bool), *(part.count_K == 1 for part in parts)])
        self.single_R[len(self.pairs) :] = torch.from_numpy(single_K)[order_K]
        self.singles = bool(single_K.any())

    def recount(self, batches: Iterable[Tensor]) -> None:
        """Recount values on a subset of the rows, given as ids_BC; values that it lacks become unseen."""
        count_R = torch.zeros(len(self.weight), dtype=torch.long, device=self.weight.device)
        for ids_BC in batches:
            count_R += torch.bincount(self._known(ids_BC).flatten(), minlength=len(count_R))
        count_R = distributed.all_reduce(count_R)
        self.single_R, self.absent_R = count_R == 1, count_R == 0
        self.singles = bool(self.single_R.any())

    @torch.no_grad()
    def copy_from(self, other: "CrossEmbedding") -> None:
        """Copy the vectors of the pairs from a table of the same data that has these and others."""
        number_P = torch.tensor([other.pairs.index(pair) for pair in self.pairs], dtype=torch.long)
        key_K = self.keys.key_K[:-1]
        pair_K = torch.searchsorted(torch.tensor(self.bases), key_K, right=True) - 1
        shift_P = torch.tensor(other.bases)[number_P] - torch.tensor(self.bases[:-1], dtype=torch.long)
        place_K = other.keys(key_K + shift_P[pair_K])
        assert (place_K >= 0).all(), "the other table lacks a key"
        row_K = place_K + len(other.pairs)
        if other.absent_R is not None:  # the other table has the vectors of unseen values for them
            row_K = torch.where(other.absent_R[row_K], number_P[pair_K], row_K)
        self.weight.copy_(other.weight[torch.cat([number_P, row_K])])

    def rows(self, ids_BC: Tensor) -> Tensor:
        """Table row of each pair, row_BP."""
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
        if self.compressed is not None:
            row_BP = self.rows(ids_BC)
            emb_BPD: Tensor = self.compressed(row_BP, row_BP)
            return emb_BPD
        return lookup_sparse_gradient(self.weight, self.rows(ids_BC), self.keep_duplicates)


def fill_crosses(model: nn.Module, keys: CrossKeys) -> None:
    """Store the cross-feature keys in a new model; a trained model has them in its weights."""
    for module in model.modules():
        if isinstance(module, CrossEmbedding):
            module.fill(keys)
