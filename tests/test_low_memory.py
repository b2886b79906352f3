"""Too little memory: one line that names what to reduce, if possible before the memory is taken."""

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest
import torch

from ctrloom import memory, stages
from ctrloom.config import Hyperparameters, OptInterSettings
from ctrloom.config.errors import UserError
from ctrloom.memory import LowMemoryError
from ctrloom.nn.cross_features import CrossEmbedding
from ctrloom.nn.embedding import FieldEmbedding
from ctrloom.nn.mlp import perceptron
from ctrloom.runners.step_process import run_step
from ctrloom.schema import Cross, Field, Schema
from ctrloom.training.memory import require_training

GB = 10**9
VAST = 10**15


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sets how much memory is free."""
    return lambda size: monkeypatch.setattr(memory, "available", lambda: size)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with 8 GiB, of which 4 GiB are free; its control groups are in the returned folder."""
    write(tmp_path / "proc/meminfo", "MemTotal:  8388608 kB\nMemFree: 1 kB\nMemAvailable:  4194304 kB\n")
    write(tmp_path / "proc/self/statm", "1000 1 1")
    monkeypatch.setattr(memory, "PROC", tmp_path / "proc")
    monkeypatch.setattr(memory, "GROUPS", tmp_path / "groups")
    return tmp_path / "groups"


def test_memory_of_a_machine(machine: Path) -> None:
    assert (memory.total(), memory.available()) == (8 << 30, 4 << 30)


@pytest.mark.parametrize("inner", ["", "pods/mine"], ids=["container", "host"])
def test_limits_of_control_groups_count(machine: Path, inner: str, tmp_path: Path) -> None:
    write(tmp_path / "proc/self/cgroup", f"1:cpu:/x\n0::/{inner}\n")
    write(machine / inner / "memory.max", f"{2 << 30}\n")
    write(machine / inner / "memory.current", f"{1 << 30}\n")
    write(machine / inner / "memory.stat", f"anon 5\nactive_file {1 << 20}\ninactive_file {2 << 20}\n")
    assert (memory.total(), memory.available()) == (2 << 30, (1 << 30) + (3 << 20))
    write(machine / inner / "memory.max", "max\n")
    assert memory.total() == 8 << 30


def test_limits_of_control_groups_of_version_1_and_of_outer_ones_count(machine: Path, tmp_path: Path) -> None:
    write(tmp_path / "proc/self/cgroup", "4:memory:/outer/inner\n0::/\n")
    write(machine / "memory/outer/memory.limit_in_bytes", f"{1 << 30}\n")
    write(machine / "memory/outer/memory.usage_in_bytes", f"{1 << 29}\n")
    write(machine / "memory/outer/memory.stat", "inactive_file 7\ntotal_inactive_file 4096\n")
    write(machine / "memory/outer/inner/memory.limit_in_bytes", f"{2**63 - 4096}\n")
    assert (memory.total(), memory.available()) == (1 << 30, (1 << 29) + 4096)


def test_limit_of_addresses_counts(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = 1000 * resource.getpagesize() + (1 << 30)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, resource.RLIM_INFINITY))
    assert (memory.total(), memory.available()) == (limit, 1 << 29)


