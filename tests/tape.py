"""What a CUDA graph does with a step, done on the CPU.

A tape notes every operation of a step with the tensors that it reads and writes, and plays them again: at the
same places in memory, with the numbers that the host gave when it was recorded. What the host would have to
wait for, or to send, is an error: no graph can hold that either.
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
WAITING = {  # the host asks for a number, or for how many of something there are
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
    aten.lift_fresh,  # a constant that the host sends
}
READING = {Tensor.tolist, Tensor.numpy, Tensor.cpu, Tensor.item}
PARTS = {aten._indices, aten._values}  # of a sparse tensor: the very tensors it was made of


class WaitsError(AssertionError):
    """A step makes the host wait for the device."""


class NoWaiting(TorchDispatchMode):
    """In which an operation that makes the host wait is an error."""

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
    """In which reading a tensor on the host is an error."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in READING:
            raise WaitsError(f"{func.__name__} inside a step")
        return func(*args, **(kwargs or {}))


class Tape(NoWaiting):
    """Operations as they come, to be played again."""

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
        """A kernel, which torch does not know of."""
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
    """The `record` of a step that plays tapes."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.tapes: list[Tape] = []
        self.replays = 0
        self.recording: Tape | None = None
        interpreter = pytest.importorskip("triton.runtime.interpreter")
        launch = interpreter.GridExecutor.__call__

        def noted(grid: Any, *args: Any, **kwargs: Any) -> None:
            with torch.utils._python_dispatch._disable_current_modes():  # what an interpreter does is no step
                if self.recording is None:
                    launch(grid, *args, **kwargs)
                else:
                    self.recording.kernel(lambda: launch(grid, *args, **kwargs))

        patch.setattr(interpreter.GridExecutor, "__call__", noted)

    def __call__(self, work: Callable[[], Tensor]) -> Callable[[], Tensor]:
        """Record work, which does it once; the first replay is that one."""
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
