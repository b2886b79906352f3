from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from small import planting, rows_of, schema_of

from ctrloom.config import MODELS, ResidualConfig
from ctrloom.config.base import ConfigError
from ctrloom.data.batches.batch import Batch, Shard
from ctrloom.methods.interface import SearchData, SearchResult
from ctrloom.methods.residual import search, select
from ctrloom.methods.statistics.additive_model import fit_additive
from ctrloom.methods.statistics.cells import Cells
from ctrloom.methods.statistics.evidence import Evidence, discoveries, p_values, random_blocks
from ctrloom.methods.statistics.field_codes import CodedRows, Coder
from ctrloom.methods.statistics.residual_test import SCALE_VARIANCE, Residuals, orthogonal, t_value
from ctrloom.metrics.measure import EvaluationError

CPU = torch.device("cpu")
SETTINGS = MODELS["autofm"].settings()


def coded(codes: Sequence[np.ndarray], label_N: np.ndarray, weight_N: np.ndarray | None = None) -> CodedRows:
    numbered = [np.unique(code, return_inverse=True) for code in codes]
    return CodedRows(
        code_FN=[code.astype(np.int32) for _, code in numbered],
        sizes=tuple(len(distinct) for distinct, _ in numbered),
        label_N=torch.from_numpy(label_N).double(),
        weight_N=None if weight_N is None else torch.from_numpy(weight_N),
        parts=(len(label_N),),
    )


def evidence(rows: CodedRows, blocks: int = 8) -> Evidence:
    return Evidence(rows, random_blocks(len(rows), blocks, 0), CPU)


def drawn(rng: np.random.Generator, sizes: Sequence[int], rows: int) -> list[np.ndarray]:
    return [rng.integers(0, size, rows) for size in sizes]


def labels(rng: np.random.Generator, logit_N: np.ndarray) -> np.ndarray:
    return (rng.random(len(logit_N)) < expit(logit_N)).astype(np.int64)


def test_cells_group_rows_by_their_values():
    rng = np.random.default_rng(0)
    for sizes in ((3, 4), (1000, 2000), (2**31, 2**31, 2**31)):  # dense, renumbered, wider than 64 bits
        codes = [rng.integers(0, size, 200) for size in sizes]
        codes = [np.concatenate([code, code[:50]]) for code in codes]
        cells = Cells.of(range(len(sizes)), dict(enumerate(map(torch.from_numpy, codes))), sizes)
        keys = list(zip(*codes, strict=True))
        of_row = cells.of_row_N.tolist()
        assert max(of_row) < cells.count
        assert len({*zip(keys, of_row, strict=True)}) == len({*keys}) == len({*of_row})
        examples = cells.examples()
        assert all(keys[int(examples[cell])] == key for key, cell in zip(keys, of_row, strict=True))


def test_additive_model_is_penalised_logistic_regression():
    rng = np.random.default_rng(1)
    codes = drawn(rng, (4, 9), 3000)
    label_N = labels(rng, 0.8 * codes[0] - 0.2 * codes[1] - 1)
    code_N = dict(enumerate(map(torch.from_numpy, codes)))
    effects = [(Cells.of([f], code_N, (4, 9)), 0.5) for f in code_N]
    logit_N = fit_additive(effects, torch.from_numpy(label_N).double(), torch.ones(3000, dtype=torch.float64))
    hot = np.concatenate([np.eye(4)[codes[0]], np.eye(9)[codes[1]]], 1)
    theirs = LogisticRegression(C=0.5, tol=1e-8, max_iter=10_000).fit(hot, label_N)
    p_N = theirs.predict_proba(hot)[:, 1]
    assert np.abs(logit_N.sigmoid().numpy() - p_N).max() < 0.02  # ours is recalibrated


def test_projection_leaves_nothing_that_the_groups_explain():
    rng = np.random.default_rng(2)
    codes = dict(enumerate(map(torch.from_numpy, drawn(rng, (5, 7), 300))))
    value_U, weight_U, logit_U = (torch.from_numpy(rng.random(300)) for _ in range(3))
    groups = [Cells.of([f], codes, (5, 7)) for f in codes]
    left_U = orthogonal(value_U, weight_U, logit_U, groups).numpy()
    hot = np.concatenate([np.eye(5)[codes[0]], np.eye(7)[codes[1]]], 1)
    mean = (weight_U * logit_U).numpy() @ hot / (weight_U.numpy() @ hot)
    scales = hot * (logit_U.numpy()[:, None] - mean)
    root_U = np.sqrt(weight_U.numpy())
    ridge = np.concatenate([np.zeros((12, 12)), np.eye(12) / SCALE_VARIANCE**0.5], 1)
    design = np.concatenate([np.concatenate([hot, scales], 1) * root_U[:, None], ridge])
    target = np.concatenate([root_U * value_U.numpy(), np.zeros(12)])
    best = np.concatenate([hot, scales], 1) @ np.linalg.lstsq(design, target, rcond=None)[0]
    assert np.abs(left_U - (value_U.numpy() - best)).max() < 0.02
    assert not orthogonal(torch.ones(300).double(), weight_U, logit_U, groups).any()


