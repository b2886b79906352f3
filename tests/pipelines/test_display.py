"""Metrics and curves for the Kubeflow UI."""

import json
from pathlib import Path

import pytest
from invented_results import made_up

pytest.importorskip("kfp", reason="the extra `pipelines` is not installed")

from kfp.dsl import ClassificationMetrics, Metrics

from ctrloom.runners.display import show_classification, show_metrics

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def test_numbers_are_shown_and_stored(tmp_path):
    artifact = Metrics(name="numbers", uri=str(tmp_path / "numbers"))
    show_metrics({"auc": 0.5, "kept": 3}, artifact)
    assert artifact.metadata == json.loads(Path(artifact.path).read_text()) == {"auc": 0.5, "kept": 3}


def test_curve_and_matrix_match_the_model(tmp_path):
    results, _ = made_up()
    artifact = ClassificationMetrics(name="curve", uri=str(tmp_path / "curve"))
    show_classification(results.shown, artifact)
    assert json.loads(Path(artifact.path).read_text()) == artifact.metadata
    points = artifact.metadata["confidenceMetrics"]
    thresholds = [point["confidenceThreshold"] for point in points]
    assert thresholds == sorted(thresholds, reverse=True)
    assert all(0 <= threshold <= 1 for threshold in thresholds)
    assert (points[0]["recall"], points[-1]["recall"]) == (0, pytest.approx(1))
    matrix = artifact.metadata["confusionMatrix"]
    assert [each["displayName"] for each in matrix["annotationSpecs"]] == ["no click", "click"]
    rows = [row["row"] for row in matrix["rows"]]
    assert sum(map(sum, rows)) == results.data.rows["test"]
    assert sum(rows[1]) == pytest.approx(results.data.label_rate["test"] * results.data.rows["test"])
