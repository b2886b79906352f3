"""Data-parallel stages, whose processes are launched by torchrun or by the stage itself.

Each process trains on its shard of every batch, and gradients are summed over all processes (see
`distributed`). Rank 0 shows progress and writes the results.
"""

import logging
import os
import signal
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar
from uuid import uuid4

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from ctrloom import distributed, interruption, memory, storage
from ctrloom.config.base import MachineError
from ctrloom.config.environment import device_name, positive_int, process_number
from ctrloom.config.errors import UserError
from ctrloom.training.torch_state import restored_torch_state

PROCESSES = "CTRLOOM_PROCESSES"  # number of processes to launch when not running under torchrun
FAILED = "ctrloom/failed"  # store key: rank of the first process that failed
PATIENCE = timedelta(hours=6)  # rank 0 may count or write for long; dead processes are detected at once
NOISY = ("torch.distributed.elastic", "torch.multiprocessing.spawn")
Given = ParamSpec("Given")
Result = TypeVar("Result")


def data_parallel(stage: Callable[Given, Result]) -> Callable[Given, Result]:
    """Decorator: run a stage in as many processes as configured; torch's global state is restored."""

    @wraps(stage)
    @restored_torch_state()
    def shared(*args: Given.args, **kwargs: Given.kwargs) -> Result:
        if not distributed.is_single_process():  # nested in a stage that is already distributed
            return stage(*args, **kwargs)
        if positive_int("WORLD_SIZE") > 1:
            with _process_group():
                return stage(*args, **kwargs)
        if (count := positive_int(PROCESSES)) > 1:
            result: Result = _launch(shared, count, args, kwargs)
            return result
        return stage(*args, **kwargs)

    return shared


def require_single_process(what: str) -> None:
    """Raise MachineError if there are several processes."""
    if not distributed.is_single_process():
        _, count = distributed.rank_and_world_size()
        raise MachineError(
            f"{what} runs in one process only, but there are {count}: "
            f"run it without torchrun and unset {PROCESSES}"
        )


@contextmanager
def _process_group() -> Iterator[None]:
    """Join the process group given by RANK and WORLD_SIZE, and leave it when all processes are done.

    Only the first process to fail reports its error; the others, which then lose a peer, exit silently.
    """
    store, number, count = next(rendezvous("env://"))
    before = signal.getsignal(signal.SIGTERM)
    if before == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _ended)
    try:
        backend = _backend()
        dist.init_process_group(backend, store=store, rank=number, world_size=count, timeout=PATIENCE)
        distributed.all_reduce(torch.zeros(()))  # connect now, while all processes are alive
        yield
        distributed.all_reduce(torch.zeros(()))  # wait until rank 0 has written
    except interruption.Stopped:
        if _another_failed(store):  # torchrun stops the others, which are not to report a signal
            raise SystemExit(1) from None
        raise
    except Exception as error:
        if not _is_first(store, number):
            raise SystemExit(1) from None
        error.add_note(f"process {number} of {count}")
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
        if not distributed.is_single_process():
            with suppress(RuntimeError):
                dist.destroy_process_group()


def _ended(*_: Any) -> None:
    """Exit cleanly on SIGTERM, which torchrun sends when another process fails."""
    raise SystemExit(1)


def _backend() -> str:
    """The process-group backend: gloo for CPU tensors, NCCL for GPU tensors, one GPU per process.

    Raises:
        MachineError: fewer GPUs than processes.
    """
    if device_name() == "cpu" or not torch.cuda.is_available():
        return "gloo"
    place, there = process_number("LOCAL_RANK"), torch.cuda.device_count()
    if place >= there:
        raise MachineError(
            f"each process needs its own GPU, but torch sees only {there}: start at most {there} processes, "
            "or set CTRLOOM_DEVICE=cpu"
        )
    torch.cuda.set_device(place)
    return "cpu:gloo,cuda:nccl"


def _is_first(store: Any, number: int) -> bool:
    try:
        return bool(store.compare_set(FAILED, "", str(number)) == str(number).encode())
    except RuntimeError:  # the failed process hosted the store
        return False


def _another_failed(store: Any) -> bool:
    try:
        return bool(store.check([FAILED]))
    except RuntimeError:
        return False


def _launch(stage: Callable[..., Any], count: int, args: Any, kwargs: Any) -> Any:
    """Launch local processes for a stage, as torchrun does; returns the result of rank 0.

    Raises:
        UserError: a process raised one or an OSError, whose message this one carries.
        ChildProcessError: a process failed for another reason.
    """
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    plan = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id=uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",
        max_restarts=0,
        start_method="spawn",
        signals_to_handle="none",  # this process keeps its handlers
    )
    threads = str(max(1, torch.get_num_threads() // count))
    before = {logger: logging.getLogger(logger).level for logger in NOISY}
    for logger in NOISY:  # hide their tracebacks; the failed process reports the error
        logging.getLogger(logger).setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        reason = Path(folder) / "reason"
        try:
            with interruption.starting():
                results = elastic_launch(plan, _worker)(stage, args, kwargs, reason, threads)
        except ChildFailedError as error:
            if reason.is_file():
                raise _carried(reason) from None
            _, failure = error.get_first_failure()
            died = memory.of_killed(failure.exitcode) or f"see its error above (status {failure.exitcode})"
            raise ChildProcessError(f"one of {count} processes failed: {died}") from None
        finally:
            for logger, level in before.items():
                logging.getLogger(logger).setLevel(level)
    return results[0]


def _carried(reason: Path) -> UserError:
    """The error that a launched process wrote."""
    said = storage.read_json(reason)
    error = UserError(said["message"])
    error.from_inputs = said["from_inputs"]
    return error


def _worker(stage: Callable[..., Any], args: Any, kwargs: Any, reason: Path, threads: str) -> Any:
    """Entry point of a launched process."""
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(int(threads))
    try:
        interruption.install()
        with memory.explained():
            result = stage(*args, **kwargs)
    except (UserError, OSError) as error:
        message = "\n".join([str(error), *getattr(error, "__notes__", [])])
        storage.write_json(reason, {"message": message, "from_inputs": getattr(error, "from_inputs", False)})
        raise SystemExit(1) from None
    except Exception:
        interruption.check()  # native code that is interrupted raises errors of its own
        traceback.print_exc()
        raise SystemExit(1) from None
    return result if os.environ["RANK"] == "0" else None
