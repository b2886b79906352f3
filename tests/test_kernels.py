"""Kernels compile for a GPU, which needs no GPU; their results are tested with their plain equivalents."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ctrloom import kernels

COMPILES = """
import math
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from ctrloom.kernels import gates, keys, linear, mixture, pair_sum, products, embedding

INT16, INT32, INT64 = "number_TX", "sorted_N row_N start_X core_CQ first_T ids_BC", "from_N key_K row_BP"
INT64 += " left_P right_P size_P shift_P number_FF"
HALF = ("out_BX", "out_BY", "y_BY", "grad_BY", "own_BY")
NUMBERS = {"STRIDE": "i32", "STEP": "i32", "EPS": "fp32", "FACTOR": "fp32", "byte_BM": "*u8"}
KINDS = {name: "*i16" for name in INT16.split()} | {name: "*i32" for name in INT32.split()}
KINDS |= {name: "*i64" for name in INT64.split()} | {name: "*bf16" for name in HALF}
KINDS |= NUMBERS
ROWS = {"BETA1": 0.9, "BETA2": 0.999, "EPS": 1e-8, "DECAY": 0.1, "L": 16, "D": 20, "W": 32}
ROWS |= {"ADAGRAD": False, "CLIP": True, "RATIO": 1.0, "FLOOR": 1e-5}
TILES = {"F": 39, "D": 20, "C": 2, "W": 32}
SLOTS = {"F": 26, "D": 10, "BLOCK": 1024, "ROWS": 32}
EMB = {"F": 39, "D": 20, "G": 64, "W": 32}
for kernel, constants in (
    (embedding._gather, {"D": 20, "L": 51, "BLOCK": 1024}),
    (embedding._begin, {"LOG1": math.log(0.9), "LOG2": math.log(0.999)}),
    (embedding._within, ROWS),
    (embedding._within, ROWS | {"ADAGRAD": True, "CLIP": False}),
    (embedding._across, ROWS | {"K": 32}),
    (keys._cross_rows, {"P": 325, "ODD1": -7, "ODD2": -(2**62) - 1, "BITS": 25, "BLOCK": 256}),
    (gates._gate_sums, {"ROWS": 128, "TILE_B": 16, "TILE_P": 128}),
    (gates._gate_gradient, {"TILE_B": 16, "TILE_P": 128}),
    (linear._widen, {"BLOCK": 1024}),
    (linear._activate, {"NORM": True, "DROPPED": 77, "W": 1024}),
    (linear._activate_gradient, {"NORM": True, "ROWS": 16, "W": 1024}),
    (pair_sum._pair_sum, EMB),
    (pair_sum._pair_sum_gradient, EMB),
    (mixture._mixture, SLOTS),
    (mixture._mixture_gradient, SLOTS),
    (mixture._mixture_fields, EMB),
    (products._values, TILES | {"K": products.CORES, "G": products.FIELDS}),
    (products._gradients, TILES | {"K": products.CORES, "G": products.MOST_FIELDS}),
):
    kinds = {}
    for name in kernel.arg_names:
        plain = "i32" if len(name) == 1 else "*fp32"
        kinds[name] = "constexpr" if name in constants else KINDS.get(name, plain)
    places = {(kernel.arg_names.index(name),): value for name, value in constants.items()}
    source = ASTSource(kernel, kinds, places)
    compiled = triton.compile(source, GPUTarget("cuda", 90, 32), {"num_stages": 1})
    print(kernel.__name__, len(compiled.asm["cubin"]), compiled.metadata.shared)
"""


def test_kernels_compile_without_a_gpu(tmp_path: Path) -> None:
    pytest.importorskip("triton")
    plain = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment = plain | {"TRITON_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", COMPILES], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = [line.split() for line in done.stdout.splitlines()]
    assert len(found) == 18
    assert all(int(size) > 1000 for _, size, _ in found)
    assert max(int(shared) for _, _, shared in found) <= 64 * 1024  # available on every GPU


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_plain_torch_is_used_if_triton_fails() -> None:
    pytest.importorskip("triton")
    with pytest.warns(UserWarning, match="install a C compiler"):
        assert not kernels._works.__wrapped__(True)
    assert kernels._works(False)
