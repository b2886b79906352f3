from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from invented_results import made_up_models, made_up_trace

from ctrloom.config import EvaluationConfig
from ctrloom.config.base import ConfigError
from ctrloom.evaluation.compare import Labels, ModelScores, compare_models
from ctrloom.evaluation.results import DataSummary, Results
from ctrloom.evaluation.significance import holm
from ctrloom.metrics.measure import EvaluationError, measure
from ctrloom.search_trace import SearchTrace

DATA = DataSummary(
    name="d",
    data_fingerprint="d",
    schema_fingerprint="s",
    rows={"train": 1, "valid": 100, "test": 200},
    label_rate={"train": 0.5, "valid": 0.5, "test": 0.5},
    fields=(),
)
LABELS = tuple(np.arange(n) % 3 == 0 for n in (100, 200))


def models(seeds: int = 2) -> list[ModelScores]:
    truth = tuple(2.0 * label - 1 for label in LABELS)
    return made_up_models(made_up_trace(third=True), truth, seeds)


def run(given: list[ModelScores], base: str = "fm", **weights: np.ndarray) -> Results:
    valid, test = (Labels(label, weights.get(s)) for s, label in zip(("valid", "test"), LABELS, strict=True))
    return compare_models(given, valid, test, DATA, EvaluationConfig(base=base, bootstrap=50), "0", {"a": 1})


def test_results_round_trip(tmp_path: Path) -> None:
    results = run(models())
    results.save(tmp_path / "metrics.json")
    assert Results.load(tmp_path / "metrics.json") == results


def test_search_trace_round_trip(tmp_path: Path) -> None:
    trace = made_up_trace(third=True)
    trace.save(tmp_path / "search.json")
    assert SearchTrace.load(tmp_path / "search.json") == trace


def test_every_model_is_measured_per_seed_and_summarised() -> None:
    given = models()
    results = run(given)
    assert [m.name for m in results.models] == [m.name for m in given]
    first = results.model("autofm")
    expected = measure(given[3].test_logit_SN[1], LABELS[1])
    assert first.seeds[1].test == expected
    assert first.summary["test"]["auc"].mean == pytest.approx(np.mean([s.test.auc for s in first.seeds]))
    assert first.summary["valid"]["logloss"].sd == pytest.approx(
        np.std([s.valid.logloss for s in first.seeds], ddof=1)
    )
    assert (first.kept, first.candidates) == ({2: 9, 3: 4}, {2: 45, 3: 120})
    assert results.model("lr").kept == {}


def test_one_seed_has_no_spread() -> None:
    assert run(models(seeds=1)).model("fm").summary["test"]["auc"].sd is None


def test_every_other_model_is_tested_against_the_base() -> None:
    results = run(models())
    assert [v.model for v in results.comparisons] == ["lr", "ipnn", "autofm", "random", "ipnn-transfer"]
    assert results.versus_base("fm") is None
    for metric in ("auc", "logloss"):
        tests = [getattr(v, metric) for v in results.comparisons]
        assert [t.p_adjusted for t in tests] == holm([t.p for t in tests])
    versus = results.versus_base("autofm")
    means = [results.model(n).summary["test"]["auc"].mean for n in ("autofm", "fm")]
    assert versus.auc.delta == pytest.approx(means[0] - means[1])


def test_weights_reach_metrics_and_tests() -> None:
    weight = np.random.default_rng(0).gamma(1.0, size=200)
    results = run(models(), test=weight)
    versus = results.versus_base("autofm")
    for metric in ("auc", "logloss"):
        means = [results.model(n).summary["test"][metric].mean for n in ("autofm", "fm")]
        assert getattr(versus, metric).delta == pytest.approx(means[0] - means[1])


def test_compare_rejects_an_unknown_base() -> None:
    with pytest.raises(EvaluationError, match="is 'deepfm', which is not among the models lr, fm"):
        run(models(), base="deepfm")


def test_compare_rejects_duplicate_names() -> None:
    given = models()
    with pytest.raises(EvaluationError, match="two models are named 'lr'"):
        run([*given, given[0]])


def test_compare_rejects_scores_of_another_length() -> None:
    given = models()
    given[3] = replace(given[3], test_logit_SN=given[3].test_logit_SN[:, :-1])
    with pytest.raises(
        EvaluationError, match=r"autofm: test scores have the shape \(2, 199\); expected \(2, 200\)"
    ):
        run(given)


def test_compare_names_a_diverged_training() -> None:
    given = models()
    given[0].valid_logit_SN[1, 3] = np.nan
    with pytest.raises(EvaluationError, match="lr: 1 of 2 seeds gave valid scores that are not finite"):
        run(given)


def test_a_trace_of_version_1_still_loads() -> None:
    trace = made_up_trace(third=True)
    old = trace.model_dump(mode="json", exclude={"version", "path_scores", "candidates"})
    old["version"], old["path_gates"] = 1, trace.path_scores
    old["candidates"] = [
        {"gate": c.score, **c.model_dump(mode="json", exclude={"score"})} for c in trace.candidates
    ]
    assert SearchTrace.parse(old, "search.json") == trace


def test_a_trace_must_be_consistent() -> None:
    trace = made_up_trace().model_dump()
    with pytest.raises(ConfigError, match="one entry per recorded step"):
        SearchTrace.parse(trace | {"path_steps": (1,)}, "search.json")
    with pytest.raises(ConfigError, match="one score per candidate"):
        SearchTrace.parse(trace | {"candidates": trace["candidates"][1:]}, "search.json")
    with pytest.raises(ConfigError, match="order 2, which is not in orders"):
        SearchTrace.parse(trace | {"orders": (3,)}, "search.json")
    broken = [trace["candidates"][0] | {"score": float("nan")}, *trace["candidates"][1:]]
    with pytest.raises(ConfigError, match=r"candidates\.0\.score: must be a finite number"):
        SearchTrace.parse(trace | {"candidates": broken}, "search.json")
