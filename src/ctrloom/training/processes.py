"""Stages that several processes run together, started by torchrun or by the stage itself.

Each process trains on its part of every batch, and gradients are summed over all processes (see
`distributed`). Rank 0 shows the progress and writes the results.
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

from ctrloom import distributed

PROCESSES = "CTRLOOM_PROCESSES"  # how many a stage starts, if torchrun has not started any
FAILED = "ctrloom/failed"  # where the first process that fails leaves its number
PATIENCE = timedelta(hours=6)  # with a process that counts or writes; one that died is noticed at once
NOISY = ("torch.distributed.elastic", "torch.multiprocessing.spawn")
Given = ParamSpec("Given")
Result = TypeVar("Result")


def by_several(stage: Callable[Given, Result]) -> Callable[Given, Result]:
    """A stage that several processes can do together."""

    @wraps(stage)
    def shared(*args: Given.args, **kwargs: Given.kwargs) -> Result:
        if not distributed.is_single_process():  # part of a stage that they do already
            return stage(*args, **kwargs)
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            with _joined():
                return stage(*args, **kwargs)
        if (count := _wanted()) > 1:
            result: Result = _started(shared, count, args, kwargs)
            return result
        return stage(*args, **kwargs)

    return shared


def refuse_several(what: str) -> None:
    """Raise ValueError where several processes are at work."""
    _, count = distributed.rank_and_world_size()
    if count > 1:
        raise ValueError(
            f"{what} in one process only, and here are {count}: "
            f"start it without torchrun, and without {PROCESSES}"
        )


def _wanted() -> int:
    text = os.environ.get(PROCESSES, "1")
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"{PROCESSES}: a number of processes is needed, found {text!r}")
    return int(text)


@contextmanager
def _joined() -> Iterator[None]:
    """Be one of the processes that RANK and WORLD_SIZE speak of, until all of them are done.

    Of processes that fail the first alone says why; the others, which miss it then, end without a word.
    """
    store, number, count = next(rendezvous("env://"))
    before = signal.signal(signal.SIGTERM, _ended)
    try:
        backend = _backend()
        dist.init_process_group(backend, store=store, rank=number, world_size=count, timeout=PATIENCE)
        distributed.all_reduce(torch.zeros(()))  # they connect now, not when one of them may be gone
        yield
        distributed.all_reduce(torch.zeros(()))  # the leader has written by then
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
    """Another process failed and torchrun ends this one, which leaves nothing half-written."""
    raise SystemExit(1)


def _backend() -> str:
    """How to talk: by gloo about what is on the CPU, by NCCL about what is on GPUs, of which each has one.

    Raises:
        ValueError: there are fewer GPUs than processes.
    """
    if os.environ.get("CTRLOOM_DEVICE") == "cpu" or not torch.cuda.is_available():
        return "gloo"
    place, there = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if place >= there:
        raise ValueError(
            f"each process needs a GPU of its own, and torch sees {there}: start as many processes, or set "
            "CTRLOOM_DEVICE=cpu"
        )
    torch.cuda.set_device(place)
    return "cpu:gloo,cuda:nccl"


def _is_first(store: Any, number: int) -> bool:
    try:
        return bool(store.compare_set(FAILED, "", str(number)) == str(number).encode())
    except RuntimeError:  # the store went with the process that failed
        return False


def _started(stage: Callable[..., Any], count: int, args: Any, kwargs: Any) -> Any:
    """Start processes on this machine for a stage, as torchrun does; what the leader returned.

    Raises:
        ValueError: what one of them raised for the user to mend.
        ChildProcessError: one of them ended otherwise.
    """
    from torch.distributed.elastic.multiprocessing import SignalException
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
    )
    threads = str(max(1, torch.get_num_threads() // count))
    before = {logger: logging.getLogger(logger).level for logger in NOISY}
    for logger in NOISY:  # of stacks; what went wrong is said once, by the process that knows
        logging.getLogger(logger).setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        reason = Path(folder) / "reason"
        try:
            results = elastic_launch(plan, _member)(stage, args, kwargs, reason, threads)
        except ChildFailedError as error:
            if reason.is_file():
                raise ValueError(reason.read_text(encoding="utf-8")) from None
            _, failure = error.get_first_failure()
            raise ChildProcessError(
                f"one of {count} processes failed (status {failure.exitcode}); it said why above"
            ) from None
        except SignalException:
            raise KeyboardInterrupt from None
        finally:
            for logger, level in before.items():
                logging.getLogger(logger).setLevel(level)
    return results[0]


def _member(stage: Callable[..., Any], args: Any, kwargs: Any, reason: Path, threads: str) -> Any:
    """One of the processes that a stage started."""
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(int(threads))
    try:
        result = stage(*args, **kwargs)
    except (ValueError, OSError) as error:
        reason.write_text("\n".join([str(error), *getattr(error, "__notes__", [])]), encoding="utf-8")
        raise SystemExit(1) from None
    except Exception:
        traceback.print_exc()
        raise SystemExit(1) from None
    return result if os.environ["RANK"] == "0" else None
