"""Boosted trees as tensors, which find the leaves that LightGBM finds without calling it.

B batch, C columns of the id matrix, T trees, S splits of all trees, X columns that trees split on, U those
that a split uses.
"""

import re
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from ctrloom.nn.cross_features import KeyTable
from ctrloom.schema import MISSING_ID, Schema

# Bits of LightGBM's `decision_type`, and what may be missing
CATEGORICAL, DEFAULT_LEFT, MISSING = 1, 2, 12
ZERO, NAN = 4, 8
NEAR_ZERO = 1e-35  # numbers up to it are zero


class TreeTensors(nn.Module):
    """Leaf of each row in each tree, numbered over all trees: (ids_BC, factors_BC) -> leaf_BT, int64.

    Every tree is descended by as many steps as the deepest tree has levels; a leaf is the negative number
    -1 - leaf, and its row stays there.

    Args:
        text: LightGBM's model text.
        schema: of the rows that the trees were grown on.
    """

    root_T: Tensor
    used_S: Tensor  # index of the split's column among those used
    threshold_S: Tensor
    left_S: Tensor
    right_S: Tensor
    kind_S: Tensor  # LightGBM's decision_type

    def __init__(self, text: str, schema: Schema) -> None:
        super().__init__()
        trees = list(_trees(text))
        sizes = [len(tree.get("split_feature", ())) for tree in trees]
        leaves = [int(tree["num_leaves"][0]) for tree in trees]
        starts, first_leaves = _starts(sizes), _starts(leaves)

        def joined(key: str) -> np.ndarray:
            return np.concatenate([np.zeros(0), *(tree[key] for tree in trees if key in tree)])

        def children(key: str) -> np.ndarray:
            parts = [np.zeros(0, np.int64)]
            for tree, start, leaf in zip(trees, starts, first_leaves, strict=True):
                child = tree.get(key, np.zeros(0)).astype(np.int64)
                parts.append(np.where(child < 0, child - leaf, child + start))
            return np.concatenate(parts)

        kind_S = joined("decision_type").astype(np.int64)
        used_U, used_S = np.unique(joined("split_feature").astype(np.int64), return_inverse=True)
        self.columns = Columns(schema, used_U)
        values: dict[str, np.ndarray] = {
            "root_T": np.array(
                [
                    start if n else -1 - leaf
                    for start, n, leaf in zip(starts, sizes, first_leaves, strict=True)
                ]
            ),
            "used_S": used_S,
            "threshold_S": _rounded_down(joined("threshold")),
            "left_S": children("left_child"),
            "right_S": children("right_child"),
            "kind_S": kind_S,
        }
        for name, array in values.items():
            self.register_buffer(name, torch.from_numpy(array), persistent=False)
        self.depth = max((_depth(tree) for tree in trees), default=0)
        member_K = np.concatenate([np.zeros(0, np.int64), *_members(trees, starts, schema.table_size)])
        self.span = schema.table_size
        self.members = KeyTable(len(member_K))  # of split * span + id: the ids that go to the left
        self.members.fill(torch.from_numpy(member_K))
        self.members.check()

    def forward(self, ids_BC: Tensor, factors_BC: Tensor | None = None) -> Tensor:
        """Descend all trees."""
        value_BU = self.columns(ids_BC, factors_BC)
        node_BT = self.root_T.expand(ids_BC.shape[0], -1)
        for _ in range(self.depth):
            split_BT = node_BT.clamp(min=0)
            value_BT = value_BU.gather(1, self._of(self.used_S, split_BT))
            left_BT, right_BT = self._of(self.left_S, split_BT), self._of(self.right_S, split_BT)
            below_BT = torch.where(self._goes_left(split_BT, value_BT), left_BT, right_BT)
            node_BT = torch.where(node_BT < 0, node_BT, below_BT)
        return -1 - node_BT

    def _goes_left(self, split_BT: Tensor, value_BT: Tensor) -> Tensor:
        """Which child follows, as LightGBM's `NumericalDecision` and `CategoricalDecision`."""
        kind_BT = self._of(self.kind_S, split_BT)
        missing_BT, unknown_BT = kind_BT & MISSING, value_BT.isnan()
        value_BT = torch.where(unknown_BT & (missing_BT != NAN), 0.0, value_BT)
        default_BT = (missing_BT == NAN) & unknown_BT
        default_BT = default_BT | ((missing_BT == ZERO) & (value_BT.abs() <= NEAR_ZERO))
        below_BT = value_BT <= self._of(self.threshold_S, split_BT)
        left_BT = (default_BT & ((kind_BT & DEFAULT_LEFT) != 0)) | (~default_BT & below_BT)
        if not self.members.count:
            return left_BT
        key_BT = split_BT * self.span + torch.where(unknown_BT, 0.0, value_BT).long()
        member_BT = self.members(key_BT.flatten()).view_as(key_BT) >= 0
        by_id_BT = (kind_BT & CATEGORICAL) != 0
        return (by_id_BT & member_BT) | (~by_id_BT & left_BT)

    @staticmethod
    def _of(values_S: Tensor, split_BT: Tensor) -> Tensor:
        return values_S.index_select(0, split_BT.flatten()).view_as(split_BT)


