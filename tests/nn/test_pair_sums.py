"""The sum over selected pairs compared with a loop over them."""

from itertools import combinations

import numpy as np
import pytest
import torch

from ctrloom.nn import pair_sums
from ctrloom.nn.pair_sums import MANY_ROWS, SelectedPairs, _cover
from ctrloom.nn.pairs import BiInteraction
from ctrloom.nn.products import PairProducts

EVERY = tuple(combinations(range(9), 2))
SELECTIONS = {
    "one": ((3, 7),),
    "star": tuple((0, j) for j in range(1, 9)),
    "clique": tuple(combinations((1, 4, 6, 8), 2)),
    "matching": ((0, 1), (2, 3), (4, 5)),
    **{
        f"{share:.0%}": tuple(p for n, p in enumerate(EVERY) if n * 7919 % 36 < share * 36)
        for share in (0.1, 0.5, 0.9)
    },
}


@pytest.mark.parametrize("rows", [1, 5, MANY_ROWS, 3 * MANY_ROWS + 1])
@pytest.mark.parametrize("name", SELECTIONS)
def test_sum_is_that_of_a_loop(name: str, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pair_sums, "READ_AT_ONCE", 2 * MANY_ROWS)
    pairs = SELECTIONS[name]
    emb = torch.randn(rows, 9, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = [sum(float(row[i] @ row[j]) for i, j in pairs) for row in emb]
    pooled = [np.sum([row[i] * row[j] for i, j in pairs], 0) for row in emb.numpy()]
    layer, products = SelectedPairs(pairs, 9).double(), PairProducts(pairs, 9).double()
    for gradients in (True, False):
        with torch.set_grad_enabled(gradients):
            np.testing.assert_allclose(layer.total(emb), expected, rtol=0, atol=1e-12)
            np.testing.assert_allclose(layer.pooled(emb), pooled, rtol=0, atol=1e-12)
            np.testing.assert_allclose(
                PairProducts(pairs, 9).double().total(emb), expected, rtol=0, atol=1e-12
            )
            np.testing.assert_allclose(BiInteraction(pairs, 9).double()(emb), pooled, rtol=0, atol=1e-12)
    trained = products.total(emb.requires_grad_())
    np.testing.assert_allclose(trained.detach(), expected, rtol=0, atol=1e-12)


def test_cover_has_a_field_of_every_pair_and_few_fields() -> None:
    for pairs in SELECTIONS.values():
        assert all(i in _cover(pairs) or j in _cover(pairs) for i, j in pairs)
    assert _cover(SELECTIONS["star"]) == [0]
    assert len(_cover(SELECTIONS["clique"])) == 3