def test_t_value_is_that_of_a_loop_over_rows():
    rng = np.random.default_rng(3)
    codes, weight_N = drawn(rng, (3, 4), 200), rng.integers(0, 3, 200).astype(float)
    label_N = labels(rng, (codes[0] == codes[1]) * 1.0)
    rows = coded(codes, label_N, weight_N)
    logit_N = torch.from_numpy(0.1 * codes[0])
    residual_N = torch.from_numpy(weight_N) * (torch.from_numpy(label_N) - logit_N.sigmoid())
    curvature_N = torch.from_numpy(weight_N * 0.24)
    blocks = random_blocks(200, 4, 1)
    total = variance = 0.0
    for number, block in enumerate(blocks):
        if number == 0:
            continue
        before = torch.cat(list(blocks[:number])).tolist()
        effects = []
        for row in block.tolist():
            same = [r for r in before if codes[0][r] == codes[0][row] and codes[1][r] == codes[1][row]]
            effects.append(float(residual_N[same].sum() / (curvature_N[same].sum() + 4)))
        groups = [Cells(torch.from_numpy(code[block]), 4) for code in codes]
        effect = orthogonal(torch.tensor(effects).double(), curvature_N[block], logit_N[block], groups)
        total += float(effect @ residual_N[block])
        variance += float(effect**2 @ residual_N[block] ** 2)
    found = t_value(rows, Residuals(logit_N, residual_N, curvature_N, blocks), (0, 1))
    assert found == pytest.approx(total / variance**0.5, rel=0.02)
    certain_N = curvature_N.clone()
    certain_N[blocks[3]] = 0  # a block in which every logit is certain adds nothing
    without = Residuals(logit_N, residual_N, certain_N, blocks[:3])
    assert t_value(rows, Residuals(logit_N, residual_N, certain_N, blocks), (0, 1)) == t_value(
        rows, without, (0, 1)
    )


@pytest.mark.parametrize("size", [3, 30, 300])
@pytest.mark.parametrize("rate", [0.5, 0.03])
def test_t_values_without_interaction_are_standard_normal(size: int, rate: float):
    rng = np.random.default_rng(size)
    found: list[float] = []
    for _ in range(6):
        codes = drawn(rng, (size,) * 6, 3000)
        logit_N = sum(rng.standard_normal(size)[code] for code in codes) + np.log(rate / (1 - rate))
        pairs = list(combinations(range(6), 2))
        found += evidence(coded(codes, labels(rng, logit_N))).t_values(pairs, {}, "test").values()
    assert abs(np.mean(found)) < 0.4
    assert 0.8 < np.std(found) < 1.25
    assert stats.kstest(found, "norm").pvalue > 0.01
    assert max(found) < 3.5


def test_effects_of_fields_that_depend_on_each_other_are_no_interactions():
    rng = np.random.default_rng(4)
    city = rng.integers(0, 200, 8000)
    country, other = city // 10, (city + rng.integers(0, 3, 8000)) % 200
    label_N = labels(rng, rng.standard_normal(200)[city] + rng.standard_normal(200)[other])
    found = evidence(coded([city, country, other], label_N)).t_values([(0, 1), (0, 2), (1, 2)], {}, "test")
    assert found[0, 1] == 0  # the city determines the country
    assert max(found.values()) < 3


def test_an_effect_is_credited_once():
    rng = np.random.default_rng(5)
    user, city = rng.integers(0, 40, 20_000), rng.integers(0, 60, 20_000)
    country = city // 6
    table = rng.standard_normal((40, 60))
    rows = coded([user, city, country, rng.integers(0, 9, 20_000)], labels(rng, table[user, city]))
    alone = evidence(rows).t_values([(0, 1), (0, 2)], {}, "test")
    assert alone[0, 2] > 5  # the country inherits a part of it
    found, kept = select(evidence(rows), list(combinations(range(4), 2)), {}, 0.05, "test")
    assert [*kept] == [(0, 1)]
    assert found[0, 2] < 3
    triples = evidence(rows).t_values([(0, 1, 3)], kept, "test")
    assert abs(triples[0, 1, 3]) < 3


def test_planted_pairs_and_triples_are_found_and_nothing_else():
    made = planting(rows=40_000, fields=7, sizes=(30,), pairs=2, triples=1, seed=3)
    found = search(SearchData(made.rows, made.rows[:1000], made.schema), ResidualConfig(order=3), SETTINGS)
    assert {i.fields for i in found.architecture.interactions} == made.interactions
    by_fields = {c.fields: c for c in found.trace.candidates}
    assert len(by_fields) == 21 + 35
    assert all((c.p_value or 0) < 1e-4 for c in by_fields.values() if c.kept)
    assert all(c.p_value == pytest.approx(stats.norm.sf(c.score)) for c in by_fields.values())
    assert {*found.controls} == {*ResidualConfig().controls}


