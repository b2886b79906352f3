"""Which function AIM prefers for interactions with a known function: planted function x found function.

    python benchmarks/planted_functions.py [--seeds 5]

Every data set has pairs of one kind, all pairs of four of six fields. Each value has one latent vector that
all its pairs share. Only this sharing distinguishes the functions: an inner product of large enough
embeddings can represent any of them, with separate positions for each pair.
"""

import argparse
import datetime
import sys
from collections import Counter
from itertools import combinations, product
from pathlib import Path
from typing import Any

import fast  # noqa: F401
import numpy as np
import torch
from machine import describe

from ctrloom.architecture import Function
from ctrloom.config import AIMConfig, AIMSettings, SourceConfig
from ctrloom.data.batches.batch import Batch
from ctrloom.methods.aim import search_interactions
from ctrloom.methods.interface import SearchData
from ctrloom.schema import Field, Schema

FUNCTIONS: tuple[Function, ...] = ("inner", "vector_kernel", "scalar_kernel", "outer")
SIZES = (4, 16)  # embedding sizes; the latent vectors have 4 entries
FIELDS, LINKED, VALUES, LATENT, ROWS = 6, 4, 20, 4, 60_000


def clicks(function: Function, seed: int) -> tuple[Schema, Batch]:
    """Rows whose label depends on pairs of the first four fields, by one function."""
    rng = np.random.default_rng([seed, FUNCTIONS.index(function)])
    value_NF = rng.integers(VALUES, size=(ROWS, FIELDS))
    latent_FVL = rng.standard_normal((FIELDS, VALUES, LATENT))
    latent_FVL -= latent_FVL.mean(1, keepdims=True)
    place_FV2 = rng.standard_normal((FIELDS, VALUES, 2))
    place_FV2 -= place_FV2.mean(1, keepdims=True)
    score_N = rng.standard_normal(ROWS)
    for number, (i, j) in enumerate(combinations(range(LINKED), 2)):
        left_NL, right_NL = latent_FVL[i][value_NF[:, i]], latent_FVL[j][value_NF[:, j]]
        if function == "outer":
            term_N = place_FV2[i][value_NF[:, i], 0] * place_FV2[j][value_NF[:, j], 1]
        else:
            signs = {
                "inner": np.ones(LATENT),
                "scalar_kernel": np.full(LATENT, (-1.0) ** (number % 2)),  # every triangle has a wrong sign
                "vector_kernel": rng.permutation([1.0, 1.0, -1.0, -1.0]),
            }[function]
            term_N = (left_NL * right_NL) @ signs
        score_N += term_N / term_N.std()
    label_N = (score_N > np.quantile(score_N, 0.7)).astype(np.float32)
    names = tuple(f"field_{f}" for f in range(FIELDS))
    fields = [Field(name=name, column=name, kind="categorical", size=VALUES + 2) for name in names]
    source = SourceConfig.parse(
        {"columns": {"click": "label", **dict.fromkeys(names, "categorical")}}, "made"
    )
    schema = Schema(fields=tuple(fields), source=source)
    ids_NF = (value_NF + 2 + np.array(schema.offsets)).astype(np.int32)
    return schema, Batch(torch.from_numpy(ids_NF), torch.from_numpy(label_N))


def preferred(function: Function, size: int, seed: int) -> dict[str, Any]:
    """What the search prefers for each planted pair, what it kept, and how strong each function is."""
    schema, rows = clicks(function, seed)
    task = SearchData(rows[: ROWS * 9 // 10], rows[ROWS * 9 // 10 :], schema)
    found = search_interactions(task, AIMConfig(seed=seed, random_draws=0), AIMSettings(embedding_size=size))
    planted = set(combinations(schema.names[:LINKED], 2))
    inside = [c for c in found.trace.candidates if c.fields in planted]
    strength = {(c.fields, c.function): abs(c.accumulator or 0.0) for c in inside}
    best = Counter(max(FUNCTIONS, key=lambda f, names=names: strength[names, f]) for names in planted)  # type: ignore[misc]
    kept = set(found.architecture.of_order(2))
    return {
        "best": best,
        "found": len(planted & kept),
        "wrong": len(kept - planted),
        "strength": {f: float(np.mean([strength[names, f] for names in planted])) for f in FUNCTIONS},
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=5)
    seeds = parser.parse_args().seeds
    pairs, others = len(list(combinations(range(LINKED), 2))), FIELDS * (FIELDS - 1) // 2
    lines = [
        "# Which function AIM prefers, by the function that was planted",
        "",
        f"`python benchmarks/planted_functions.py --seeds {seeds}`, {datetime.date.today().isoformat()}. "
        f"{describe('torch', 'numpy')}.",
        "",
        f"{ROWS:,} rows, {FIELDS} fields of {VALUES} values, the {pairs} pairs of {LINKED} fields planted, "
        f"latent vectors of {LATENT}; `AIMConfig` by default. Preferred: the function with the strongest "
        "gate (GRDA's accumulator) of each planted pair, summed over seeds; in brackets its mean strength. "
        f"The threshold ends at {AIMConfig().threshold * AIMConfig().gate_init:.1f}.",
        "",
        "| planted | embedding size | found | wrongly kept | " + " | ".join(FUNCTIONS) + " |",
        "|---|--:|--:|--:|" + "--:|" * len(FUNCTIONS),
    ]
    for size, function in product(SIZES, FUNCTIONS):
        runs = [preferred(function, size, seed) for seed in range(seeds)]
        best: Counter[str] = sum((run["best"] for run in runs), Counter())
        strength = {f: np.mean([run["strength"][f] for run in runs]) for f in FUNCTIONS}
        shown = " | ".join(f"{best[f]} ({strength[f]:.2f})" for f in FUNCTIONS)
        lines.append(
            f"| {function} | {size} | {sum(run['found'] for run in runs)} of {pairs * seeds} "
            f"| {sum(run['wrong'] for run in runs)} of {(others - pairs) * seeds} | {shown} |"
        )
        print(lines[-1], file=sys.stderr)
    name = f"planted-functions-{datetime.date.today().isoformat()}.md"
    (Path(__file__).parent / "results" / name).write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
