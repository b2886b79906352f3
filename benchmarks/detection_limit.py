"""Which weak interactions a test of joint values could show at best: with every other effect known.

    python benchmarks/detection_limit.py [--seeds 5]

On rows of the hard sets of false_interactions.py, every planted pair is tested twice: by the residual test,
which has to estimate main effects, and by the residuals of the true model without this pair, whose only
unknown is the effect of each joint value. Those are averaged over the earlier rows with the same joint value,
in random order, so that every row is tested and none twice, with the best of several shrinkages. The last
column is the t value that controls false discoveries among all 190 pairs, if as many are found as planted.
"""

import argparse
import datetime
from itertools import combinations
from pathlib import Path

import fast  # noqa: F401
import numpy as np
import torch
from false_interactions import HARD
from machine import describe
from scipy.stats import norm

from ctrloom.data.synthetic import Planted, SynthConfig
from ctrloom.methods.residual import BLOCKS
from ctrloom.methods.statistics.evidence import Evidence, random_blocks
from ctrloom.methods.statistics.field_codes import CodedRows

ROWS = 80_000  # the training rows of the hard sets
VARIANCES = (1.0, 0.25, 0.06, 0.03)  # prior variances of the effect of a joint value, in squared logits
RATE = 0.05
HEAD = (
    "| seed | values of the fields | t of the residual test | t with all other effects known | t needed |\n"
    "|--:|---|--:|--:|--:|\n"
)


def known_effects(planted: Planted, number: int, value_NF: np.ndarray, label_N: np.ndarray) -> float:
    """The t value of one planted interaction, given the true probabilities without it."""
    fields, factors = planted.interactions[number], planted.terms[number]
    parts = [factor[value_NF[:, f]] for f, factor in zip(fields, factors, strict=True)]
    effect_N = planted.config.strength * np.prod(parts, axis=0).sum(1)
    p_N = norm.cdf((planted._score(value_NF) - effect_N - planted.cut) / planted.config.noise)
    residual_N, curvature_N = label_N - p_N, p_N * (1 - p_N)
    _, cell_N = np.unique(value_NF[:, fields], axis=0, return_inverse=True)
    order = np.random.default_rng(0).permutation(len(label_N))
    order = order[np.argsort(cell_N[order], kind="stable")]
    first = np.flatnonzero(np.diff(cell_N[order], prepend=-1))
    sizes = np.diff(np.append(first, len(order)))

    def before(value_N: np.ndarray) -> np.ndarray:
        """Sums over the earlier rows of the cell, for rows in `order`."""
        running = np.cumsum(value_N[order]) - value_N[order]
        return running - np.repeat(running[first], sizes)

    gradient_N, weight_N, residual_N = before(residual_N), before(curvature_N), residual_N[order]
    gains = [gradient_N / (weight_N + 1 / variance) * residual_N for variance in VARIANCES]
    return max(float(gain_N.sum() / np.sqrt((gain_N**2).sum())) for gain_N in gains)


def rows_of(planted: Planted, seed: int) -> list[str]:
    """Lines of the table for one data set."""
    values, labels = zip(*planted.chunks(), strict=True)
    value_NF, label_N = np.concatenate(values)[:ROWS].astype(np.int64), np.concatenate(labels)[:ROWS]
    codes = [np.unique(value_NF[:, f], return_inverse=True) for f in range(value_NF.shape[1])]
    coded = CodedRows(
        code_FN=[code_N.astype(np.int32) for _, code_N in codes],
        sizes=tuple(len(distinct) for distinct, _ in codes),
        label_N=torch.from_numpy(label_N).double(),
        weight_N=None,
        parts=(ROWS,),
    )
    evidence = Evidence(coded, random_blocks(ROWS, BLOCKS, seed), torch.device("cpu"))
    pairs = [tuple(fields) for fields in planted.interactions]
    tested = evidence.t_values(pairs, {}, f"seed {seed}")
    candidates = len(list(combinations(range(len(codes)), 2)))
    share = len(pairs) / candidates / sum(1 / n for n in range(1, candidates + 1))
    needed = norm.isf(RATE * share)
    return [
        f"| {seed} | {' x '.join(f'{planted.sizes[f]:,}' for f in pair)} | {tested[pair]:.1f} "
        f"| {known_effects(planted, number, value_NF, label_N):.1f} | {needed:.1f} |"
        for number, pair in enumerate(pairs)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5)
    seeds = range(parser.parse_args().seeds)
    lines = [line for seed in seeds for line in rows_of(Planted(SynthConfig(**HARD, seed=seed)), seed)]
    today = datetime.date.today().isoformat()
    text = (
        "# What a test of joint values can show on the hard sets\n\n"
        f"`python benchmarks/detection_limit.py`, {today}. {describe('torch', 'numpy')}.\n\n"
        f"{HEAD}" + "\n".join(lines) + "\n"
    )
    (Path(__file__).parent / "results" / f"detection-limit-{today}.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
