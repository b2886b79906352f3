"""Boosted trees as tensors, which find the leaves that LightGBM finds without calling it.

B batch, C columns of the id matrix, T trees, S splits, L leaves and N nodes of all trees, X columns that
trees split on, U those that a split uses, W words of sets of ids.
"""

import re
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from ctrloom.schema import MISSING_ID, UNSEEN_ID, Field, Schema

# Bits of LightGBM's `decision_type`, and what may be missing
CATEGORICAL, DEFAULT_LEFT, MISSING = 1, 2, 12
ZERO, NAN = 4, 8
WORD = 32  # ids in a word of a set


class TreeTensors(nn.Module):
    """Leaf of each row in each tree, numbered over all trees: (ids_BC, factors_BC) -> leaf_BT, int64.

    Nodes are the leaves of all trees and then their splits. Every tree is descended by as many steps as the
    deepest tree has levels; both children of a leaf are the leaf itself.

    Args:
        text: LightGBM's model text.
        schema: of the rows that the trees were grown on.
    """

    root_T: Tensor
    used_N: Tensor  # index of the split's column among those used
    threshold_N: Tensor  # numbers up to it go to the left
    unknown_N: Tensor  # whether a missing number goes to the left
    child_2N: Tensor  # right and left child of every node in turn
    set_N: Tensor  # first word of the set of ids that go to the left
    words_N: Tensor  # how many words the set has, without the empty word that ends it
    word_W: Tensor
    bit_I: Tensor  # of an id within its word

    def __init__(self, text: str, schema: Schema) -> None:
        super().__init__()
        trees = list(_trees(text))
        sizes = [len(tree.get("split_feature", ())) for tree in trees]
        leaves = [int(tree["num_leaves"][0]) for tree in trees]
        leaf_T, leaf_L = _starts(leaves), np.arange(sum(leaves))
        split_T = [len(leaf_L) + start for start in _starts(sizes)]

        def joined(key: str) -> np.ndarray:
            return np.concatenate([np.zeros(0), *(tree[key] for tree in trees if key in tree)])

        def children(key: str) -> np.ndarray:
            parts = [leaf_L]
            for tree, split, leaf in zip(trees, split_T, leaf_T, strict=True):
                child = tree.get(key, np.zeros(0)).astype(np.int64)
                parts.append(np.where(child < 0, leaf - 1 - child, split + child))
            return np.concatenate(parts)

        def of_nodes(of_splits: np.ndarray) -> np.ndarray:
            return np.concatenate([np.zeros(len(leaf_L), of_splits.dtype), of_splits])

        kind_S, threshold_S = joined("decision_type").astype(np.int64), joined("threshold")
        by_id_S, missing_S = kind_S & CATEGORICAL != 0, kind_S & MISSING
        assert not (missing_S == ZERO).any(), "trees of zero_as_missing"
        unknown_S = np.where(missing_S == NAN, kind_S & DEFAULT_LEFT != 0, threshold_S >= 0)  # or it means 0
        used_U, used_S = np.unique(joined("split_feature").astype(np.int64), return_inverse=True)
        set_S, words_S, word_W = _sets(trees, by_id_S)
        values: dict[str, np.ndarray] = {
            "root_T": np.where(np.array(sizes, np.int64) > 0, split_T, leaf_T),
            "used_N": of_nodes(used_S),
            "threshold_N": of_nodes(np.where(by_id_S, np.float32(-np.inf), _rounded_down(threshold_S))),
            "unknown_N": of_nodes(unknown_S & ~by_id_S),
            "child_2N": np.stack([children("right_child"), children("left_child")], 1).flatten(),
            "set_N": of_nodes(set_S),
            "words_N": of_nodes(words_S),
            "word_W": word_W,
            "bit_I": 1 << np.arange(WORD),
        }
        for name, array in values.items():
            self.register_buffer(name, torch.from_numpy(array), persistent=False)
        self.columns, self.sets = Columns(schema, used_U), bool(by_id_S.any())
        self.depth = max((_depth(tree) for tree in trees), default=0)

    def forward(self, ids_BC: Tensor, factors_BC: Tensor | None = None) -> Tensor:
        """Descend all trees."""
        value_BU = self.columns(ids_BC, factors_BC)
        node_BT = self.root_T.expand(ids_BC.shape[0], -1)
        for _ in range(self.depth):
            value_BT = value_BU.gather(1, self._of(self.used_N, node_BT))
            left_BT = self._goes_left(node_BT, value_BT)
            node_BT = self._of(self.child_2N, 2 * node_BT + left_BT)
        return node_BT

    def _goes_left(self, node_BT: Tensor, value_BT: Tensor) -> Tensor:
        """Which child follows, as LightGBM's `NumericalDecision` and `CategoricalDecision`."""
        missing_BT, below_BT = value_BT.isnan(), value_BT <= self._of(self.threshold_N, node_BT)
        left_BT = below_BT | (missing_BT & self._of(self.unknown_N, node_BT))
        if not self.sets:
            return left_BT
        id_BT = torch.where(missing_BT, 0.0, value_BT).long().clamp(min=0)
        word_BT = torch.minimum(id_BT // WORD, self._of(self.words_N, node_BT))
        word_BT = self._of(self.word_W, self._of(self.set_N, node_BT) + word_BT)
        return left_BT | (word_BT & self._of(self.bit_I, id_BT % WORD)).bool()

    @staticmethod
    def _of(values_N: Tensor, node_BT: Tensor) -> Tensor:
        return values_N.index_select(0, node_BT.flatten()).view_as(node_BT)


class Columns(nn.Module):
    """The columns of `models.trees.matrix` that splits use, (B, U)."""

    def __init__(self, schema: Schema, used_U: np.ndarray) -> None:
        super().__init__()
        first, column = 0, 0  # of a field: its column in `matrix`, and in the id matrix
        self.parts = list[tuple[Field, int]]()  # field, first column of ids
        order = list[np.ndarray]()
        for field, offset in zip(schema.fields, schema.offsets, strict=True):
            span = field.size if field.kind == "multivalued" else 1
            own = used_U[(first <= used_U) & (used_U < first + span)]
            if len(own):
                order.append(own)
                self.register_buffer(f"id_{len(self.parts)}", torch.from_numpy(own - first + offset), False)
                self.parts.append((field, column))
            first, column = first + span, column + field.width

    def forward(self, ids_BC: Tensor, factors_BC: Tensor | None) -> Tensor:
        """Ids, numbers with NaN for missing ones, and whether a row holds a value of several."""
        found = [self._part(number, ids_BC, factors_BC) for number in range(len(self.parts))]
        return torch.cat(found, 1) if found else ids_BC.new_zeros(ids_BC.shape[0], 1, dtype=torch.float32)

    def _part(self, number: int, ids_BC: Tensor, factors_BC: Tensor | None) -> Tensor:
        field, column = self.parts[number]
        kind, here = field.kind, slice(column, column + field.width)
        id_U, ids_BW = self.get_buffer(f"id_{number}"), ids_BC[:, here]
        if kind == "categorical":
            own_BW = ids_BW - id_U
            if field.rare:
                own_BW = torch.where(own_BW < field.size, own_BW, UNSEEN_ID)
            return own_BW.to(torch.float32)
        assert factors_BC is not None, "numeric and multivalued fields need factors"
        factors_BW = factors_BC[:, here]
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


def _sets(
    trees: list[dict[str, np.ndarray]], by_id_S: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bit sets of categorical splits: first word and number of words of each split, and all words.

    Every set ends with an empty word; that of numeric splits is the first one of all.
    """
    sets = [np.zeros(0, np.int64)]
    for tree in trees:
        if "cat_boundaries" in tree:
            inner = tree["cat_boundaries"][1:-1].astype(np.int64)
            sets += np.split(tree["cat_threshold"].astype(np.int64), inner)
    set_S = np.where(by_id_S, np.cumsum(by_id_S), 0)  # the sets of a tree are in the order of its splits
    words = np.array([len(own) for own in sets])
    starts = np.array(_starts([len(own) + 1 for own in sets]))
    return starts[set_S], words[set_S], np.concatenate([np.append(own, 0) for own in sets])
