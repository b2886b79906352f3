"""Slots of OptInter's MLP compared with loops, plain and by kernel."""

import numpy as np
import pytest
import torch
from conftest import Way
from small import rows_of, schema_of

from ctrloom.nn.slots import HadamardProducts

SCHEMA = schema_of(*(("categorical", 6) for _ in range(5)))
ALL = [(a, b) for i, a in enumerate(SCHEMA.names) for b in SCHEMA.names[i + 1 :]]


@pytest.mark.parametrize(
    ("pairs", "size", "rows"), [(ALL, 3, 40), (ALL[1::3], 10, 7), (ALL[:1], 1, 1), (ALL, 2, 0)]
)
def test_mixtures_and_their_gradients(pairs: list[tuple[str, str]], size: int, rows: int, way: Way) -> None:
    torch.manual_seed(0)
    layer = HadamardProducts(SCHEMA, pairs, size, 0.5).to(way.device, way.dtype)
    ids = rows_of(SCHEMA, rows, seed=1).ids_NC.to(way.device)
    own = torch.randn(rows, len(pairs), size).to(way.device, way.dtype).requires_grad_()
    weight = torch.rand(len(pairs), 2).to(way.device, way.dtype).requires_grad_()
    slots = layer.mixed(own, weight, ids)
    grad = torch.randn(rows, len(pairs), size).to(way.device, way.dtype)
    assert layer.table is not None
    found = [slots, *torch.autograd.grad((slots * grad).sum(), [own, weight, layer.table.weight])]
    c, w, g, table = (x.detach().cpu().double().numpy() for x in (own, weight, grad, layer.table.weight))
    expected = [np.zeros(x.shape) for x in (c, c, w, table)]
    for b in range(rows):
        for p, pair in enumerate(pairs):
            i, j = (int(ids[b, SCHEMA.names.index(name)]) for name in pair)
            for d in range(size):
                product = table[i, d] * table[j, d]
                expected[0][b, p, d] = w[p, 0] * c[b, p, d] + w[p, 1] * product
                expected[1][b, p, d] = w[p, 0] * g[b, p, d]
                expected[2][p] += g[b, p, d] * np.array([c[b, p, d], product])
                expected[3][i, d] += w[p, 1] * g[b, p, d] * table[j, d]
                expected[3][j, d] += w[p, 1] * g[b, p, d] * table[i, d]
    for one, other in zip(found, expected, strict=True):
        atol = way.near * (1 + abs(other).max(initial=0))
        np.testing.assert_allclose(one.detach().cpu().double(), other, rtol=0, atol=atol)
    if rows:
        way.ran("_mixture", "_mixture_gradient", "_mixture_fields")
