"""What the Kubeflow UI is given to draw."""

import json

import pytest
from made_up_evaluation import made_up

pytest.importorskip("kfp", reason="the extra `pipelines` is not installed")

from kfp.dsl import ClassificationMetrics

from ctrloom.pipelines.display import show_classification

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def test_curve_and_matrix_are_those_of_the_model():
    results, _ = made_up()
    artifact = ClassificationMetrics(name="curve", uri="x")
    show_classification(results.shown, artifact)
    json.dumps(artifact.metadata, allow_nan=False)
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
