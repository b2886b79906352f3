"""Search methods: the settings of each (`settings`), and what else differs between them (`methods`)."""

from ctrloom.config.search.methods import (
    DEFAULT_METHOD,
    METHODS,
    Method,
    SearchConfig,
    search_config,
    search_section,
)
from ctrloom.config.search.settings import (
    WITHOUT_RETRAINING,
    AIMConfig,
    AutoFISConfig,
    AutoPIConfig,
    ConfirmedConfig,
    GateSearchConfig,
    MethodConfig,
    OptInterConfig,
    Order,
    ResidualConfig,
    SelectionConfig,
    shared_draws,
)

__all__ = [
    "DEFAULT_METHOD",
    "METHODS",
    "WITHOUT_RETRAINING",
    "AIMConfig",
    "AutoFISConfig",
    "AutoPIConfig",
    "ConfirmedConfig",
    "GateSearchConfig",
    "Method",
    "MethodConfig",
    "OptInterConfig",
    "Order",
    "ResidualConfig",
    "SearchConfig",
    "SelectionConfig",
    "search_config",
    "search_section",
    "shared_draws",
]
