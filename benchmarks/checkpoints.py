"""What checkpoints cost: seconds to save and to load one, and their share of a training.

`python benchmarks/checkpoints.py` writes `results/checkpoints-<device>-<date>.md`. The model is FM with
embeddings of 16 and dense Adam; a checkpoint has its weights, both moments and the best weights. The share in
the table follows from the rule how far apart checkpoints are, given what one costs.
"""

import argparse
import copy
import datetime
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import torch
from machine import describe
from torch import Tensor

from ctrloom.architecture import Architecture
from ctrloom.config import Hyperparameters, SourceConfig
from ctrloom.data.batches.batch import Batch
from ctrloom.models import build
from ctrloom.schema import Field, Schema
from ctrloom.training.checkpoints import Loop, Variables, loop, stage
from ctrloom.training.checkpoints.files import Checkpoints
from ctrloom.training.checkpoints.stage import StageCheckpoints
from ctrloom.training.loop import adam_of, pick_device, seed_everything
from ctrloom.training.passes import Passes, run_epoch
from ctrloom.training.step import Step

VALUES = (30_000, 300_000, 3_000_000)
TRAINED = 300_000
FIELDS, TURNS, BATCH, ROWS = 10, 3, 4096, 200_000


class Training(NamedTuple):
    """A training with its checkpoints."""

    loop: Loop
    step: Step
    passes: Passes


def training(values: int, device: torch.device) -> Training:
    """A training of a model over so many values, after one step."""
    size = values // FIELDS
    names = [f"f{number}" for number in range(FIELDS)]
    fields = tuple(Field(name=name, column=name, kind="categorical", size=size) for name in names)
    columns = {"click": "label", **dict.fromkeys(names, "categorical")}
    schema = Schema(fields=fields, source=SourceConfig.parse({"columns": columns}, "benchmark"))
    generator, settings = seed_everything(0), Hyperparameters(embedding_size=16)
    ids_NC = torch.randint(0, size, (ROWS, FIELDS), generator=generator, dtype=torch.int32)
    ids_NC += torch.tensor(schema.offsets, dtype=torch.int32)
    rows = Batch(ids_NC, torch.randint(0, 2, (ROWS,), generator=generator).float()).to(device)
    model = build("fm", Architecture.complete(schema.names), schema, settings).to(device)
    optimizer = adam_of(model, settings, ROWS)
    passes, step = Passes(rows, BATCH, generator), Step(model, optimizer.step, [optimizer])
    step(next(passes.endless()))
    passes.end()
    best: dict[str, Tensor] = copy.deepcopy(model.state_dict())
    parts = {"model": model, "optimizer": optimizer, "generator": generator, "passes": passes}
    return Training(Loop(f"{values:,} values", **parts, at=Variables(best=best)), step, passes)


class Cost(NamedTuple):
    """What a checkpoint costs."""

    megabytes: float
    save: float
    busy: float  # seconds of CPU time to save
    load: float


def cost(values: int, device: torch.device, folder: Path) -> Cost:
    """Medians of several checkpoints of a training."""
    running, saving, busy, loading = training(values, device).loop, *(list[float]() for _ in range(3))
    for turn in range(TURNS):
        files = Checkpoints(folder / f"{values}-{turn}")
        began, working = time.perf_counter(), time.process_time()
        files.save(running.state())
        saving.append(time.perf_counter() - began)
        busy.append(time.process_time() - working)
        began = time.perf_counter()
        assert Checkpoints(files.place).load() is not None
        loading.append(time.perf_counter() - began)
    size = sum(path.stat().st_size for path in (folder / f"{values}-0").iterdir())
    return Cost(size / 1e6, *map(statistics.median, (saving, busy, loading)))


def trained(seconds: float, device: torch.device, folder: Path) -> tuple[int, float, float]:
    """Checkpoints, their seconds and all seconds of a training that takes about this long."""
    kept = StageCheckpoints(folder / "trained")
    with stage.kept_by(kept):
        running = training(TRAINED, device)
        while time.perf_counter() - kept.began < seconds:
            run_epoch(running.step, running.passes, running.loop, lambda *_: None)
    (checkpoints,) = kept.loops
    return checkpoints.last, kept.spent, time.perf_counter() - kept.began


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=100.0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    device, lines = pick_device(given.device), list[str]()
    with tempfile.TemporaryDirectory(dir=given.output) as name:
        for values in VALUES:
            one = cost(values, device, Path(name))
            apart = max(loop.SPACING, one.save / stage.SHARE)
            lines.append(
                f"| {values:,} | {one.megabytes:,.0f} | {one.save:.3f} | {one.busy:.3f} | {one.load:.3f} "
                f"| {apart:.0f} | {one.save / apart:.2%} |"
            )
        count, spent, whole = trained(given.seconds, device, Path(name))
    text = "\n".join(
        [
            f"# Checkpoints, {datetime.date.today()}",
            "",
            f"`python benchmarks/checkpoints.py --seconds {given.seconds:g} --device {given.device} "
            f"--threads {given.threads}`, {describe('torch', 'safetensors')}; the machine was in use, its "
            f"load {os.getloadavg()[0]:.1f} at the end. FM, {FIELDS} fields, embeddings of 16, dense Adam. "
            f"Medians of {TURNS} turns, to a local disk.",
            "",
            "| values | MB | save, s | of it CPU, s | load, s | seconds apart | share of the time |",
            "|--:|--:|--:|--:|--:|--:|--:|",
            *lines,
            "",
            f"A training over {TRAINED:,} values saved {count} checkpoints in {whole:.0f} seconds, which "
            f"took {spent:.2f} seconds: {spent / whole:.2%}.",
            "",
        ]
    )
    (given.output / f"checkpoints-{given.device}-{datetime.date.today()}.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