def test_only_what_does_not_fit_is_rejected(free: Callable[[int], None]) -> None:
    free(GB)
    memory.require(GB, "the table", "lower it")
    with pytest.raises(LowMemoryError) as error:
        memory.require(3 * GB // 2, "the table", "lower it")
    assert str(error.value) == "not enough memory for the table: 1.5 GB needed, 1.0 GB free; lower it"


def schema(ids: int, crosses: int = 0) -> Schema:
    fields = tuple(Field(name=name, column=name, kind="categorical", size=ids) for name in ("a", "b"))
    crossed = (Cross(fields=("a", "b"), size=crosses + 1, digest=""),) if crosses else ()
    return Schema.model_construct(fields=fields, crosses=crossed)


def test_table_that_does_not_fit_reports_its_size_before_it_is_allocated(free: Callable[[int], None]) -> None:
    free(GB)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(
        LowMemoryError, match=r"table of 200,000,000 ids of 65,536 numbers: 52,428\.8 GB needed"
    ):
        FieldEmbedding(schema(100_000_000), 65_536)
    with pytest.raises(LowMemoryError, match=r"of 500,000,000 cross features of 10 numbers: 28\.0 GB needed"):
        CrossEmbedding(schema(100_000, 500_000_000), [("a", "b")], 10, 0.1, OptInterSettings())
    with pytest.raises(
        LowMemoryError, match=r"a layer of 65,536 x 65,536 weights: 17\.2 GB .*; lower hidden"
    ):
        perceptron(65_536, Hyperparameters(hidden=(65_536,)))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000, "kilobytes"


def test_training_that_does_not_fit_reports_its_size(free: Callable[[int], None]) -> None:
    table = FieldEmbedding(schema(10_000_000), 1)  # 80 MB
    # The gradient, two moments and the best weights; row-wise optimizers have no dense gradient.
    for rowwise, size in ((False, 4 * 80 * 10**6), (True, 3 * 80 * 10**6)):
        free(size)
        require_training(table, rowwise)
        free(size - 1)
        with pytest.raises(LowMemoryError, match="training of 20,000,000 weights"):
            require_training(table, rowwise)


class CudaError(RuntimeError):
    """Named as torch names it."""


CudaError.__name__ = "OutOfMemoryError"


def out_of_cuda() -> None:
    raise CudaError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 1 GiB")


def duckdb_without_room() -> None:
    connection = duckdb.connect()
    connection.execute("set memory_limit='10MB'; set temp_directory=''")
    connection.execute("create table t as select range a, md5(range::text) b from range(1000000)")


def failing(error: BaseException) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    ("fail", "size"),
    [
        (lambda: bytearray(VAST), ""),
        (lambda: np.empty(VAST), r" \(8,005,148\.3 GB asked for\)"),
        (lambda: torch.empty(VAST), r" \(4,000,000\.0 GB asked for\)"),
        (lambda: pa.allocate_buffer(VAST), r" \(1,000,000\.0 GB asked for\)"),
        (duckdb_without_room, ""),
        (failing(OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))), ""),
        (failing(RuntimeError("can't start new thread")), ""),
        (failing(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED")), ""),
        (failing(ImportError("libtorch.so: failed to map segment from shared object")), ""),
        (failing(ValueError("std::bad_alloc")), ""),
    ],
)
def test_every_library_s_error_becomes_one_line(fail: Callable[[], object], size: str) -> None:
    expected = f"^not enough (GPU )?memory{size}; lower the batch size$"
    with pytest.raises(LowMemoryError, match=expected) as error:
        with memory.explained("lower the batch size"):
            fail()
    assert "\n" not in str(error.value)
    assert error.value.__cause__ is not None


def test_memory_of_a_gpu_is_named() -> None:
    with pytest.raises(LowMemoryError, match=r"not enough GPU memory \(2\.1 GB asked for\)"):
        with memory.explained():
            out_of_cuda()


@pytest.mark.parametrize(
    "error",
    [
        UserError("out of memory"),
        OSError("may be out of memory"),
        RuntimeError("shapes differ"),
        KeyError("x"),
    ],
)
def test_other_errors_stay(error: Exception) -> None:
    with pytest.raises(type(error)) as raised, memory.explained():
        raise error
    assert raised.value is error


def test_stages_explain_and_need_a_minimum(free: Callable[[int], None]) -> None:
    free(memory.LEAST - 1)
    with pytest.raises(LowMemoryError, match=r"for a step: 0\.3 GB needed"):
        stages.ingest("anything", "anywhere")


@pytest.mark.parametrize(
    ("code", "status", "message"),
    [
        (
            "import os; os.kill(os.getpid(), 9)",
            -9,
            "LowMemoryError: it was killed (SIGKILL), usually",
        ),
        ("import sys; sys.exit(137)", 137, "LowMemoryError: it was killed (SIGKILL)"),
        ("import os; os.kill(os.getpid(), 11)", -11, "LowMemoryError: it crashed (SIGSEGV), often because"),
        ("import os; os.abort()", -6, "LowMemoryError: it crashed (SIGABRT)"),
        ("import sys; sys.exit(1)", 1, ""),
    ],
)
def test_step_that_was_killed_is_explained(
    code: str, status: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_step([sys.executable, "-c", code]) == status
    printed = capsys.readouterr().out
    assert message in printed if message else printed == ""


@pytest.mark.parametrize("megabytes", [300, 3_500, 3_700])
def test_command_with_few_addresses_ends_with_one_line(megabytes: int, tmp_path: Path) -> None:
    """Less than the libraries need when they are loaded, or hardly more."""
    (tmp_path / "clicks.csv").write_text("y,a\n" + "1,x\n0,y\n" * 500)
    (tmp_path / "run.yaml").write_text(
        "name: a\ndata: {files: clicks.csv, columns: {y: label, a: categorical}}\n"
    )

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (megabytes << 20, megabytes << 20))

    done = subprocess.run(
        [sys.executable, "-m", "ctrloom", "ingest", "run.yaml", "--store", "store"],
        cwd=tmp_path,
        preexec_fn=limited,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    last = done.stderr.strip().splitlines()[-1]
    assert (done.returncode, "memory" in last) == (2, True), done.stderr[-2000:]
    assert "Traceback" not in done.stderr
