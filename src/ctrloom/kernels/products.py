"""Inner products of selected tuples of fields, forward and backward: the twin of `nn.interactions`' layers.

A tuple is a core, all its fields but one, and that one; of a pair the core is a single field. A program takes
rows one by one. It multiplies a block of cores with all fields at once, and of that product only what was
selected leaves it: there is no B x F x F, no B x Q x D, and no addition whose order could change.

B batch, F fields in a tile of G, D embedding size in a tile of W, P tuples, Q cores of FIELDS fields (O).
"""

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 64  # cores at once
ROWS = 8  # of a program, which find what they share in its cache
LARGEST = 64 * 128  # entries of a tile


@triton.jit
def _core(emb, core_OQ, b, q_K, d_W, here_W, without: tl.constexpr, F, D, Q, FIELDS: tl.constexpr):
    """Product of the fields of each core, one of them left out."""
    core_KW = tl.full([q_K.shape[0], d_W.shape[0]], 1.0, tl.float32)
    for o in tl.static_range(FIELDS):
        if o != without:
            field_K = tl.load(core_OQ + o * Q + q_K)
            at_KW = (b * F + field_K)[:, None] * D + d_W[None, :]
            core_KW *= tl.load(emb + at_KW, mask=here_W[None, :] & (field_K >= 0)[:, None], other=0.0)
    return core_KW


@triton.jit
def _forward(emb, core_OQ, number_QG, x_BP, B, F, D, P, Q, FIELDS: tl.constexpr, G: tl.constexpr,
             W: tl.constexpr, K: tl.constexpr, ROWS: tl.constexpr):  # fmt: skip
    q_K = tl.program_id(1) * K + tl.arange(0, K)
    f_G, d_W = tl.arange(0, G), tl.arange(0, W)
    here_W = d_W < D
    number_KG = tl.load(number_QG + q_K[:, None] * G + f_G[None, :])
    for row in range(ROWS):
        b = (tl.program_id(0) * ROWS + row).to(tl.int64)
        if b < B:
            at_GW = (b * F + f_G)[:, None] * D + d_W[None, :]
            emb_GW = tl.load(emb + at_GW, mask=(f_G < F)[:, None] & here_W[None, :], other=0.0)
            core_KW = _core(emb, core_OQ, b, q_K, d_W, here_W, -1, F, D, Q, FIELDS)
            x_KG = tl.dot(core_KW, tl.trans(emb_GW), input_precision="tf32")
            tl.store(x_BP + b * P + number_KG, x_KG, mask=number_KG >= 0)


