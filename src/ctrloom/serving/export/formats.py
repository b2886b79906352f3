"""The file formats of exported models: writing them, and running them to check what was written."""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.export import ExportedProgram

from ctrloom.config.base import ConfigError
from ctrloom.config.extras import install
from ctrloom.data.batches.batch import Batch
from ctrloom.serving.export.program import BATCH, FACTORS, IDS, LOGIT, PROBABILITY, inputs

Format = Literal["torch", "onnx"]
Run = Callable[[Batch], tuple[Tensor, Tensor]]  # rows -> logits and probabilities, float32


class ModelFile(NamedTuple):
    """How a format is written and run; `write` returns the version of ONNX's operators, if it has one."""

    name: str
    require: Callable[[], None]
    write: Callable[[ExportedProgram, Path], int | None]
    open: Callable[[Path], Run]


def _write_torch(program: ExportedProgram, path: Path) -> None:
    with _without_advice():
        torch.export.save(program, path)


def _open_torch(path: Path) -> Run:
    module = torch.export.load(path).module()
    return lambda rows: module(*inputs(rows))


def _write_onnx(program: ExportedProgram, path: Path) -> int:
    names = [IDS, FACTORS][: len(program.graph_signature.user_inputs)]
    with _without_advice():
        made = torch.onnx.export(
            program,
            dynamo=True,
            verbose=False,
            input_names=names,
            output_names=[LOGIT, PROBABILITY],
        )
    assert made is not None, "a program of torch.onnx"
    made.rename_axes({str(symbol): BATCH for symbol in program.range_constraints})
    made.save(path)
    return int(made.model.opset_imports[""])


def _open_onnx(path: Path) -> Run:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]

    def run(rows: Batch) -> tuple[Tensor, Tensor]:
        given = dict(zip(names, (each.numpy() for each in inputs(rows)), strict=True))
        logit_B, probability_B = session.run([LOGIT, PROBABILITY], given)
        return torch.from_numpy(logit_B), torch.from_numpy(probability_B)

    return run


def _require_onnx() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"--format onnx needs a package that is not installed ({error}); "
            f"install it with {install('export')}"
        ) from None


@contextmanager
def _without_advice() -> Iterator[None]:
    """Keep torch from reporting what it does itself: deprecated calls, and packages that it lacks."""
    logger: Any = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logger.setLevel(before)


FORMATS: dict[Format, ModelFile] = {
    "torch": ModelFile("model.pt2", lambda: None, _write_torch, _open_torch),
    "onnx": ModelFile("model.onnx", _require_onnx, _write_onnx, _open_onnx),
}
MODEL_FILES = tuple(name for kind in FORMATS.values() for name in (kind.name, f"{kind.name}.data"))
