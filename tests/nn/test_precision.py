"""Concatenated inputs of MLPs in the dtype of matrix products."""

import pytest
import torch

from ctrloom.nn.precision import matmul_dtype, mlp_input


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_without_autocast_nothing_is_rounded(kind: torch.dtype) -> None:
    emb, products = torch.randn(3, 2, 4, dtype=kind), torch.randn(3, 5, dtype=kind)
    assert torch.equal(mlp_input([emb, products]), torch.cat([emb.flatten(1), products], 1))


def test_inputs_are_cast_to_the_dtype_of_products() -> None:
    emb, products = torch.randn(3, 2, 4, requires_grad=True), torch.randn(3, 5, requires_grad=True)
    layer = torch.nn.Linear(13, 2)
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        assert matmul_dtype(emb) == torch.bfloat16
        assert matmul_dtype(emb.double()) == torch.float64
        got, plain = layer(mlp_input([emb, products])), layer(torch.cat([emb.flatten(1), products], 1))
    assert torch.equal(got, plain)
    for one, other in zip(
        *(torch.autograd.grad(y.sum(), [emb, products], retain_graph=True) for y in (got, plain)), strict=True
    ):
        assert one.dtype == torch.float32
        assert torch.equal(one, other)