@triton.jit
def _backward(emb, core_OQ, number_QG, grad_BP, out, B, F, D, P, Q, FIELDS: tl.constexpr, G: tl.constexpr,
              W: tl.constexpr, K: tl.constexpr, ROWS: tl.constexpr):  # fmt: skip
    f_G, d_W = tl.arange(0, G), tl.arange(0, W)
    here_W = d_W < D
    for row in range(ROWS):
        b = (tl.program_id(0) * ROWS + row).to(tl.int64)
        if b < B:
            at_GW = (b * F + f_G)[:, None] * D + d_W[None, :]
            here_GW = (f_G < F)[:, None] & here_W[None, :]
            emb_GW = tl.load(emb + at_GW, mask=here_GW, other=0.0)
            out_GW = tl.zeros([G, W], tl.float32)
            for block in range(Q // K):
                q_K = block * K + tl.arange(0, K)
                number_KG = tl.load(number_QG + q_K[:, None] * G + f_G[None, :])
                grad_KG = tl.load(grad_BP + b * P + number_KG, mask=number_KG >= 0, other=0.0)
                core_KW = _core(emb, core_OQ, b, q_K, d_W, here_W, -1, F, D, Q, FIELDS)
                out_GW += tl.dot(tl.trans(grad_KG), core_KW, input_precision="tf32")
                of_core_KW = tl.dot(grad_KG, emb_GW, input_precision="tf32")
                for o in tl.static_range(FIELDS):
                    rest_KW = _core(emb, core_OQ, b, q_K, d_W, here_W, o, F, D, Q, FIELDS)
                    field_K = tl.load(core_OQ + o * Q + q_K)
                    one_hot_GK = (f_G[:, None] == field_K[None, :]).to(tl.float32)
                    out_GW += tl.dot(one_hot_GK, of_core_KW * rest_KW, input_precision="tf32")
            tl.store(out + at_GW, out_GW, mask=here_GW)


def tables(
    cores: Sequence[tuple[int, ...]], places: Sequence[tuple[int, ...]], fields: int
) -> tuple[Tensor, Tensor]:
    """What the kernels look up: fields of cores (O, Q), and number of a tuple by core and other field (Q, G).

    Args:
        cores: fields of each core.
        places: of each tuple its core's number and its other field.
        fields: F.
    """
    padded = -(-len(cores) // BLOCK) * BLOCK
    core_OQ = torch.full((len(cores[0]), padded), -1, dtype=torch.int32)
    core_OQ[:, : len(cores)] = torch.tensor(cores, dtype=torch.int32).T
    number_QG = torch.full((padded, triton.next_power_of_2(max(16, fields))), -1, dtype=torch.int32)
    core_P, field_P = torch.tensor(places).T
    number_QG[core_P, field_P] = torch.arange(len(places), dtype=torch.int32)
    return core_OQ, number_QG


def fits(emb_BFD: Tensor) -> bool:
    """Whether a program can hold a row's embeddings, and products may be rounded to TF32.

    In float32 they take so many registers that cuBLAS is the better choice.
    """
    _, fields, size = emb_BFD.shape
    rounded = torch.is_autocast_enabled(emb_BFD.device.type)
    rounded |= torch.get_float32_matmul_precision() != "highest"
    return rounded and _tile(fields) * _tile(size) <= LARGEST and _tile(fields) <= 128


def selected(emb_BFD: Tensor, core_OQ: Tensor, number_QG: Tensor, count: int) -> Tensor:
    """Values x_BP of `count` tuples, with what `tables` gives."""
    x_BP: Tensor = _Products.apply(emb_BFD, core_OQ, number_QG, count)
    return x_BP


class _Products(torch.autograd.Function):
    @staticmethod
    def forward(ctx, emb_BFD, core_OQ, number_QG, count):
        emb_BFD = emb_BFD.contiguous()
        ctx.save_for_backward(emb_BFD, core_OQ, number_QG)
        x_BP = emb_BFD.new_empty(len(emb_BFD), count)
        rows, blocks = triton.cdiv(len(emb_BFD), ROWS), core_OQ.shape[1] // BLOCK
        if rows:
            given, shape = _arguments(emb_BFD, core_OQ, count, number_QG.shape[1])
            _forward[rows, blocks](emb_BFD, core_OQ, number_QG, x_BP, *given, **shape)
        return x_BP

    @staticmethod
    def backward(ctx, *grads):
        emb_BFD, core_OQ, number_QG = ctx.saved_tensors
        grad_BP, out_BFD = grads[0].contiguous(), torch.empty_like(emb_BFD)
        if rows := triton.cdiv(len(emb_BFD), ROWS):
            count, tile = grad_BP.shape[1], number_QG.shape[1]
            given, shape = _arguments(emb_BFD, core_OQ, count, tile)
            _backward[(rows,)](emb_BFD, core_OQ, number_QG, grad_BP, out_BFD, *given, **shape)
        return out_BFD, None, None, None


def _arguments(emb_BFD, core_OQ, count, tile):
    batch, fields, size = emb_BFD.shape
    shape = {"FIELDS": core_OQ.shape[0], "G": tile, "W": _tile(size), "K": BLOCK, "ROWS": ROWS}
    large = shape["G"] * shape["W"] > 64 * 64
    given = batch, fields, size, count, core_OQ.shape[1]
    return given, {**shape, "num_warps": 8 if large else 4, "num_stages": 1}


def _tile(n: int) -> int:
    return triton.next_power_of_2(max(16, n))
