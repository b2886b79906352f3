"""The corpus of hostile input: what users and attackers give, and what they must be told."""

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from outcome import Tally
from program import Program

from hostile import (
    bundles,
    configs,
    duplicates,
    folders,
    parquet,
    registries,
    scoring,
    servers,
    settings,
    text_files,
    traffic,
    urls,
    values,
)
from hostile.case import Case

GROUPS: dict[str, Sequence[Case]] = {
    "text files": text_files.CASES,
    "duplicate files": duplicates.CASES,
    "values": values.CASES,
    "Parquet": parquet.CASES,
    "configurations": configs.CASES,
    "settings and options": settings.CASES,
    "bundles": bundles.CASES,
    "rows to score": scoring.CASES,
    "folders of predictions and exports": folders.CASES,
    "traffic logs and labels": traffic.CASES,
    "registries": registries.CASES,
    "URLs": urls.CASES,
    "answers of servers": servers.CASES,
}


def corpus(program: Program, folder: Path, assets: Path) -> Iterator[Tally]:
    """Run all cases, each in its own folder."""
    os.environ["CTRLOOM_ASSETS"] = str(assets)
    for group, cases in GROUPS.items():
        tally = Tally("hostile input", group)
        for number, case in enumerate(cases):
            own = folder / "hostile" / f"{group.replace(' ', '-')}-{number}"
            own.mkdir(parents=True)
            outcome, told = case.run(program, own, assets)
            tally.add(outcome, f"{case.name}: {told.strip()}")
            shutil.rmtree(own)
        yield tally
