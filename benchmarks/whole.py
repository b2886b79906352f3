"""AutoFIS' search and a retraining on as many rows as Criteo has, from Parquet to a scored model.

    python benchmarks/whole.py [--rows 45840617] [--device cuda] [--data FOLDER]

First an encoded data set of Criteo's shape is written, whose labels depend on ten pairs of fields. Timed are
reading it to the device, searching all pairs with gates, and training with the found pairs, including
validation. An existing data set in the folder is reused.

N rows, F fields.
"""

import argparse
import datetime
import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path

import fast  # noqa: F401
import numpy as np
import pyarrow as pa
import torch
from machine import describe, on
from training.shapes import draw, schema_of, sizes_of

from ctrloom import storage
from ctrloom.architecture import Architecture
from ctrloom.config import AutoFISConfig, GatedSettings, RandomSplit, Split, VocabularyConfig
from ctrloom.config.version import code_version
from ctrloom.data.dataset import Dataset
from ctrloom.data.manifest import EncodedManifest, PartFile, write_section
from ctrloom.data.parquet.writer import GROUP_ROWS, table_writer
from ctrloom.methods.gates import GateSearch, GateVector, Schedule
from ctrloom.methods.interface import SearchData
from ctrloom.models import build
from ctrloom.schema import Schema
from ctrloom.training.loop import fit, pick_device, seed_everything

CRITEO = 45_840_617
PARTS = 40  # files, split 8:1:1 into training, validation and testing
PLANTED = 10  # pairs of fields that labels depend on
HASHED = 50  # groups of values per field


def split_of(number: int) -> Split:
    """The split of a file."""
    return "valid" if number % 10 == 8 else "test" if number % 10 == 9 else "train"


def labels(token_NF: np.ndarray, seed: int) -> np.ndarray:
    """Clicks whose odds depend on some pairs of values (N,)."""
    effects = np.random.default_rng(7).normal(0, 1, (PLANTED, HASHED, HASHED))
    odds_N = np.full(len(token_NF), -1.5)
    for pair, effect in enumerate(effects):
        a, b = (token_NF[:, 2 * pair + side] % HASHED for side in (0, 1))
        odds_N += effect[a, b]
    clicked = np.random.default_rng(seed).random(len(odds_N)) < 1 / (1 + np.exp(-odds_N))
    return clicked.astype(np.float32)


def write_part(number: int, rows: int, folder: Path, sizes: list[int]) -> PartFile:
    """One file of the data set."""
    token_NF, _ = draw(sizes, rows, seed=number)
    names = [f"f{i}" for i in range(len(sizes))]
    columns = {name: pa.array(token_NF[:, i].astype(np.int32)) for i, name in enumerate(names)}
    table = pa.table({**columns, "label": pa.array(labels(token_NF, number))})
    at = folder / split_of(number) / f"part-{number:05d}.parquet"
    with table_writer(at, table.schema) as (writer, written):
        writer.write_table(table, GROUP_ROWS)
    return PartFile.of(folder, written, rows)