class Columns(nn.Module):
    """The columns of `models.trees.matrix` that splits use, (B, U)."""

    def __init__(self, schema: Schema, used_U: np.ndarray) -> None:
        super().__init__()
        first, column = 0, 0  # of a field: its column in `matrix`, and in the id matrix
        self.parts = list[tuple[str, int, int]]()  # kind, first column of ids, width
        order = list[np.ndarray]()
        for field, offset in zip(schema.fields, schema.offsets, strict=True):
            span = field.size if field.kind == "multivalued" else 1
            own = used_U[(first <= used_U) & (used_U < first + span)]
            if len(own):
                order.append(own)
                self.register_buffer(f"id_{len(self.parts)}", torch.from_numpy(own - first + offset), False)
                self.parts.append((field.kind, column, field.width))
            first, column = first + span, column + field.width

    def forward(self, ids_BC: Tensor, factors_BC: Tensor | None) -> Tensor:
        """Ids, numbers with NaN for missing ones, and whether a row holds a value of several."""
        found = [self._part(number, ids_BC, factors_BC) for number in range(len(self.parts))]
        return torch.cat(found, 1) if found else ids_BC.new_zeros(ids_BC.shape[0], 1, dtype=torch.float32)

    def _part(self, number: int, ids_BC: Tensor, factors_BC: Tensor | None) -> Tensor:
        kind, column, width = self.parts[number]
        id_U, ids_BW = self.get_buffer(f"id_{number}"), ids_BC[:, column : column + width]
        if kind == "categorical":
            return (ids_BW - id_U).to(torch.float32)
        assert factors_BC is not None, "numeric and multivalued fields need factors"
        factors_BW = factors_BC[:, column : column + width]
        if kind == "numeric":
            return torch.where(ids_BW == id_U + MISSING_ID, torch.nan, factors_BW)
        held_BWU = (ids_BW.unsqueeze(2) == id_U) & (factors_BW != 0).unsqueeze(2)
        return held_BWU.to(torch.float32).amax(1)


def _trees(text: str) -> Iterator[dict[str, np.ndarray]]:
    """The arrays of each tree of LightGBM's model text, by their names there."""
    for block in re.split(r"^Tree=\d+$", text.split("\nend of trees")[0], flags=re.M)[1:]:
        pairs = (line.split("=", 1) for line in block.splitlines() if "=" in line)
        yield {key: np.array(value.split(), np.float64) for key, value in pairs}


def _starts(sizes: list[int]) -> list[int]:
    return [int(start) for start in np.cumsum([0, *sizes])[:-1]]


def _rounded_down(threshold_S: np.ndarray) -> np.ndarray:
    """The largest float32 up to each threshold: the numbers compared with it are float32."""
    with np.errstate(over="ignore"):
        near_S = threshold_S.astype(np.float32)
    return np.where(near_S > threshold_S, np.nextafter(near_S, np.float32(-np.inf)), near_S)


def _depth(tree: dict[str, np.ndarray]) -> int:
    """Splits on the longest path from the root to a leaf; children have higher numbers than parents."""
    depth = np.zeros(len(tree.get("split_feature", ())) + 1, np.int64)
    for split in range(len(depth) - 1):
        for child in (int(tree["left_child"][split]), int(tree["right_child"][split])):
            if child >= 0:
                depth[child] = depth[split] + 1
    return int(depth.max()) + 1 if len(depth) > 1 else 0


def _members(trees: list[dict[str, np.ndarray]], starts: list[int], span: int) -> Iterator[np.ndarray]:
    """Keys split * span + id of the ids that go to the left, from the bit sets of categorical splits."""
    for tree, start in zip(trees, starts, strict=True):
        for split, kind in enumerate(tree.get("decision_type", ())):
            if int(kind) & CATEGORICAL:
                at = int(tree["threshold"][split])
                first, last = (int(tree["cat_boundaries"][at + i]) for i in (0, 1))
                words = tree["cat_threshold"][first:last].astype("<u4")
                yield (start + split) * span + np.flatnonzero(
                    np.unpackbits(words.view(np.uint8), bitorder="little")
                )
