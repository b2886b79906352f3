"""What each search finds of planted interactions, and what it keeps where there is nothing.

    python benchmarks/false_interactions.py [--parts hard none ...] [--methods residual ...] [--seeds 5]

Every cell generates clicks, ingests them, fits vocabularies and searches with the defaults, as a user would.
Cells are appended to a file as they finish, and not run again; the table is written from it.
"""

import argparse
import datetime
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fast  # noqa: F401
from machine import describe

from ctrloom.config import METHODS, MODELS, DataConfig, VocabularyConfig
from ctrloom.config.search import search_config
from ctrloom.data.dataset import Dataset
from ctrloom.data.ingest.run import ingest
from ctrloom.data.synthetic import Planted, SynthConfig, synthesize
from ctrloom.data.vocabulary.build import build_vocabulary
from ctrloom.stages.search_stage import search_data

WEAK = {"main_effects": 0.5, "strength": 0.5 / 3}  # a third of the main effects' standard deviation
HARD = {"rows": 100_000, "fields": 20, "sizes": (5, 20, 100, 500, 2000, 5000), "pairs": 5, **WEAK}
TRIPLES = {"rows": 200_000, "fields": 8, "sizes": (60,), "pairs": 2, "triples": 1}
CHOICES = {"rows": 120_000, "fields": 10, "sizes": (20, 200), "tables": 4, "pairs": 4, "rank": 2}
SMALL = {"rows": 6000, "fields": 8, "sizes": (4, 12, 40), "pairs": 3, "main_effects": 0.5, "strength": 0.5}
WITH_SEARCHES = ("residual", "autofis", "aim", "optinter")
PARTS: dict[str, tuple[tuple[str, ...], str]] = {
    "hard": (("residual", "autofis", "aim"), "20 fields of 5 to 5,000 values, 5 weak pairs, 100,000 rows"),
    "none": (WITH_SEARCHES, "10 fields of 50, 200, 500 or 1,000 values, no interaction, 60,000 rows"),
    "triples": (("residual", "aim"), "8 fields of 60 values, 2 pairs and a triple, 200,000 rows; order 3"),
    "choices": (("optinter",), "10 fields of 20 or 200 values, 4 tables and 4 products, 120,000 rows"),
    "small": (("residual",), "8 fields of 4, 12 or 40 values, 3 pairs, 6,000 rows"),
}


def shapes(part: str, seeds: int) -> Iterator[tuple[str, SynthConfig]]:
    """The data sets of one part, with the name of each."""
    if part == "none":
        for size in (50, 200, 500, 1000):
            for seed in range(seeds):
                yield f"{size}", SynthConfig(rows=60_000, fields=10, sizes=(size,), pairs=0, seed=seed)
    else:
        made: dict[str, Any] = {"hard": HARD, "triples": TRIPLES, "choices": CHOICES, "small": SMALL}[part]
        for seed in range(100 if part == "small" else seeds):
            yield "", SynthConfig(**made, seed=seed)


def cell(part: str, method: str, config: SynthConfig) -> dict[str, Any]:
    """Search one data set."""
    planted, settings = Planted(config), {"order": 3} if part == "triples" else {}
    columns = {"click": "label", **dict.fromkeys(planted.names, "categorical")}
    vocabulary = {"crosses": {"min_count": 2}} if method == "optinter" else {}
    with tempfile.TemporaryDirectory() as folder:
        clicks = synthesize(config, Path(folder))
        data = DataConfig.parse({"files": str(clicks), "columns": columns}, "benchmark")
        encoded = build_vocabulary(
            ingest(data, folder), VocabularyConfig.parse(vocabulary, "benchmark"), folder
        )
        dataset = Dataset.open(encoded)
        search = search_config({"method": method, "random_draws": 0, "seed": config.seed, **settings})
        model = MODELS[search.base].settings()
        began = time.perf_counter()
        found = METHODS[method].find(search_data(dataset, model), search, model)
        seconds = time.perf_counter() - began
    truth = {tuple(planted.names[f] for f in fields) for fields in planted.interactions}
    tables = {tuple(planted.names[f] for f in fields) for fields in planted.tables}
    kept = {i.fields: i.function for i in found.architecture.interactions}
    return {
        "planted": len(truth),
        "found": len(truth & kept.keys()),
        "false": len(kept.keys() - truth),
        "chosen": len({c.fields for c in found.trace.candidates if c.kept or c.unconfirmed}),
        "products factorized": sum(kept.get(f) == "hadamard" for f in truth - tables),
        "tables memorized": sum(kept.get(f) == "memorize" for f in tables),
        "seconds": round(seconds, 1),
    }


