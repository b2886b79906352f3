"""Kernels are compiled for a GPU, which needs none; what they do is tested beside their plain twins."""

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

from ctrloom.kernels import gates, keys, products, rows

KINDS = {"sorted_N": "*i32", "from_N": "*i64", "bucket_N": "*i64", "key_N": "*i64", "start_X": "*i32"}
KINDS |= {"key_K": "*i64", "place_N": "*i64", "core_OQ": "*i32", "number_QG": "*i32"}
ADAM = {"BETA1": 0.9, "BETA2": 0.999, "LOG1": math.log(0.9), "LOG2": math.log(0.999)}
ROWS = ADAM | {"EPS": 1e-8, "DECAY": 0.1, "L": 32, "W": 32, "ADAGRAD": False}
ROWS |= {"CLIP": True, "RATIO": 1.0, "FLOOR": 1e-5}
TILES = {"FIELDS": 2, "G": 64, "W": 32, "K": 64, "ROWS": 8}
for kernel, constants in (
    (rows._within, ROWS),
    (rows._within, ROWS | {"ADAGRAD": True, "CLIP": False}),
    (rows._across, ROWS | {"K": 32}),
    (keys._places, {"BLOCK": 256}),
    (gates._gradient, {"TILE_B": 16, "TILE_P": 128}),
    (products._forward, TILES),
    (products._backward, TILES),
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


def test_kernels_compile_for_a_gpu(tmp_path: Path) -> None:
    pytest.importorskip("triton")
    plain = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment = plain | {"TRITON_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", COMPILES], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = [line.split() for line in done.stdout.splitlines()]
    assert len(found) == 7
    assert all(int(size) > 1000 for _, size, _ in found)
    assert max(int(shared) for _, _, shared in found) <= 64 * 1024  # what every GPU has for a program


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_where_triton_has_no_gpu_to_work_on_plain_code_takes_its_place() -> None:
    pytest.importorskip("triton")
    with pytest.warns(UserWarning, match="install a C compiler"):
        assert not kernels._works.__wrapped__(True)
    assert kernels._works(False)
