"""Inner products of selected tuples of fields, and gradients: the counterpart of `nn.products`' layers.

A tuple is split into a core of all fields but one, and that field; the core of a pair is a single field. The
selection is cut into tiles of cores and neighbouring fields: a program multiplies the cores of a tile with
its fields and stores only the selected products. This avoids B x F x F and B x Q x D tensors, and the order
of all sums is fixed. Values need each tuple once, with one of its cores; the gradient of a field needs every
tuple that contains it, with the core of the other fields.

B batch, F fields, D embedding size in a tile of W, P tuples, T tiles of K cores (of C fields each) and G
fields, X of them that one program takes, Q = T K.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

CORES, FIELDS, MOST_FIELDS = 16, 16, 64  # per tile; gradient tiles span all fields, up to MOST_FIELDS
TOGETHER = 64  # value tiles processed sequentially by a program
WIDEST = 128  # maximum embedding size

Entry = tuple[tuple[int, ...], int, int]  # fields of the core, the remaining field, index of the tuple


class Tiles(NamedTuple):
    """Lookup tables of a kernel."""

    core_CQ: Tensor  # fields of the cores; -1 for padding
    number_TX: Tensor  # tuple index of each core and field of a tile (K G), or transposed
    first_T: Tensor  # first field of each tile
    start_X: Tensor  # offsets of the tiles of each group of fields
    wide: int  # G

    def to(self, device: torch.device) -> "Tiles":
        """Copy to a device."""
        core_CQ, number_TX, first_T, start_X = (x.to(device) for x in self[:-1])
        return Tiles(core_CQ, number_TX, first_T, start_X, self.wide)


def tiles_of_values(entries: Iterable[Entry], fields: int) -> Tiles:
    """Tiles with each tuple once."""
    return _tiles(entries, fields, FIELDS)


def tiles_of_gradients(tuples: Iterable[Sequence[int]], fields: int) -> Tiles:
    """Tiles with every tuple once per field, with the core of its other fields."""
    entries = [
        (tuple(g for g in chosen if g != field), field, number)
        for number, chosen in enumerate(tuples)
        for field in chosen
    ]
    wide = min(MOST_FIELDS, triton.next_power_of_2(max(FIELDS, fields)))
    tiles = _tiles(sorted(entries), fields, wide)  # keeps cores with common fields adjacent
    by_field_TX = tiles.number_TX.view(-1, CORES, wide).mT.flatten(1)
    return tiles._replace(number_TX=by_field_TX)


def _tiles(entries: Iterable[Entry], fields: int, wide: int) -> Tiles:
    """Tiles that cover all entries, ordered by group of fields and padded with -1."""
    groups: list[dict[tuple[int, ...], list[int]]] = [{} for _ in range(0, fields, wide)]
    for core, field, number in entries:
        group, place = divmod(field, wide)
        groups[group].setdefault(core, [-1] * wide)[place] = number
    cores: list[tuple[int, ...]] = []
    numbers: list[list[int]] = []
    first, start = [], [0]
    for group, of_core in enumerate(groups):
        missing = -len(of_core) % CORES
        cores += [*of_core, *[(-1,) * len(next(iter(of_core), ()))] * missing]
        numbers += [*of_core.values(), *[[-1] * wide] * missing]
        start.append(len(cores) // CORES)
        first += [group * wide] * (start[-1] - start[-2])
    number_QG = torch.tensor(numbers)
    short = torch.int16 if int(number_QG.max()) < 2**15 else torch.int32
    return Tiles(
        torch.tensor(cores, dtype=torch.int32).T.contiguous(),
        number_QG.to(short).view(-1, CORES * wide),
        torch.tensor(first, dtype=torch.int32),
        torch.tensor(start, dtype=torch.int32),
        wide,
    )


@triton.jit
def _core(row, core_CQ, q_K, d_W, Q, C: tl.constexpr, D: tl.constexpr):
    """Product of the fields of each core."""
    core_KW = tl.full([q_K.shape[0], d_W.shape[0]], 1.0, tl.float32)
    for c in tl.static_range(C):
        field_K = tl.load(core_CQ + c * Q + q_K)
        here_KW = (d_W < D)[None, :] & (field_K >= 0)[:, None]
        core_KW *= tl.load(row + field_K[:, None] * D + d_W[None, :], mask=here_KW, other=0.0)
    return core_KW


@triton.jit
def _values(emb, core_CQ, number_TX, first_T, x_BP, P, Q, T, X, F: tl.constexpr, D: tl.constexpr,
             C: tl.constexpr, K: tl.constexpr, G: tl.constexpr, W: tl.constexpr):  # fmt: skip
    b = tl.program_id(0).to(tl.int64)
    row, values, d_W = emb + b * (F * D), x_BP + b * P, tl.arange(0, W)
    at_KG = tl.arange(0, K)[:, None] * G + tl.arange(0, G)[None, :]
    begin = tl.program_id(1) * X
    for t in range(begin, tl.minimum(begin + X, T)):
        f_G = tl.load(first_T + t) + tl.arange(0, G)
        here_GW = (f_G < F)[:, None] & (d_W < D)[None, :]
        emb_GW = tl.load(row + f_G[:, None] * D + d_W[None, :], mask=here_GW, other=0.0)
        core_KW = _core(row, core_CQ, t * K + tl.arange(0, K), d_W, Q, C, D)
        x_KG = tl.dot(core_KW, tl.trans(emb_GW), input_precision="tf32")
        number_KG = tl.load(number_TX + t * (K * G) + at_KG).to(tl.int32)
        tl.store(values + number_KG, x_KG, mask=number_KG >= 0)


@triton.jit
def _gradients(emb, core_CQ, number_TX, start_X, grad_BP, out, P, Q, F: tl.constexpr, D: tl.constexpr,
              C: tl.constexpr, K: tl.constexpr, G: tl.constexpr, W: tl.constexpr):  # fmt: skip
    b, group = tl.program_id(0).to(tl.int64), tl.program_id(1)
    row, grads, d_W = emb + b * (F * D), grad_BP + b * P, tl.arange(0, W)
    at_GK = tl.arange(0, G)[:, None] * K + tl.arange(0, K)[None, :]
    out_GW = tl.zeros([G, W], tl.float32)
    for t in range(tl.load(start_X + group), tl.load(start_X + group + 1)):
        number_GK = tl.load(number_TX + t * (K * G) + at_GK).to(tl.int32)
        grad_GK = tl.load(grads + number_GK, mask=number_GK >= 0, other=0.0)
        core_KW = _core(row, core_CQ, t * K + tl.arange(0, K), d_W, Q, C, D)
        out_GW += tl.dot(grad_GK, core_KW, input_precision="tf32")
    f_G = group * G + tl.arange(0, G)
    here_GW = (f_G < F)[:, None] & (d_W < D)[None, :]
    tl.store(out + b * (F * D) + f_G[:, None] * D + d_W[None, :], out_GW, mask=here_GW)


def fits(emb_BFD: Tensor) -> bool:
    """Whether the kernels support the embedding size and products may be rounded to TF32.

    In float32 the kernels need so many registers that cuBLAS is faster.
    """
    rounded = torch.is_autocast_enabled(emb_BFD.device.type)
    rounded |= torch.get_float32_matmul_precision() != "highest"
    return rounded and emb_BFD.shape[2] <= WIDEST


def selected(emb_BFD: Tensor, values: Tiles, gradients: Tiles, count: int) -> Tensor:
    """Values x_BP of `count` tuples.

    Args:
        emb_BFD: embeddings.
        values: tiles with each tuple once.
        gradients: tiles with each tuple once per field.
        count: P.
    """
    x_BP: Tensor = _Products.apply(emb_BFD, values, gradients, count)
    return x_BP


class _Products(torch.autograd.Function):
    @staticmethod
    def forward(ctx, emb_BFD, values, gradients, count):
        emb_BFD = emb_BFD.contiguous()
        ctx.save_for_backward(emb_BFD)
        ctx.gradients = gradients
        x_BP = emb_BFD.new_empty(len(emb_BFD), count)
        core_CQ, number_TX, first_T, _, wide = values
        constants = _constants(emb_BFD, core_CQ, wide, warps=2)
        if len(emb_BFD):
            grid = len(emb_BFD), triton.cdiv(len(first_T), TOGETHER)
            given = count, core_CQ.shape[1], len(first_T), TOGETHER
            _values[grid](emb_BFD, core_CQ, number_TX, first_T, x_BP, *given, **constants)
        return x_BP

    @staticmethod
    def backward(ctx, *grads):
        (emb_BFD,), (core_CQ, number_TX, _, start_X, wide) = ctx.saved_tensors, ctx.gradients
        grad_BP, out_BFD = grads[0].contiguous(), torch.empty_like(emb_BFD)
        if len(emb_BFD):
            grid = len(emb_BFD), len(start_X) - 1
            given = grad_BP.shape[1], core_CQ.shape[1]
            constants = _constants(emb_BFD, core_CQ, wide, warps=1)
            _gradients[grid](emb_BFD, core_CQ, number_TX, start_X, grad_BP, out_BFD, *given, **constants)
        return out_BFD, None, None, None


def _constants(emb_BFD, core_CQ, wide, warps):
    _, fields, size = emb_BFD.shape
    width = triton.next_power_of_2(max(16, size))
    of_tile = {"C": len(core_CQ), "K": CORES, "G": wide, "W": width}
    return {"F": fields, "D": size, **of_tile, "num_warps": warps if width <= 32 else 4}
