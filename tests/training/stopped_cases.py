"""Trainings and a search that are stopped and continue in several processes.

`torchrun --nproc-per-node 2 stopped_cases.py <manifest> <folder>` writes `<case>/whole` and `<case>/stopped`.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import torch
from training import test_resuming
from training.test_resuming import KilledError, steps

from ctrloom.data.dataset import Dataset
from ctrloom.training.checkpoints import loop, stage
from ctrloom.training.processes import data_parallel

CASES: dict[str, Callable[[Dataset, Path], object]] = {
    "training": lambda dataset, output: test_resuming.train(dataset, ["deepfm", "fm"], output),
    "search": lambda dataset, output: test_resuming.search(dataset, "autofis, halves", output),
}


@data_parallel
def run(manifest: str, folder: Path) -> None:
    dataset = Dataset.open(manifest)
    for name, case in CASES.items():
        with steps() as taken:
            case(dataset, folder / name / "whole")
        try:
            with steps(len(taken) // 2 + 3):
                case(dataset, folder / name / "stopped")
        except KilledError:
            with steps() as left:
                case(dataset, folder / name / "stopped")
            assert 0 < len(left) < len(taken) // 2, "it does not start over"


if __name__ == "__main__":
    torch.set_num_threads(1)
    loop.SPACING, loop.AGAIN, stage.SHARE = 0.0, 0.0, 1e9
    run(sys.argv[1], Path(sys.argv[2]))
