"""How far exported models are from their bundles: model x format x largest difference.

    python benchmarks/export_parity.py [--columns onnx AOTInductor] [--only gbdt "fm, all pairs"]

Every specimen of `zoo.py`, on random rows of every id, with missing and unseen values, in batches of 1, 2, 7
and 1,000 rows. Torch programs run as they are and compiled by AOTInductor for this CPU, which takes most of
the time; ONNX models run in onnxruntime. Compressed tables are compared with the same tables in torch. A run
of a part of the table keeps the other cells of the day's result.
"""

import argparse
import datetime
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fast  # noqa: F401
import numpy as np
import torch
from machine import describe
from scipy.special import expit
from zoo import Specimen, schema_and_keys, specimens

from ctrloom.data.batches.batch import Batch
from ctrloom.models.bundle import Bundle
from ctrloom.nn.compressed_tables import Tables
from ctrloom.schema import CrossKeys, Schema
from ctrloom.serving.export.check import TOLERANCE, write_checked
from ctrloom.serving.export.formats import Format
from ctrloom.serving.export.program import inputs
from ctrloom.serving.export.rows import batches, random_rows

Measure = Callable[[Bundle, Batch, Path], float]  # -> largest difference of a probability


def exported(format: Format, tables: Tables | None = None) -> Measure:
    """The difference of a model file."""

    def difference(bundle: Bundle, rows: Batch, folder: Path) -> float:
        return write_checked(bundle, format, tables, rows, folder, str(folder)).parity.probability

    return difference


def compiled(bundle: Bundle, rows: Batch, folder: Path) -> float:
    """The difference of a torch program compiled by AOTInductor."""
    expected_N = write_checked(bundle, "torch", None, rows, folder, str(folder)).bundle_N
    program = torch.export.load(folder / "model.pt2")
    package = torch._inductor.aoti_compile_and_package(program, package_path=str(folder / "compiled.pt2"))
    run = torch._inductor.aoti_load_package(package)
    probability_N = torch.cat([run(*inputs(batch))[1] for batch in batches(rows)]).double().numpy()
    return float(np.abs(probability_N - expit(expected_N)).max())


COLUMNS: dict[str, Measure] = {
    "torch": exported("torch"),
    "AOTInductor": compiled,
    "onnx": exported("onnx"),
    "onnx, int8": exported("onnx", "int8"),
    "onnx, bf16": exported("onnx", "bf16"),
}
Table = dict[str, dict[str, str]]  # title -> column -> difference; empty if not measured


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="*", metavar="TITLE", help="titles of specimens")
    parser.add_argument("--columns", nargs="*", choices=COLUMNS, default=list(COLUMNS))
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    path = arguments.output / f"export-parity-{datetime.date.today()}.md"
    before = read(path) if path.exists() else {}
    table = {title: dict.fromkeys(COLUMNS, "") | before.get(title, {}) for title in specimens()}
    schema, keys = schema_and_keys()
    rows = random_rows(schema)
    for title in arguments.only or table:
        began = time.perf_counter()
        for column in arguments.columns:
            with tempfile.TemporaryDirectory() as folder:
                difference = COLUMNS[column](bundle_of(specimens()[title], schema, keys), rows, Path(folder))
            assert difference <= TOLERANCE, f"{title}, {column}: a difference of {difference}"
            table[title][column] = f"{difference:.1e}"
        print(f"{title}: {table[title]}, {time.perf_counter() - began:.0f} s", flush=True)
        write(path, table)


def bundle_of(specimen: Specimen, schema: Schema, keys: CrossKeys) -> Bundle:
    """A bundle in memory."""
    card: Any = None
    return Bundle(card, specimen.architecture, schema, specimen.build(schema, keys))


def read(path: Path) -> Table:
    """The table of a result."""
    header, _, *rows = (cells(line) for line in path.read_text().splitlines() if line.startswith("|"))
    return {title: dict(zip(header[1:], found, strict=True)) for title, *found in rows}


def cells(line: str) -> list[str]:
    """The cells of a line of a table."""
    return [cell.strip() for cell in line.strip("|").split("|")]


def write(path: Path, table: Table) -> None:
    """The result, with the cells measured so far."""
    measured = [found for row in table.values() for found in row.values() if found]
    missing = sum(not found for row in table.values() for found in row.values())
    lines = [("model", *COLUMNS), ("--", *["--:"] * len(COLUMNS))]
    lines += [(title, *row.values()) for title, row in table.items()]
    text = f"""# Exported models against their bundles

`python benchmarks/export_parity.py`, in parts, {datetime.date.today()}. \
{describe("torch", "onnx", "onnxscript", "onnxruntime", "lightgbm")}.

Largest difference of a probability over random rows, in batches of 1, 2, 7 and 1,000; an export fails above \
{TOLERANCE:g}. The largest of all is {max(measured, key=float)}. \
{missing or "None"} of the cells are still to be measured.

"""
    path.write_text(text + "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n")


if __name__ == "__main__":
    main()
