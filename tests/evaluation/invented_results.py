"""Synthetic evaluations that look like real ones."""

from functools import cache
from itertools import combinations
from typing import Any

import numpy as np
from scipy.special import expit

from ctrloom.architecture import Architecture, Interaction
from ctrloom.config import EvaluationConfig
from ctrloom.evaluation.compare import Labels, ModelScores, compare_models
from ctrloom.evaluation.results import DataSummary, FieldSummary, Results
from ctrloom.search_trace import Candidate, SearchTrace
from ctrloom.training.history import Epoch

FRAPPE = ("user", "item", "daytime", "weekday", "isweekend", "homework", "cost", "weather", "country", "city")


def made_up_trace(fields: tuple[str, ...] = FRAPPE, kept: int = 9, third: bool = False) -> SearchTrace:
    """A search that ends with `kept` pairs, and four triples if `third`."""
    rng = np.random.default_rng(0)
    orders = (2, 3) if third else (2,)
    tuples = [t for order in orders for t in combinations(fields, order)]
    pairs = sum(len(t) == 2 for t in tuples)
    chosen = set(rng.choice(pairs, kept, replace=False).tolist())
    chosen |= set((pairs + rng.choice(len(tuples) - pairs, 4, replace=False)).tolist()) if third else set()
    final = np.array([rng.uniform(0.2, 1.4) if i in chosen else 0.0 for i in range(len(tuples))])
    steps = np.linspace(0, 4000, 41).astype(int)
    share = np.linspace(0, 1, 41)[:, None]
    wobble = np.cumsum(rng.normal(0, 0.02, (41, len(tuples))), axis=0) * (1 - share)
    path = np.clip(0.6 * (1 - share) + final * share - (final == 0) * 0.5 * share + wobble, 0, None)
    path[0] = 0.6
    strength = np.clip(0.5 + 0.12 * final + rng.normal(0, 0.03, len(tuples)), 0.4, 0.95)
    in_turn = third and steps >= 2000  # pairs first, then triples
    gates = tuple(
        tuple(
            None if third and (len(t) == 3) != bool(in_turn[s]) else float(path[s, i])
            for i, t in enumerate(tuples)
        )
        for s in range(41)
    )
    return SearchTrace(
        method="autofis",
        base="autofm",
        orders=orders,
        candidates=tuple(
            Candidate(
                fields=t,
                score=final[i],
                kept=i in chosen,
                accumulator=final[i] + 1,
                statistics_auc=strength[i],
            )
            for i, t in enumerate(tuples)
        ),
        path_steps=tuple(steps.tolist()),
        path_scores=gates,
        path_threshold=tuple((share[:, 0] * 1.2).tolist()),
        steps=4000,
        epochs=5,
        seconds=83.2,
        rows_per_second=96_100.0,
        hyperparameters={"learning_rate": 0.001, "c": 0.0005, "mu": 0.8},
        planted=None,
    )


def made_up_models(
    trace: SearchTrace, truth: tuple[np.ndarray, np.ndarray], seeds: int = 3, gain: float = 0.05
) -> list[ModelScores]:
    """FM, two more baselines, the retrained model (better by `gain`), a control and a transfer."""
    fields = tuple(dict.fromkeys(name for c in trace.candidates for name in c.fields))
    found = Architecture(
        method="autofis",
        fields=fields,
        interactions=tuple(Interaction(fields=c.fields, score=c.score) for c in trace.candidates if c.kept),
    )
    every = Architecture.complete(fields, trace.orders)
    rows: list[tuple[str, str, Any, Architecture | None, float]] = [
        ("lr", "Logistic regression", "baseline", None, 1.6),
        ("fm", "FM", "baseline", every, 0.9),
        ("ipnn", "IPNN", "baseline", every, 0.88),
        ("autofm", "AutoFM", "retrained", found, 0.9 - gain),
        ("random", "AutoFM, random selection", "control", found, 1.1),
        ("ipnn-transfer", "IPNN with AutoFM's interactions", "transfer", found, 0.82 - gain),
    ]

    def logits(name: str, split: int, noise: float) -> np.ndarray:
        shared = np.random.default_rng(len(truth[split])).normal(size=len(truth[split]))
        own = np.random.default_rng([split, *name.encode()]).normal(size=(seeds, len(truth[split])))
        return (truth[split] + noise * (0.95 * shared + 0.25 * own)).astype(np.float32)

    return [
        ModelScores(
            name=name,
            title=title,
            kind=kind,
            architectures=(architecture,) if architecture else (),
            parameters=51_234 + 1000 * len(name),
            hyperparameters={"embedding_size": 10, "learning_rate": 0.001},
            seeds=tuple(range(seeds)),
            valid_logit_SN=logits(name, 0, noise),
            test_logit_SN=logits(name, 1, noise),
            train_rows_per_second=412_345.0,
            inference_rows_per_second=3_012_345.0,
            train_seconds=42.0 + len(name),
            curves=tuple(
                tuple(
                    Epoch(
                        epoch=e + 1,
                        train_logloss=0.5 - 0.15 * (1 - 0.7**e),
                        valid_auc=0.9 - 0.1 * noise - 0.2 * 0.5 ** (e + 1) - 0.002 * s,
                        valid_logloss=0.4 + 0.1 * noise + 0.1 * 0.5**e,
                    )
                    for e in range(8)
                )
                for s in range(seeds)
            ),
        )
        for name, title, kind, architecture, noise in rows
    ]


@cache
def made_up(
    fields: tuple[str, ...] = FRAPPE,
    kept: int = 9,
    third: bool = False,
    seeds: int = 3,
    gain: float = 0.05,
    rows: int = 4000,
) -> tuple[Results, SearchTrace]:
    """Results and the search behind them."""
    trace = made_up_trace(fields, kept, third)
    rng = np.random.default_rng(7)
    truth = tuple(rng.normal(-1.2, 2.0, n) for n in (rows // 2, rows))
    label = [(rng.random(len(t)) < expit(t)).astype(np.float32) for t in truth]
    data = DataSummary(
        name="frappe",
        data_fingerprint="9f2c" * 16,
        schema_fingerprint="51ab" * 16,
        rows={"train": 230_000, "valid": rows // 2, "test": rows},
        label_rate={"train": 0.333, "valid": float(label[0].mean()), "test": float(label[1].mean())},
        fields=tuple(
            FieldSummary(name=f, kind="categorical", size=3 + 37 * i * i) for i, f in enumerate(fields)
        ),
    )
    results = compare_models(
        made_up_models(trace, truth, seeds, gain),
        Labels(label[0]),
        Labels(label[1]),
        data,
        EvaluationConfig(base="fm", bootstrap=400),
        code_version="0.1.0+b081127",
        config={"name": "frappe", "search": {"c": 0.0005}, "seeds": list(range(seeds))},
    )
    return results, trace