def write(folder: Path, schema: Schema, sizes: list[int], rows: int, processes: int) -> None:
    """An encoded data set."""
    for split in ("train", "valid", "test"):
        (folder / split).mkdir(parents=True)
    each = [rows // PARTS + (number < rows % PARTS) for number in range(PARTS)]
    part = partial(write_part, folder=folder, sizes=sizes)
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:  # starts its processes lazily
        parts = list((pool.map if processes > 1 else map)(part, range(PARTS), each))
    files: dict[Split, tuple[PartFile, ...]] = {
        split: tuple(part for n, part in enumerate(parts) if split_of(n) == split)
        for split in ("train", "valid", "test")
    }
    manifest = EncodedManifest(
        base=str(folder),
        data_fingerprint="",
        code_version=code_version(),
        split=RandomSplit(),
        sources=(),
        rows={split: sum(part.rows for part in its) for split, its in files.items()},
        files=files,
        schema_fingerprint=schema.fingerprint,
        ingested_fingerprint="",
        vocabulary=VocabularyConfig(),
        encoder=(write_section(folder, "schema.json", schema),),
    )
    storage.write_json(folder / "manifest.json", manifest.model_dump(mode="json"))


def wait(device: torch.device) -> float:
    """Synchronize with the GPU and return the time."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def measure(folder: Path, given: argparse.Namespace) -> list[str]:
    """A page's lines."""
    device = pick_device(given.device)
    hyper = GatedSettings(
        embedding_size=20,
        embedding_optimizer="lazy_adam",
        precision="tf32",
        batch_size=given.batch,
        epochs=1,
        learning_rate=1e-2,
        embedding_l2=0.0,
        device=given.device,
    )
    wait(device)
    times = [time.perf_counter()]
    dataset = Dataset.open(folder)
    train, valid = (dataset.rows(split).to(device) for split in ("train", "valid"))
    times.append(wait(device))
    whole = Architecture.complete(dataset.schema.names)
    generator = seed_everything(0)
    model = build("autofm", whole, dataset.schema, hyper).to(device)
    groups = [GateVector(model.get_parameter("gates.2.gate_P"), whole.of_order(2))]
    alone = {"warm_up": 0, "gate_warm_up": 0, "permuted": 0, "embedding_l2": 0.0}
    config = AutoFISConfig(epochs=1, batch_size=given.batch, **alone)
    schedule = Schedule.of(config, hyper, SearchData(train, valid, dataset.schema), 2)
    gate_search = GateSearch(model, groups, train, schedule, generator)
    gate_search.run("search")
    kept = whole.model_copy(update={"interactions": gate_search.kept})
    times.append(wait(device))
    retrained = build("autofm", kept, dataset.schema, hyper)
    history = fit(retrained, train, valid, hyper, 0, "retraining")
    times.append(wait(device))
    planted = {frozenset((f"f{2 * pair}", f"f{2 * pair + 1}")) for pair in range(PLANTED)}
    found = sum(frozenset(i.fields) in planted for i in kept.interactions)
    seconds = [after - before for before, after in pairwise(times)]
    rows = train.total, train.total, train.total
    lines = ["| | seconds | rows/s |", "|---|--:|--:|"]
    for what, took, count in zip(("read", "search", "retrain and validate"), seconds, rows, strict=True):
        lines.append(f"| {what} | {took:.1f} | {count / took:,.0f} |")
    lines += [f"| **all** | **{sum(seconds):.1f}** | |", ""]
    have = {split: f"{dataset.rows_in(split):,}" for split in ("train", "valid", "test")}
    return [
        f"`python benchmarks/whole.py --rows {given.rows} --device {given.device} --batch {given.batch}`, "
        f"{datetime.date.today()}, {on(device.type)}. {describe('torch', 'pyarrow')}. "
        f"{have['train']} rows for training, {have['valid']} for validation, {have['test']} for testing; 39 "
        f"fields, {dataset.schema.table_size:,} ids, embeddings of 20, one pass each, batches of "
        f"{given.batch:,}. The statistics of candidates and the controls of a search are not part of it.",
        "",
        *lines,
        f"Kept {len(kept.interactions)} of {len(whole.interactions)} pairs, {found} of the {PLANTED} planted "
        f"ones among them; validation AUC {history.best_epoch.valid_auc:.4f}.",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=CRITEO)
    parser.add_argument("--batch", type=int, default=10_000)
    parser.add_argument("--ids", type=int, default=1_000_000)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--data", type=Path, help="folder of the data set; by default a temporary one")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    sizes = sizes_of("criteo", given.ids)
    with tempfile.TemporaryDirectory() as home:
        folder = given.data or Path(home) / "criteo"
        if not (folder / "manifest.json").exists():
            write(folder, schema_of(sizes), sizes, given.rows, given.threads)
        page = ["# From Parquet to a retrained model", "", *measure(folder, given), ""]
    target = given.output / f"whole-{given.device}-{datetime.date.today()}.md"
    target.write_text("\n".join(page))
    print("\n".join([*page, str(target)]))


if __name__ == "__main__":
    main()
