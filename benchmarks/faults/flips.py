"""Bytes flipped in files that ctrloom wrote: the commands that read them notice, or give the same results."""

import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from digest import digest
from outcome import Outcome, Tally
from program import Done
from readers import READERS, Reader
from scenarios import FLIPPED, SCENARIOS, Scenario
from workers import command, in_workers
from workspace import Workspace


@dataclass(frozen=True)
class Flip:
    """One byte of one file, and what it is combined with by exclusive or."""

    file: Path
    offset: int
    mask: int

    def apply(self) -> None:
        """Flip it; again, to undo that."""
        with open(self.file, "r+b") as stream:
            stream.seek(self.offset)
            (before,) = stream.read(1)
            stream.seek(self.offset)
            stream.write(bytes([before ^ self.mask]))

    def __str__(self) -> str:
        return f"byte {self.offset} of {self.file} ^ {self.mask}"


def flips(
    workspace: Workspace, count: int, rng: random.Random, chosen_ones: Sequence[str] = ()
) -> Iterator[Tally]:
    """Flip `count` bytes in all, or a few more, of what all or the chosen scenarios and functions read."""
    readers = [each for each in READERS if not chosen_ones or each.by in chosen_ones]
    weights = [reader.share for reader in readers]
    for reader in readers:
        tally = Tally("byte flip", f"{reader.kind}, read by {reader.by}")
        chosen = [
            _chosen(workspace, reader, rng) for _ in range(round(count * reader.share / sum(weights)) + 1)
        ]
        for flip, outcome in zip(chosen, flipped(workspace, reader, chosen), strict=True):
            tally.add(outcome[0], f"{flip}: {outcome[1]}")
            if (
                outcome[0] == Outcome.DETECTED
                and not reader.by_function
                and not _names(outcome[1], flip.file)
            ):
                tally.notes["the message does not name the file"].append(f"{flip}: {outcome[1]}")
        yield tally


def flipped(workspace: Workspace, reader: Reader, chosen: list[Flip]) -> Iterator[tuple[Outcome, str]]:
    """The outcome of every flip."""
    read: Callable[[], Any]
    if reader.by_function:
        read = partial(reader.by_function, workspace.folder / "reference")
    else:
        scenario = next(each for each in SCENARIOS if each.name == reader.by)
        read = partial(_run, workspace, scenario, workspace.folder / FLIPPED)
    (expected,) = in_workers([read])
    assert isinstance(expected, tuple), f"{reader.by} fails without a flip"
    assert expected[0].status == 0, f"{reader.by} fails without a flip: {expected[0].err}"
    for flip, found in zip(chosen, in_workers([partial(_while, flip, read) for flip in chosen]), strict=True):
        if not isinstance(found, tuple):  # the worker ended before it could undo the flip
            flip.apply()
            yield (Outcome.HANG, "") if found is None else (Outcome.TRACEBACK, f"signal {-found}")
            continue
        yield _judged(found, expected)


def _judged(found: tuple[Done, Any], expected: tuple[Done, Any]) -> tuple[Outcome, str]:
    done, result = found
    if done.failure:
        return done.failure, done.message
    if done.status != 0:
        return Outcome.DETECTED, done.err
    return (Outcome.HARMLESS if result == expected[1] else Outcome.SILENT), "exit status 0"


def _chosen(workspace: Workspace, reader: Reader, rng: random.Random) -> Flip:
    files = reader.files(workspace.folder / "reference")
    assert files, f"{reader.kind}: no file"
    file = rng.choice(files)
    return Flip(
        file, rng.randrange(file.stat().st_size), rng.choice([1 << rng.randrange(8), rng.randrange(1, 256)])
    )


def _names(message: str, file: Path) -> bool:
    return file.name in message or str(file.parent) in message


def _while(flip: Flip, read: Callable[[], Any]) -> Any:
    flip.apply()
    try:
        return read()
    finally:
        flip.apply()


def _run(workspace: Workspace, scenario: Scenario, out: Path) -> tuple[Done, dict[str, str]]:
    shutil.rmtree(out, ignore_errors=True)
    arguments = workspace.command(scenario, out)
    run = workspace.program.run if scenario.whole else command
    done = run(arguments, workspace.folder)
    return done, digest(out, pages=not scenario.whole) if done.status == 0 else {}
