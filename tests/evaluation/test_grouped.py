"""GAUC, segments and the stability of searches against loops and scikit-learn."""

import numpy as np
import pyarrow as pa
import pytest
from invented_results import made_up_trace
from scipy import stats
from scipy.special import expit
from sklearn.metrics import log_loss, roc_auc_score

from ctrloom.data.row_values import DAY, RowValues
from ctrloom.evaluation.segments import REST, segment_table
from ctrloom.evaluation.stability import stability
from ctrloom.metrics.grouped import GroupedAUC, gauc

ROWS = 600
RNG = np.random.default_rng(5)
GROUP = RNG.zipf(1.5, ROWS).clip(max=40)
LABEL = (RNG.random(ROWS) < 0.3).astype(float)
SCORE = RNG.normal(LABEL, 1.0, (2, ROWS)).round(1)  # rounding makes ties
WEIGHT = RNG.choice([0.0, 0.5, 1.0, 3.0], ROWS)


@pytest.mark.parametrize("weighted", [False, True])
def test_gauc_is_the_weighted_mean_of_the_auc_of_each_group(weighted: bool) -> None:
    weight = WEIGHT if weighted else np.ones(ROWS)
    aucs, masses, rows = [], [], 0
    for group in set(GROUP.tolist()):
        here = (group == GROUP) & (weight > 0)
        if len(set(LABEL[here])) < 2:
            continue
        aucs.append(roc_auc_score(LABEL[here], SCORE[0][here], sample_weight=weight[here]))
        masses.append(weight[here].sum())
        rows += here.sum()
    found = gauc(SCORE[0], LABEL, GROUP, WEIGHT if weighted else None)
    assert 1 < len(aucs) < len(set(GROUP.tolist()))
    assert found.auc == pytest.approx(np.average(aucs, weights=masses), abs=1e-12)
    assert (found.groups, found.rows) == (len(aucs), rows)
    assert found.share == pytest.approx(sum(masses) / weight.sum())


def test_rows_without_a_group_only_lower_the_share() -> None:
    grouped = RNG.random(ROWS) < 0.7
    found = gauc(SCORE[0], LABEL, GROUP, WEIGHT, grouped)
    only = gauc(SCORE[0][grouped], LABEL[grouped], GROUP[grouped], WEIGHT[grouped])
    assert found[:3] == only[:3]
    assert found.share == pytest.approx(only.share * WEIGHT[grouped].sum() / WEIGHT.sum())


def test_no_group_with_both_labels_has_no_gauc() -> None:
    nothing = GroupedAUC(None, 0, 0, 0.0)
    assert gauc(SCORE[0], LABEL, np.arange(ROWS)) == nothing
    assert gauc(SCORE[0], LABEL, GROUP, None, np.zeros(ROWS, bool)) == nothing


def test_segments_are_metrics_of_their_rows() -> None:
    texts = [f"v{i}" for i in range(41)]
    values = RowValues("user", GROUP, pa.array(texts), np.ones(41, bool))
    table = segment_table(values, LABEL, WEIGHT, {"one": SCORE, "two": -SCORE[:1]}, 4)
    heavy = WEIGHT > 0
    sizes = sorted(set(GROUP[heavy].tolist()), key=lambda g: (-((g == GROUP) & heavy).sum(), g))
    assert [segment.value for segment in table.segments] == [f"v{g}" for g in sizes[:4]] + [REST]
    assert table.values == len(sizes)
    for segment, chosen in zip(table.segments, [[g] for g in sizes[:4]] + [sizes[4:]], strict=True):
        here = np.isin(GROUP, chosen) & heavy
        label, weight = LABEL[here], WEIGHT[here]
        assert segment.rows == here.sum()
        assert segment.click_rate == pytest.approx(np.average(label, weights=weight))
        its = segment.models["one"]
        aucs = [roc_auc_score(label, score[here], sample_weight=weight) for score in SCORE]
        assert its.auc == pytest.approx(np.mean(aucs), abs=1e-12)
        losses = [log_loss(label, expit(score[here]), sample_weight=weight) for score in SCORE]
        assert its.logloss == pytest.approx(np.mean(losses), abs=1e-12)
        ratios = [(expit(score[here]) * weight).sum() / (label * weight).sum() for score in SCORE]
        assert its.calibration_ratio == pytest.approx(np.mean(ratios))
        assert segment.models["two"].auc == pytest.approx(1 - aucs[0], abs=1e-12)


def test_a_segment_of_one_label_has_no_auc_and_days_are_in_order() -> None:
    label = np.array([0.0, 0.0, 1.0, 0.0, 1.0, 1.0])
    values = RowValues(
        DAY, np.array([1, 1, 0, 0, 0, 2]), pa.array(["2026-01-02", "2026-01-01", "2026-01-03"]), np.ones(3)
    )
    table = segment_table(values, label, None, {"m": np.zeros((1, 6))}, 10)
    assert [segment.value for segment in table.segments] == ["2026-01-01", "2026-01-02", "2026-01-03"]
    first, second, third = (segment.models["m"] for segment in table.segments)
    assert (first.auc, first.calibration_ratio) == (None, None)
    assert second.auc == 0.5
    assert (third.auc, third.calibration_ratio) == (None, 0.5)


def test_stability_is_the_agreement_of_pairs_of_searches() -> None:
    base = made_up_trace()
    traces = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        candidates = [
            c.model_copy(update={"score": c.score + rng.normal(0, 0.2), "kept": bool(rng.random() < 0.3)})
            for c in base.candidates
        ]
        traces.append(base.model_copy(update={"candidates": tuple(candidates[seed:])}))
    found = stability("autofis", [0, 1, 2], traces)
    assert found is not None
    names = [c.fields for c in base.candidates]
    scores = [{c.fields: c.score for c in t.candidates} for t in traces]
    rows = [[each.get(name, 0.0) for name in names] for each in scores]
    kept = [{c.fields for c in t.candidates if c.kept} for t in traces]
    pairs = [(0, 1), (0, 2), (1, 2)]
    assert found.pearson == pytest.approx(
        np.mean([stats.pearsonr(rows[a], rows[b]).statistic for a, b in pairs])
    )
    assert found.spearman == pytest.approx(
        np.mean([stats.spearmanr(rows[a], rows[b]).statistic for a, b in pairs])
    )
    for pair, (a, b) in zip(found.pairs, pairs, strict=True):
        assert pair.seeds == (a, b)
        assert pair.pearson == pytest.approx(np.corrcoef(rows[a], rows[b])[0, 1])
    overlaps = [len(kept[a] & kept[b]) / len(kept[a] | kept[b]) for a, b in pairs]
    assert found.jaccard == pytest.approx(np.mean(overlaps))
    assert found.lowest_jaccard == pytest.approx(min(overlaps))
    assert (found.kept, found.kept_by_all) == (tuple(map(len, kept)), len(kept[0] & kept[1] & kept[2]))
    assert stability("autofis", [0], traces[:1]) is None


def test_searches_that_keep_nothing_have_no_overlap() -> None:
    trace = made_up_trace()
    none = [c.model_copy(update={"score": 0.0, "kept": False}) for c in trace.candidates]
    found = stability("autofis", [0, 1], [trace.model_copy(update={"candidates": tuple(none)})] * 2)
    assert found is not None
    assert (found.jaccard, found.lowest_jaccard, found.pearson, found.spearman) == (None, None, None, None)