def table(part: str, rows: list[dict[str, Any]]) -> list[str]:
    """Lines of Markdown: one per method and shape."""
    lines = [
        f"## {PARTS[part][1]}",
        "",
        "| method | values | data sets | found | false | most false in one | sets with false ones "
        "| chosen before confirmation | seconds |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for method in PARTS[part][0]:
        mine = [row for row in rows if row["part"] == part and row["method"] == method]
        for shape in dict.fromkeys(row["shape"] for row in mine):
            cells = [row for row in mine if row["shape"] == shape]
            false = [row["false"] for row in cells]
            lines.append(
                f"| {METHODS[method].title} | {shape} | {len(cells)} "
                f"| {sum(c['found'] for c in cells)} of {sum(c['planted'] for c in cells)} "
                f"| {sum(false)} | {max(false)} | {sum(n > 0 for n in false)} "
                f"| {sum(c['chosen'] for c in cells)} | {sum(c['seconds'] for c in cells) / len(cells):.0f} |"
            )
        if part == "small" and mine:
            shares = [row["false"] / max(1, row["false"] + row["found"]) for row in mine]
            lines += ["", f"False discovery rate over {len(mine)} sets: {sum(shares) / len(shares):.3f}."]
        if part == "choices" and mine:
            tables, products = (
                sum(row[k] for row in mine) for k in ("tables memorized", "products factorized")
            )
            planted = 4 * len(mine)
            lines += ["", f"Of {planted} tables {tables} are memorized; of {planted} products {products}"]
            lines[-1] += " are factorized."
    return [*lines, ""]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=list(PARTS))
    parser.add_argument("--methods", nargs="+", default=list(WITH_SEARCHES), choices=WITH_SEARCHES)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--cells", type=Path, default=Path("false-interactions.jsonl"))
    given = parser.parse_args()
    known = given.cells.read_text().splitlines() if given.cells.exists() else []
    rows = [json.loads(line) for line in known]
    done = {(row["part"], row["method"], row["shape"], row["seed"]) for row in rows}
    for part in given.parts:
        for method in [method for method in PARTS[part][0] if method in given.methods]:
            for shape, config in shapes(part, given.seeds):
                key = {"part": part, "method": method, "shape": shape, "seed": config.seed}
                if tuple(key.values()) in done:
                    continue
                rows.append({**key, **cell(part, method, config)})
                with open(given.cells, "a") as file:
                    file.write(json.dumps(rows[-1]) + "\n")
                print(rows[-1], file=sys.stderr, flush=True)
    today = datetime.date.today().isoformat()
    lines = [
        "# Interactions that searches find, and false ones that they keep",
        "",
        f"`python benchmarks/false_interactions.py`, {today}. {describe('torch', 'numpy')}.",
        "",
        "Searches with their defaults (`search.confirm: true`); main effects and noise everywhere, values "
        "Zipf-distributed, 80 % of the rows for training. Sums over data sets, mean seconds.",
        "",
        *(line for part in PARTS if any(row["part"] == part for row in rows) for line in table(part, rows)),
    ]
    text = "\n".join(lines)
    (Path(__file__).parent / "results" / f"false-interactions-{today}.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
