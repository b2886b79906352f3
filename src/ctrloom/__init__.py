"""Finds the feature interactions a click-through-rate model needs.

Importing this package changes nothing in the process, and loads each name below when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ctrloom.api import (
        baselines,
        compare,
        encode,
        evaluate,
        ingest,
        load_config,
        register_method,
        register_model,
        retrain,
        search,
        transfer,
        tune,
    )
    from ctrloom.architecture import Architecture
    from ctrloom.config import CompareConfig, Hyperparameters, Method, MethodConfig, ModelName, RunConfig
    from ctrloom.config.errors import UserError
    from ctrloom.data.dataset import Dataset
    from ctrloom.serving.api import export, load_bundle, predict, read_export, read_predictions

    __version__: str

__all__ = [
    "Architecture",
    "CompareConfig",
    "Dataset",
    "Hyperparameters",
    "Method",
    "MethodConfig",
    "ModelName",
    "RunConfig",
    "UserError",
    "__version__",
    "baselines",
    "compare",
    "encode",
    "evaluate",
    "export",
    "ingest",
    "load_bundle",
    "load_config",
    "predict",
    "read_export",
    "read_predictions",
    "register_method",
    "register_model",
    "retrain",
    "search",
    "transfer",
    "tune",
]
_MODULES = {
    "Architecture": "ctrloom.architecture",
    "CompareConfig": "ctrloom.config",
    "Dataset": "ctrloom.data.dataset",
    "Hyperparameters": "ctrloom.config",
    "Method": "ctrloom.config",
    "MethodConfig": "ctrloom.config",
    "ModelName": "ctrloom.config",
    "RunConfig": "ctrloom.config",
    "UserError": "ctrloom.config.errors",
    **dict.fromkeys(
        ("export", "load_bundle", "predict", "read_export", "read_predictions"), "ctrloom.serving.api"
    ),
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'ctrloom' has no attribute {name!r}")
    if name == "__version__":
        return import_module("importlib.metadata").version("ctrloom")
    value = globals()[name] = getattr(import_module(_MODULES.get(name, "ctrloom.api")), name)
    return value


def __dir__() -> list[str]:
    return __all__
