"""How far exported models are from their bundles: model x format x largest difference.

    python benchmarks/export_parity.py [--aoti] [--output benchmarks/results]

Every specimen of `zoo.py`, on random rows of every id, with missing and unseen values, in batches of 1, 2, 7
and 1,000 rows. Torch programs run as they are and, with `--aoti`, compiled by AOTInductor for this CPU, which
takes most of the time; ONNX models run in onnxruntime. Compressed tables are compared with the same tables in
torch.
"""

import argparse
import datetime
import tempfile
import time
from pathlib import Path
from typing import Any

import fast  # noqa: F401
import numpy as np
import torch
from machine import describe
from scipy.special import expit
from zoo import Specimen, schema_and_keys, specimens

from ctrloom.models.bundle import Bundle
from ctrloom.nn.compressed_tables import Tables
from ctrloom.serving.export.check import TOLERANCE, write_checked
from ctrloom.serving.export.formats import Format
from ctrloom.serving.export.program import inputs
from ctrloom.serving.export.rows import batches, random_rows

COLUMNS: tuple[tuple[str, Format, Tables | None], ...] = (
    ("torch", "torch", None),
    ("onnx", "onnx", None),
    ("onnx, int8", "onnx", "int8"),
    ("onnx, bf16", "onnx", "bf16"),
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--aoti", action="store_true")
    parser.add_argument("--only", nargs="*", help="titles of specimens")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    schema, keys = schema_and_keys()
    rows = random_rows(schema)

    def bundle_of(specimen: Specimen) -> Bundle:
        card: Any = None
        return Bundle(card, specimen.architecture, schema, specimen.build(schema, keys))

    names = [name for name, *_ in COLUMNS[:2]] + ["AOTInductor"] * arguments.aoti
    names += [name for name, *_ in COLUMNS[2:]]
    lines, worst = [f"| model | {' | '.join(names)} |", "|---|" + "--:|" * len(names)], 0.0
    for title, specimen in specimens().items():
        if arguments.only and title not in arguments.only:
            continue
        began, found = time.perf_counter(), {}
        with tempfile.TemporaryDirectory() as folder:
            for name, format, tables in COLUMNS:
                made = write_checked(bundle_of(specimen), format, tables, rows, Path(folder), title)
                found[name] = made.parity.probability
                if arguments.aoti and name == "torch":
                    found["AOTInductor"] = compiled_difference(Path(folder), rows, made.bundle_N)
        worst = max(worst, *found.values())
        lines.append(f"| {title} | " + " | ".join(f"{found[name]:.1e}" for name in names) + " |")
        print(lines[-1], f"{time.perf_counter() - began:.0f} s", flush=True)
    assert worst <= TOLERANCE, f"a difference of {worst}"
    today = datetime.date.today()
    text = f"""# Exported models against their bundles

`python benchmarks/export_parity.py{" --aoti" * arguments.aoti}`, {today}. \
{describe("torch", "onnx", "onnxscript", "onnxruntime", "lightgbm")}.

Largest difference of a probability over {len(rows):,} random rows, in batches of 1, 2, 7 and 1,000; an \
export fails above {TOLERANCE:g}. The largest of all is {worst:.1e}.

"""
    if not arguments.only:
        path = arguments.output / f"export-parity-{today}.md"
        path.write_text(text + "\n".join(lines) + "\n")
        print(path)


def compiled_difference(folder: Path, rows: Any, expected_N: np.ndarray) -> float:
    """The largest difference of a probability of the compiled program."""
    program = torch.export.load(folder / "model.pt2")
    package = torch._inductor.aoti_compile_and_package(program, package_path=str(folder / "compiled.pt2"))
    compiled = torch._inductor.aoti_load_package(package)
    probability_N = torch.cat([compiled(*inputs(batch))[1] for batch in batches(rows)]).double().numpy()
    return float(np.abs(probability_N - expit(expected_N)).max())


if __name__ == "__main__":
    main()
