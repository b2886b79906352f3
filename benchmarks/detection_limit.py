"""Which weak interactions a test of joint values could show at best: with every other effect known.

    python benchmarks/detection_limit.py [--seeds 10]

On rows of the hard sets of false_interactions.py, every planted pair is tested by the residual test, which
has to estimate main effects, and by the residuals of the true model without this pair, in three ways: by the
residual test; row by row, each predicted from the earlier rows with the same joint value, in random order,
with the best of several shrinkages; and by a product of embeddings with the planted rank and variance, whose
posterior given the blocks before is approximated (variational Bayes). The last column is the t value that
controls false discoveries among all 190 pairs, if as many are found as planted.
"""

import argparse
import datetime
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import fast  # noqa: F401
import numpy as np
import torch
from false_interactions import HARD
from machine import describe
from scipy.special import logit
from scipy.stats import norm

from ctrloom.data.synthetic import Planted, SynthConfig
from ctrloom.methods.residual import BLOCKS
from ctrloom.methods.statistics.evidence import Evidence, Fields, random_blocks
from ctrloom.methods.statistics.field_codes import CodedRows
from ctrloom.methods.statistics.residual_test import Residuals, t_value

ROWS = 80_000  # the training rows of the hard sets
VARIANCES = (1.0, 0.25, 0.06, 0.03)  # prior variances of the effect of a joint value, in squared logits
RATE = 0.05
LOGITS = 1.7  # logits per standard deviation of normal noise, about
TINY = 1e-9
ROUNDS = 15  # of fitting each side of the embeddings
HEAD = (
    "| seed | values of the fields | residual test | the same, other effects known | row by row, known "
    "| product, known | t needed |\n"
    "|--:|---|--:|--:|--:|--:|--:|\n"
)


def known_effects(planted: Planted, number: int, value_NF: np.ndarray) -> np.ndarray:
    """Probabilities (N,) of the true model without one planted interaction."""
    fields, factors = planted.interactions[number], planted.terms[number]
    parts = [factor[value_NF[:, f]] for f, factor in zip(fields, factors, strict=True)]
    effect_N = planted.config.strength * np.prod(parts, axis=0).sum(1)
    p_N = norm.cdf((planted._score(value_NF) - effect_N - planted.cut) / planted.config.noise)
    return p_N.clip(TINY, 1 - TINY)


def row_by_row(value_NF: np.ndarray, residual_N: np.ndarray, curvature_N: np.ndarray) -> float:
    """The t value of the fields of `value_NF`, with the best shrinkage."""
    _, cell_N = np.unique(value_NF, axis=0, return_inverse=True)
    order = np.random.default_rng(0).permutation(len(residual_N))
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


def by_product(rows: CodedRows, left: Residuals, pair: Fields, variance: float, rank: int) -> float:
    """The t value of predictions by the posterior mean of a product of embeddings."""
    codes = [np.asarray(rows.code_FN[f], dtype=np.int64) for f in pair]
    sizes = [rows.sizes[f] for f in pair]
    residual_N, curvature_N = left.residual_N.numpy(), left.curvature_N.numpy()
    gains = []
    for number, here in enumerate(left.blocks[1:], 1):
        past = np.concatenate(left.blocks[:number])
        seen = [code_N[past] for code_N in codes]
        first_GR, second_GR = embeddings(seen, sizes, residual_N[past], curvature_N[past], variance, rank)
        product_N = (first_GR[codes[0][here]] * second_GR[codes[1][here]]).sum(1)
        gains.append(product_N * residual_N[here])
    gain_N = np.concatenate(gains)
    return float(gain_N.sum() / np.sqrt((gain_N**2).sum()))


def embeddings(
    codes: Sequence[np.ndarray],
    sizes: Sequence[int],
    residual_N: np.ndarray,
    curvature_N: np.ndarray,
    variance: float,
    rank: int,
) -> list[np.ndarray]:
    """Posterior means (G, R) of the embeddings of both fields, whose product has the prior `variance`."""
    scale = (variance / rank) ** 0.5  # prior variance of one factor
    rng = np.random.default_rng(0)
    means = [rng.standard_normal((size, rank)) * scale**0.5 for size in sizes]
    covariances = [np.zeros((size, rank, rank)) for size in sizes]
    for _ in range(ROUNDS):
        for own, other in ((1, 0), (0, 1)):
            mean_NR = means[other][codes[other]]
            square_NRR = mean_NR[:, :, None] * mean_NR[:, None, :] + covariances[other][codes[other]]
            precision_GRR, moment_GR = np.zeros((sizes[own], rank, rank)), np.zeros((sizes[own], rank))
            for r in range(rank):
                moment_GR[:, r] = np.bincount(codes[own], residual_N * mean_NR[:, r], sizes[own])
                for s in range(rank):
                    weight_N = curvature_N * square_NRR[:, r, s]
                    precision_GRR[:, r, s] = np.bincount(codes[own], weight_N, sizes[own])
            covariances[own] = np.linalg.inv(precision_GRR + np.eye(rank) / scale)
            means[own] = (covariances[own] @ moment_GR[:, :, None])[:, :, 0]
    return means


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
    lines = []
    for number, pair in enumerate(pairs):
        p_N = known_effects(planted, number, value_NF)
        residual_N, curvature_N = label_N - p_N, p_N * (1 - p_N)
        known = Residuals(*map(torch.from_numpy, (logit(p_N), residual_N, curvature_N)), evidence.blocks)
        found = [
            tested[pair],
            t_value(coded, known, pair),
            row_by_row(value_NF[:, pair], residual_N, curvature_N),
            by_product(coded, known, pair, (LOGITS * planted.config.strength) ** 2, planted.config.rank),
            needed,
        ]
        sizes = " x ".join(f"{planted.sizes[f]:,}" for f in pair)
        lines.append(f"| {seed} | {sizes} | " + " | ".join(f"{t:.1f}" for t in found) + " |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=10)
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
