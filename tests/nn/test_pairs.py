"""Properties of layers over pairs; their equations are tested with the models."""

from itertools import combinations

import pytest
import torch
from small import categorical_schema, rows_of

from ctrloom.nn.pairs import (
    AttentivePooling,
    BiInteraction,
    FieldAwareProducts,
    KernelProducts,
    PairNetworks,
    Sides,
)
from ctrloom.nn.products import PairProducts

EVERY = tuple(combinations(range(5), 2))
SOME = ((0, 2), (0, 3), (1, 4), (3, 4))


@pytest.fixture
def emb_BFD() -> torch.Tensor:
    return torch.randn(7, 5, 3, generator=torch.Generator().manual_seed(0))


def test_sides_keep_the_order_of_pairs(emb_BFD: torch.Tensor) -> None:
    left_PBD, right_PBD = Sides(SOME)(emb_BFD)
    for p, (i, j) in enumerate(SOME):
        assert torch.equal(left_PBD[p], emb_BFD[:, i])
        assert torch.equal(right_PBD[p], emb_BFD[:, j])


@pytest.mark.parametrize("pairs", [EVERY, SOME, ()])
def test_bi_interaction_sums_to_the_inner_products(pairs: tuple, emb_BFD: torch.Tensor) -> None:
    inner_B = PairProducts(pairs, 5)(emb_BFD).sum(1) if pairs else torch.zeros(7)
    torch.testing.assert_close(BiInteraction(pairs, 5)(emb_BFD).sum(1), inner_B)


def test_the_closed_form_agrees_with_the_sum_over_partners(emb_BFD: torch.Tensor) -> None:
    layer = BiInteraction(EVERY, 5)
    closed = layer(emb_BFD)
    layer.complete = False
    torch.testing.assert_close(layer(emb_BFD), closed)


def test_identity_kernels_are_inner_products(emb_BFD: torch.Tensor) -> None:
    layer = KernelProducts(SOME, 5, 3)
    with torch.no_grad():
        layer.kernel_PDD.copy_(torch.eye(3).expand(4, 3, 3))
    torch.testing.assert_close(layer(emb_BFD), PairProducts(SOME, 5)(emb_BFD))


def test_few_kernels_and_many_have_the_same_total(emb_BFD: torch.Tensor) -> None:
    for pairs, many in ((EVERY, True), (EVERY[2:8], True), (SOME, False), ((), False)):
        layer = KernelProducts(pairs, 5, 3)
        assert layer.many is many
        torch.testing.assert_close(layer.total(emb_BFD), layer(emb_BFD).sum(1))


@pytest.mark.parametrize("pairs", [EVERY, SOME])
def test_equal_field_aware_vectors_match_fm(pairs: tuple) -> None:
    schema = categorical_schema(5)
    ids_BC = rows_of(schema, 7).ids_NC
    layer = FieldAwareProducts(pairs, schema, 3, 0.5)
    with torch.no_grad():
        alike = layer.table.weight[:, :3].clone()
        layer.table.weight.copy_(alike.repeat(1, layer.table.weight.shape[1] // 3))
    torch.testing.assert_close(layer(ids_BC, None), PairProducts(pairs, 5)(alike[ids_BC]))


def test_attention_is_a_mean(emb_BFD: torch.Tensor) -> None:
    alike_BFD = emb_BFD[:, :1].expand(7, 5, 3)
    pooled = AttentivePooling(SOME, 3, 4)(alike_BFD)
    torch.testing.assert_close(pooled, emb_BFD[:, 0].square())
    assert torch.equal(AttentivePooling((), 3, 4)(emb_BFD), torch.zeros(7, 3))


def test_every_pair_has_its_own_network(emb_BFD: torch.Tensor) -> None:
    torch.manual_seed(0)
    layer = PairNetworks(SOME, 3, (6, 4))
    before = layer(emb_BFD)
    with torch.no_grad():
        layer.weights[0][2] += torch.rand(9, 6)
    changed = (layer(emb_BFD) != before).any(-1).any(0)
    assert changed.tolist() == [False, False, True, False]
    assert PairNetworks((), 3, (6, 4))(emb_BFD).shape == (7, 0, 4)
