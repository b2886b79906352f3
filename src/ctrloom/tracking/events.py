"""Writes a run to TensorBoard: one folder per model and seed, which TensorBoard shows as runs.

<folder>/<name>-<identity>/                  metrics of the whole, the verdict, and the architecture
                          <model>/           means over seeds, with the hyper-parameters
                                 seed-<s>/   curves by epoch, and final metrics
"""

import io
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch.utils.tensorboard import SummaryWriter

from ctrloom import storage
from ctrloom.architecture import Architecture
from ctrloom.report.architecture import architecture_markdown, architecture_picture
from ctrloom.storage import Place
from ctrloom.tracking.nodes import Node, Tracked
from ctrloom.tracking.records import shown

OWN = "**/events.out.tfevents.*"
LONGEST = 100_000  # characters of a text


def write(tracked: Tracked, folder: str) -> Place:
    """Write a run to a subfolder of `folder`, and replace what it wrote there before; returns the subfolder.

    Raises:
        StorageError: it cannot be written, or has files of others.
    """
    name = re.sub(r"[^\w.-]", "_", tracked.node.name, flags=re.ASCII)[:100]
    at = storage.place(folder) / f"{name}-{tracked.identity}"
    if isinstance(at, Path):
        with storage.atomic_directory(at, OWN) as temporary:
            _write_all(tracked, temporary)
    else:
        with tempfile.TemporaryDirectory() as scratch:
            _write_all(tracked, Path(scratch))
            storage.upload(Path(scratch), at)
    return at


def _write_all(tracked: Tracked, folder: Path) -> None:
    _write(tracked.node, folder, tracked)
    for path, node in tracked.node.below():
        _write(node, folder / path)


def _write(node: Node, folder: Path, whole: Tracked | None = None) -> None:
    with SummaryWriter(str(folder), max_queue=1_000) as writer:
        for key, values in node.curves.items():
            for epoch, value in enumerate(values, 1):
                writer.add_scalar(key, value, epoch)
        last = max((len(values) for values in node.curves.values()), default=0)
        for key, value in node.metrics.items():
            writer.add_scalar(f"final/{key}", value, last)
        tags = "\n".join(f"| {key} | {_cell(value)} |" for key, value in node.tags.items())
        if tags:
            writer.add_text("tags", f"| tag | |\n|---|---|\n{tags}")
        if whole:
            writer.add_text("summary", shown(whole.description, LONGEST))
            _architecture(writer, whole)
        elif node.parameters:
            settings = {key: _hparam(value) for key, value in node.parameters.items()}
            figures = {f"final/{key}": value for key, value in node.metrics.items()}
            _add_hparams(writer, settings, figures)


def _architecture(writer: SummaryWriter, tracked: Tracked) -> None:
    path = next((each for each in tracked.files if each.name == "architecture.json"), None)
    if path is None:
        return
    architecture = Architecture.load(path)
    writer.add_text("architecture", architecture_markdown(architecture))
    if picture := architecture_picture(architecture):
        pixels = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"))
        writer.add_image("architecture", pixels, dataformats="HWC")


def _add_hparams(writer: SummaryWriter, settings: Mapping[str, Any], figures: Mapping[str, float]) -> None:
    """What `SummaryWriter.add_hparams` writes, in this run instead of one inside of it."""
    from torch.utils.tensorboard.summary import hparams

    file: Any = writer.file_writer
    for summary in hparams(dict(settings), dict(figures)):
        file.add_summary(summary)


def _hparam(value: Any) -> Any:
    return value if isinstance(value, bool | int | float) else shown(value, 1_000)


def _cell(text: str) -> str:
    return shown(text, 1_000).replace("|", r"\|").replace("\n", " ")
