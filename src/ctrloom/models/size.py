"""What a model costs: the parameters that can change a logit, and the arithmetic of one row.

B batch, F fields, D embedding size.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from ctrloom.config.base import StrictModel
from ctrloom.nn.cross_features import CrossEmbedding
from ctrloom.nn.embedding import FieldEmbedding, KeptEmbedding
from ctrloom.schema import FIRST_TOKEN_ID, Schema

PROBED = 64  # random rows that show whether an embedding position changes a logit
PER_ENTRY = {  # operations per entry of the result, other than one
    "addcmul": 2,
    "addcdiv": 2,
    "lerp": 3,
    "_softmax": 3,  # exponential, sum, division
    "_log_softmax": 3,
    "native_batch_norm": 2,  # with fixed statistics: one product and one sum
    "_native_batch_norm_legit_no_training": 2,
    "batch_norm": 2,
    "native_layer_norm": 5,  # mean, difference, square and its mean, division
    "clone": 0,
    "_to_copy": 0,
    "where": 0,
}
PER_INPUT = {"linalg_vector_norm": 2}  # operations per entry that is reduced, other than one


class ModelSize(StrictModel):
    """Parameters of a model, and the floating-point operations of its forward pass for one row."""

    parameters: int  # that can change a logit
    stored: int  # with the embeddings that no interaction uses
    dense: int  # without embedding tables, of fields and of crosses
    flops: int | None  # products, sums and functions of one number, one each; None: trees


def size_of(model: nn.Module, schema: Schema) -> ModelSize:
    """The size of a trained model on the CPU, in evaluation mode."""
    stored = sum(parameter.numel() for parameter in model.parameters())
    tables = [m for m in model.modules() if isinstance(m, FieldEmbedding | CrossEmbedding)]
    trees = hasattr(model, "booster")
    return ModelSize(
        parameters=stored if trees else stored - _unused(model, schema),
        stored=stored,
        dense=stored - (0 if trees else sum(table.weight.numel() for table in tables)),
        flops=None if trees else flops(model, schema),
    )


def flops(model: nn.Module, schema: Schema) -> int:
    """Operations of the forward pass for a single row without missing values."""
    with torch.no_grad(), _Counter() as counter:
        model(*probe(schema, 1))
    return counter.total


def probe(schema: Schema, rows: int) -> tuple[Tensor, Tensor | None]:
    """Equal rows in which each field has its first value; a field of several values has as many as fit."""
    first = [offset + min(FIRST_TOKEN_ID, f.size - 1) for f, offset in zip(schema.fields, schema.offsets)]  # noqa: B905
    ids_C = torch.tensor([first[field] for field in schema.field_of_column], dtype=torch.int32)
    if not schema.has_factors:
        return ids_C.repeat(rows, 1), None
    factors_C = torch.tensor([1 / schema.fields[field].width for field in schema.field_of_column])
    return ids_C.repeat(rows, 1), factors_C.repeat(rows, 1)


def _unused(model: nn.Module, schema: Schema) -> int:
    """Weights of embedding positions that do not change any logit of random embeddings."""
    sizes_F = torch.tensor([field.size for field in schema.fields])
    tables = [module for module in model.modules() if isinstance(module, FieldEmbedding)]
    drawn: dict[FieldEmbedding, Tensor] = {}
    with torch.enable_grad(), _replaced(tables, drawn):
        logit_B: Tensor = model(*probe(schema, PROBED))
        if not logit_B.requires_grad:
            return sum(table.weight.numel() for table in tables)
        grads = torch.autograd.grad(logit_B.sum(), list(drawn.values()), allow_unused=True)
    unused = sum(table.weight.numel() for table in tables if table not in drawn)
    for table, grad_BFD in zip(drawn, grads, strict=True):
        kept_FD = _kept(table)
        used_FD = kept_FD & False if grad_BFD is None else kept_FD & (grad_BFD != 0).any(0)
        unused += int(((kept_FD.sum(1) - used_FD.sum(1)) * sizes_F).sum())
    return unused


@contextmanager
def _replaced(tables: list[FieldEmbedding], drawn: dict[FieldEmbedding, Tensor]) -> Iterator[None]:
    """Within the context, tables return random embeddings, which are also collected in `drawn`."""
    generator = torch.Generator().manual_seed(0)

    def draw(table: FieldEmbedding, inputs: Any, emb_BFD: Tensor) -> Tensor:
        if table not in drawn:
            random_BFD = torch.randn(emb_BFD.shape, generator=generator)
            drawn[table] = (random_BFD * _kept(table)).requires_grad_()
        return drawn[table]

    hooks = [table.register_forward_hook(draw) for table in tables]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _kept(table: FieldEmbedding) -> Tensor:
    """Mask of the positions that have weights (F, D)."""
    if not isinstance(table, KeptEmbedding):
        return torch.ones(table.fields, table.weight.shape[1], dtype=torch.bool)
    kept_FD = torch.zeros(table.fields, table.size, dtype=torch.bool)
    kept_FD[table.field_of_column_C[table.column_K], table.place_K % table.size] = True
    return kept_FD


class _Counter(TorchDispatchMode):
    """Counts the floating-point operations of everything that runs within."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.total += _operations(func, args, kwargs or {}, out)
        return out


def _operations(func: Any, args: Any, kwargs: Any, out: Any) -> int:
    name: str = func.overloadpacket.__name__.removesuffix("_")
    first = out[0] if isinstance(out, tuple | list) else out
    if not isinstance(first, Tensor) or not first.is_floating_point():
        return 0
    if (product := flop_registry.get(func.overloadpacket)) is not None:
        counted: Callable[..., int] = partial(product, *args, **kwargs)
        return int(counted(out_val=out)) + (first.numel() if name in ("addmm", "baddbmm") else 0)
    if name in PER_ENTRY:
        return PER_ENTRY[name] * first.numel()
    if torch.Tag.reduction in func.tags:
        inputs = next(each for each in args if isinstance(each, Tensor))
        return PER_INPUT.get(name, 1) * inputs.numel()
    return math.prod(first.shape) if torch.Tag.pointwise in func.tags else 0