def test_pool_extends_the_strongest_pairs():
    made = planting(rows=2000, fields=6, sizes=(5,), pairs=1)
    data = SearchData(made.rows, made.rows[:500], made.schema)
    found = search(data, ResidualConfig(order=3, pool=1), SETTINGS)
    best = max(found.trace.of_order(2), key=lambda c: c.score)
    assert len(found.trace.of_order(3)) == 4
    assert all({*best.fields} < {*c.fields} for c in found.trace.of_order(3))


def test_too_few_fields_is_an_error():
    schema = schema_of(("categorical", 4), ("categorical", 4))
    rows = rows_of(schema, 50)
    with pytest.raises(ConfigError, match=r"search\.order: needs at least 3 fields, but the data has 2"):
        search(SearchData(rows, rows, schema), ResidualConfig(order=3), SETTINGS)


def test_discoveries_are_those_of_benjamini_and_yekutieli():
    p = {(i,): float(value) for i, value in enumerate(np.random.default_rng(0).random(50) ** 4)}
    harmonic, ranked = sum(1 / i for i in range(1, 51)), sorted(p.values())
    passing = [value for i, value in enumerate(ranked, 1) if value <= 0.05 * i / (50 * harmonic)]
    assert sorted(p[fields] for fields in discoveries(p, 0.05)) == ranked[: ranked.index(passing[-1]) + 1]
    assert discoveries({}, 0.05) == {}
    assert p_values({(0, 1): 0.0}) == {(0, 1): 0.5}


def test_rows_of_no_weight_change_nothing():
    rng = np.random.default_rng(6)
    codes = drawn(rng, (6, 7, 8), 2000)
    label_N, weight_N = labels(rng, codes[0] * 0.1), rng.integers(0, 2, 2000).astype(float)
    block_N = rng.integers(0, 4, 2000)
    pairs, found = list(combinations(range(3), 2)), []
    for chosen in (np.full(2000, True), weight_N > 0):
        rows = coded([code[chosen] for code in codes], label_N[chosen], weight_N[chosen])
        blocks = [torch.from_numpy(np.flatnonzero(block_N[chosen] == b)) for b in range(4)]
        found.append(list(Evidence(rows, blocks, CPU).t_values(pairs, {}, "test").values()))
    assert found[0] == pytest.approx(found[1], rel=1e-6)


def test_codes_of_several_sources_agree_with_their_values():
    schema = schema_of(("categorical", 6), ("numeric", 2), ("multivalued", 5, 3))
    train, valid = rows_of(schema, 300), rows_of(schema, 100, seed=1)
    coder = Coder.fit(schema, train)
    rows = CodedRows.of(coder, train, valid)
    assert rows.parts == (300, 100)
    raw_NF = np.concatenate([coder.codes(train), coder.codes(valid)])
    for f, (code_N, size) in enumerate(zip(rows.code_FN, rows.sizes, strict=True)):
        assert len({*zip(raw_NF[:, f].tolist(), code_N.tolist(), strict=True)}) == size == code_N.max() + 1
    assert rows.label_N.tolist() == [*train.label_N.tolist(), *valid.label_N.tolist()]


def test_rows_of_no_weight_are_left_out_of_a_search():
    made = planting(rows=3000, fields=4, sizes=(6,), pairs=1)
    weight_N = (torch.arange(3000) % 3 > 0).float()
    weighted = replace(made.rows, weight_N=weight_N)
    found = [
        search(SearchData(rows, rows[:500], made.schema), ResidualConfig(random_draws=0), SETTINGS)
        for rows in (weighted, weighted[weight_N > 0])
    ]
    scores = [[candidate.score for candidate in each.trace.candidates] for each in found]
    assert scores[0] == scores[1]


def test_rows_of_one_label_are_an_error_and_few_rows_are_not() -> None:
    made = planting(rows=400, fields=3, sizes=(4,), pairs=1)

    def run(rows: Batch) -> SearchResult:
        return search(SearchData(rows, rows, made.schema), ResidualConfig(random_draws=0), SETTINGS)

    for rows in (
        replace(made.rows, label_N=torch.zeros(400)),
        replace(made.rows, weight_N=torch.zeros(400)),
    ):
        with pytest.raises(EvaluationError, match=r"rows of the residual test .* must have both labels"):
            run(rows)
    assert len({*made.rows.label_N[:6].tolist()}) == 2
    assert run(made.rows[:6]).architecture.interactions == ()


def test_buckets_are_those_of_the_rows_of_all_processes() -> None:
    schema = schema_of(("categorical", 4), ("numeric", 2), ("numeric", 2))
    rows = rows_of(schema, 600)
    shard = Shard.of(rows[:150], 0, 600)
    found = [
        search(SearchData(train, rows, schema, read=read), ResidualConfig(random_draws=0), SETTINGS)
        for train, read in ((rows, None), (shard, lambda: (rows, rows)))
    ]
    scores = [[candidate.score for candidate in each.trace.candidates] for each in found]
    assert scores[0] == scores[1]
