"""Metrics and curves that the Kubeflow UI draws natively.

Numbers are also written to artifact files, as local runs never reuse a cached step with an empty artifact.
"""

from collections.abc import Mapping
from typing import Any

from ctrloom import storage
from ctrloom.metrics.logistic import expit


def show_metrics(values: Mapping[str, float], artifact: Any) -> None:
    """Log numbers for the Kubeflow UI."""
    for name, value in values.items():
        artifact.log_metric(name, value)
    storage.write_json(artifact.path, dict(values))


def show_search(found: Any, artifact: Any, more: Mapping[str, float] | None = None) -> None:
    """Log the kept interactions of each order, the search time, and `more`."""
    kept = {f"kept_order_{order}": len(found.of_order(order)) for order in found.orders}
    cost = {"search_seconds": found.provenance.search_seconds} if found.provenance else {}
    show_metrics({**kept, **(more or {}), **cost}, artifact)


def show_classification(model: Any, artifact: Any) -> None:
    """Log the ROC curve and confusion matrix of a ModelResult for the Kubeflow UI."""
    roc, found = model.roc, model.confusion
    artifact.log_roc_curve(
        list(roc.false_positive), list(roc.true_positive), [float(expit(score)) for score in roc.threshold]
    )
    matrix = [[found.true_negative, found.false_positive], [found.false_negative, found.true_positive]]
    artifact.log_confusion_matrix(["no click", "click"], matrix)
    storage.write_json(artifact.path, artifact.metadata)
