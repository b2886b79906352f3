"""What the Kubeflow UI draws by itself."""

from typing import Any

from scipy.special import expit


def show_classification(model: Any, artifact: Any) -> None:
    """Put the ROC curve and confusion matrix of a ModelResult where the Kubeflow UI finds them."""
    roc, found = model.roc, model.confusion
    artifact.log_roc_curve(
        list(roc.false_positive), list(roc.true_positive), [float(expit(score)) for score in roc.threshold]
    )
    matrix = [[found.true_negative, found.false_positive], [found.false_negative, found.true_positive]]
    artifact.log_confusion_matrix(["no click", "click"], matrix)
