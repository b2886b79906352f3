"""AutoFM's search with plain gathers, the naive implementation: `python gather.py '<case>'`.

Every interaction's embeddings are gathered into a (B, P, D) tensor and multiplied; gates, batch norm, GRDA
and the optimizer are ours, so only the interactions differ. See worker.py.
"""

import sys
from functools import reduce
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import fast  # noqa: F401
import torch

from ctrloom.nn import interactions


class Gathered(torch.nn.Module):
    """sum_d of the product of the gathered embeddings: emb_BFD -> (B, P)."""

    def __init__(self, tuples: list[tuple[int, ...]], fields: int) -> None:
        super().__init__()
        self.register_buffer("field_OP", torch.tensor(tuples).T.contiguous(), persistent=False)

    def forward(self, emb_BFD: torch.Tensor) -> torch.Tensor:
        """Values of all interactions."""
        return reduce(torch.mul, (emb_BFD[:, field_P] for field_P in self.field_OP)).sum(-1)


interactions.products = Gathered

import ours  # noqa: E402

ours.main()
