"""Properties of cross networks and the ANOVA kernel."""

from itertools import combinations

import pytest
import torch

from ctrloom.nn.anova import anova
from ctrloom.nn.cross_network import CompressedInteractions, MatrixCross, VectorCross
from ctrloom.nn.products import pair_sum, products


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("order", [1, 2, 3, 4, 5, 6])
def test_anova_sums_the_products_of_all_sets_of_fields(order: int) -> None:
    emb_BFD = random(6, 5, 3)
    sets = combinations(range(5), order)
    expected_B = sum((emb_BFD[:, list(s)].prod(1).sum(1) for s in sets), torch.zeros(6, dtype=torch.float64))
    torch.testing.assert_close(anova(emb_BFD, order), expected_B)


def test_anova_matches_fm_and_the_products_layer() -> None:
    emb_BFD = random(6, 5, 3)
    torch.testing.assert_close(anova(emb_BFD, 2), pair_sum(emb_BFD))
    triples = products(list(combinations(range(5), 3)), 5)
    torch.testing.assert_close(anova(emb_BFD, 3), triples.total(emb_BFD))


@pytest.mark.parametrize("order", [2, 3, 4])
def test_anova_is_symmetric_and_multilinear(order: int) -> None:
    emb_BFD = random(6, 5, 3)
    torch.testing.assert_close(anova(emb_BFD[:, [3, 0, 4, 2, 1]], order), anova(emb_BFD, order))
    values = []
    for factor in (0, 1, 2):
        scaled_BFD = emb_BFD.clone()
        scaled_BFD[:, 2] *= factor
        values.append(anova(scaled_BFD, order))
    torch.testing.assert_close(values[2] - values[1], values[1] - values[0])


def test_zero_weight_cross_network_is_the_identity() -> None:
    x_BN = random(6, 4)
    for network in (VectorCross(4, 3), MatrixCross(4, 3), MatrixCross(4, 3, rank=2)):
        network = network.double()
        assert not torch.equal(network(x_BN), x_BN)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.zero_()
        assert torch.equal(network(x_BN), x_BN)


def test_a_vector_cross_is_a_matrix_cross_of_equal_rows() -> None:
    x_BN, vector, matrix = random(6, 4), VectorCross(4, 2).double(), MatrixCross(4, 2).double()
    with torch.no_grad():
        for weight, layer in zip(vector.weights, matrix.layers, strict=True):
            layer.weight.copy_(weight.weight.expand(4, 4))
            layer.bias.zero_()
    torch.testing.assert_close(vector(x_BN), matrix(x_BN))


def test_low_rank_reduces_parameters() -> None:
    def count(rank: int | None) -> int:
        return sum(p.numel() for p in MatrixCross(10, 2, rank).parameters())

    assert (count(None), count(2)) == (2 * (100 + 10), 2 * (20 + 20 + 10))


def test_each_cin_layer_raises_the_degree_by_one() -> None:
    layer, emb_BFD = CompressedInteractions(5, (4, 3, 2)).double(), random(6, 5, 3)
    degrees = torch.tensor([2.0] * 4 + [3.0] * 3 + [4.0] * 2, dtype=torch.float64)
    torch.testing.assert_close(layer(2 * emb_BFD), layer(emb_BFD) * 2**degrees)
