"""GBDT, GBDT+LR and GBDT+Poly2: gradient-boosted trees as regressions on their leaves.

B batch, C columns of the id matrix, T trees, X columns that trees split on.
"""

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from ctrloom.architecture import Architecture
from ctrloom.config import GBDTPoly2Settings, GBDTSettings
from ctrloom.config.base import ConfigError
from ctrloom.config.extras import install
from ctrloom.models.poly2 import Poly2
from ctrloom.models.shallow import LR
from ctrloom.models.tree_tensors import TreeTensors
from ctrloom.schema import MISSING_ID, Field, Schema

if TYPE_CHECKING:
    from scipy import sparse


def lightgbm() -> Any:
    """Import LightGBM, an optional dependency.

    Raises:
        ConfigError: LightGBM is not installed.
    """
    try:
        import lightgbm
    except (ImportError, OSError) as error:
        message = f"gbdt, gbdtlr and gbdtpoly2 need LightGBM ({error}); install it with {install('trees')}"
        raise ConfigError(message) from None
    return lightgbm


class GBDT(nn.Module):
    """Gradient-boosted trees: the sum of the values of the leaves that a row falls into.

    A new model has no trees until `plant` or `load_state_dict` is called. LightGBM's model text is stored in
    a buffer, and the leaf values are the weights of a linear regression on the leaves.
    Reference: Ke et al., LightGBM, NeurIPS 2017.
    """

    text: Tensor  # uint8
    offset_T: Tensor

    def __init__(self, architecture: Architecture, schema: Schema, settings: GBDTSettings) -> None:
        super().__init__()
        lightgbm()
        self.architecture, self.schema, self.settings = architecture, schema, settings
        self.register_buffer("text", torch.empty(0, dtype=torch.uint8))
        self.tensors: TreeTensors | None = None  # used in place of LightGBM, see `without_lightgbm`

    def forward(self, ids_BC: Tensor, factors_BC: Tensor | None = None) -> Tensor:
        """Logits (B,)."""
        return self.boosted(ids_BC, factors_BC)

    @torch.no_grad()
    def boosted(self, ids_BC: Tensor, factors_BC: Tensor | None = None) -> Tensor:
        """Logits (B,) of the trees alone."""
        logit_B: Tensor = self.regression(self.leaves(ids_BC, factors_BC))
        return logit_B

    def leaves(self, ids_BC: Tensor, factors_BC: Tensor | None = None) -> Tensor:
        """Leaf index of each row in each tree, numbered over all trees: (B, T)."""
        if self.tensors is not None:
            leaf_BT: Tensor = self.tensors(ids_BC, factors_BC)
            return leaf_BT
        x_BX = matrix(self.schema, ids_BC, factors_BC)
        found = self.booster.predict(x_BX, pred_leaf=True, num_threads=torch.get_num_threads())
        leaf_NT = np.asarray(found, dtype=np.int32).reshape(len(ids_BC), -1)
        return torch.from_numpy(leaf_NT).to(ids_BC.device) + self.offset_T.to(ids_BC.device)

    def plant(self, text: str) -> None:
        """Set the trees and their leaf values from LightGBM's model text."""
        self.booster = lightgbm().Booster(model_str=text)
        sizes = [int(size) for size in re.findall(r"^num_leaves=(\d+)$", text, re.M)]
        values = " ".join(re.findall(r"^leaf_value=(.*)$", text, re.M)).split()
        trees = [
            Field(name=f"tree {t}", kind="categorical", size=size, column="") for t, size in enumerate(sizes)
        ]
        self.leaf_schema = Schema(fields=tuple(trees), source=self.schema.source)
        self.text = torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)
        self.offset_T = torch.tensor(self.leaf_schema.offsets, dtype=torch.int32)
        self.regression = LR(self.architecture, self.leaf_schema, self.settings)
        with torch.no_grad():
            self.regression.linear.weights.weight[:, 0] = torch.tensor([float(value) for value in values])

    def without_lightgbm(self) -> None:
        """Find leaves by tensors from now on, as exported models do."""
        text = bytes(self.text.cpu().numpy()).decode()
        self.tensors = TreeTensors(text, self.schema).to(self.text.device)
        self.text = self.text.new_empty(0)

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *rest: Any) -> None:
        if prefix + "text" in state_dict:
            self.plant(bytes(state_dict[prefix + "text"].numpy()).decode())
        super()._load_from_state_dict(state_dict, prefix, *rest)


class GBDTLR(GBDT):
    """Logistic regression on the leaves of boosted trees: b + sum_t w[leaf of tree t].

    Reference: He et al., Practical lessons from predicting clicks on ads at Facebook, ADKDD 2014, section 3.
    """

    def plant(self, text: str) -> None:
        """Set the trees, with a newly initialised regression on their leaves."""
        super().plant(text)
        self.regression = LR(self.architecture, self.leaf_schema, self.settings)


class GBDTPoly2(GBDT):
    """The logit of boosted trees plus a Poly2 model of the pairs of the architecture.

    Trees find conjunctions of many fields, and regression weights remember joint values of two fields with
    many values each.
    """

    def __init__(self, architecture: Architecture, schema: Schema, settings: GBDTPoly2Settings) -> None:
        super().__init__(architecture, schema, settings)
        self.memory = Poly2(architecture, schema, settings)

    def forward(self, ids_BC: Tensor, factors_BC: Tensor | None = None) -> Tensor:
        """Logits (B,)."""
        logit_B: Tensor = self.boosted(ids_BC, factors_BC) + self.memory(ids_BC, factors_BC)
        return logit_B

    def forget(self) -> None:
        """Set all weights but those of the leaves to zero: the model is that of the trees."""
        with torch.no_grad():
            for weight in self.memory.parameters():
                weight.zero_()


def matrix(schema: Schema, ids_BC: Tensor, factors_BC: Tensor | None) -> "np.ndarray | sparse.csr_matrix":
    """Input matrix of the trees, (B, X) in float32; sparse if there are multivalued fields.

    A categorical field is one column of ids (see `categorical`), a numeric field one column with NaN for
    missing values. A multivalued field is multi-hot encoded with one column per id, so that a split can test
    for a single value.
    """
    from scipy import sparse  # comes with LightGBM

    ids, offsets, blocks, column = ids_BC.cpu().numpy(), schema.offsets, [], 0
    factors = None if factors_BC is None else factors_BC.cpu().numpy()
    for field, offset in zip(schema.fields, offsets, strict=True):
        at = slice(column, column + field.width)
        column += field.width
        own = ids[:, at] - offset
        if field.kind == "categorical":
            blocks.append(field.common(own).astype(np.float32))
            continue
        assert factors is not None, "numeric and multivalued fields need factors"
        if field.kind == "numeric":
            blocks.append(np.where(own == MISSING_ID, np.float32(np.nan), factors[:, at]))
        else:
            row, place = np.nonzero(factors[:, at])
            held = sparse.csr_matrix(
                (np.ones(len(row), np.float32), (row, own[row, place])), (len(ids), field.size)
            )
            held.data[:] = 1  # duplicate values were summed
            blocks.append(held)
    if any(sparse.issparse(block) for block in blocks):
        return sparse.csr_matrix(sparse.hstack([sparse.csr_matrix(block) for block in blocks]))
    return np.concatenate(blocks, 1)


def categorical(schema: Schema) -> list[int]:
    """Columns of `matrix` that contain categorical ids."""
    widths = [field.size if field.kind == "multivalued" else 1 for field in schema.fields]
    starts = np.cumsum([0, *widths[:-1]])
    return [int(x) for x, field in zip(starts, schema.fields, strict=True) if field.kind == "categorical"]
