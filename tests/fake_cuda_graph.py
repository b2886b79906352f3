"""Emulates CUDA graph capture on the CPU.

A tape records every operation of a step with the tensors that it reads and writes, and replays them on the
same memory with the host scalars of the recording. Host syncs and host-to-device copies are errors, as in a
CUDA graph.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

aten = torch.ops.aten
WAITING = {  # operations that read a value or a data-dependent size on the host
    aten._local_scalar_dense,
    aten.is_nonzero,
    aten.equal,
    aten.nonzero,
    aten.masked_select,
    aten._unique2,
    aten.unique_dim,
    aten.unique_consecutive,
    aten._coalesce,
    aten.bincount,
    aten.lift_fresh,  # a host constant copied to the device
}
READING = {Tensor.tolist, Tensor.numpy, Tensor.cpu, Tensor.item}
PARTS = {aten._indices, aten._values}  # return the tensors that a sparse tensor was built from


class WaitsError(AssertionError):
    """A step needs a host sync."""


class NoWaiting(TorchDispatchMode):
    """A mode in which operations with a host sync are errors."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        by_mask = func.overloadpacket is aten.index and any(
            x is not None and x.dtype in (torch.bool, torch.uint8) for x in args[1]
        )
        if func.overloadpacket in WAITING or by_mask:
            raise WaitsError(f"{func} inside a step")
        return self.done(func, args, kwargs or {})

    def done(self, func: Any, args: Any, kwargs: Any) -> Any:
        return func(*args, **kwargs)


class NoReading(TorchFunctionMode):
    """A mode in which reading a tensor on the host is an error."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in READING:
            raise WaitsError(f"{func.__name__} inside a step")
        return func(*args, **(kwargs or {}))


class Tape(NoWaiting):
    """Records operations for replay."""

    def __init__(self) -> None:
        super().__init__()
        self.played: list[Callable[[], object]] = []

    def done(self, func: Any, args: Any, kwargs: Any) -> Any:
        out = func(*args, **kwargs)
        if func.overloadpacket in PARTS:
            return out
        made = [x for x in tree_leaves(out) if isinstance(x, Tensor)]
        given = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        places = {x.untyped_storage().data_ptr() for x in given if not x.is_sparse}
        fresh = [x for x in made if x.is_sparse or x.untyped_storage().data_ptr() not in places]
        if made and not fresh and not func._schema.is_mutable:
            return out  # a view
        self.played.append(lambda: self._again(func, args, kwargs, made, fresh))
        return out

    def kernel(self, launch: Callable[[], object]) -> None:
        """Record a Triton kernel, which torch does not dispatch."""
        launch()
        self.played.append(launch)

    @torch.no_grad()
    def _again(self, func: Any, args: Any, kwargs: Any, made: list[Tensor], fresh: list[Tensor]) -> None:
        now = [x for x in tree_leaves(func(*args, **kwargs)) if isinstance(x, Tensor)]
        for before, after in zip(made, now, strict=True):
            if not any(before is x for x in fresh):
                continue
            for part in (Tensor._indices, Tensor._values) if before.is_sparse else (Tensor.detach,):
                part(before).copy_(part(after))


class Recorder:
    """The `record` argument of a step, implemented with tapes."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.tapes: list[Tape] = []
        self.replays = 0
        self.recording: Tape | None = None
        interpreter = pytest.importorskip("triton.runtime.interpreter")
        launch = interpreter.GridExecutor.__call__

        def noted(grid: Any, *args: Any, **kwargs: Any) -> None:
            with torch.utils._python_dispatch._disable_current_modes():  # not the interpreter's operations
                if self.recording is None:
                    launch(grid, *args, **kwargs)
                else:
                    self.recording.kernel(lambda: launch(grid, *args, **kwargs))

        patch.setattr(interpreter.GridExecutor, "__call__", noted)

    def __call__(self, work: Callable[[], Tensor]) -> Callable[[], Tensor]:
        """Record work, which runs it once; the first replay returns that result."""
        self.recording = tape = Tape()
        with NoReading(), tape:
            result = work()
        self.recording = None
        self.tapes.append(tape)
        first = True

        def replay() -> Tensor:
            nonlocal first
            for operation in [] if first else tape.played:
                operation()
            first, self.replays = False, self.replays + 1
            return result

        return replay
