"""All search methods by name, and the section `search` of a configuration."""

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, SerializeAsAny

from ctrloom.config.base import ConfigError, SectionError, not_among, parse_section
from ctrloom.config.catalog import Catalog, resolve
from ctrloom.config.search.settings import (
    AIMConfig,
    AutoFISConfig,
    AutoPIConfig,
    MethodConfig,
    OptInterConfig,
    ResidualConfig,
    SelectionConfig,
)


@dataclass(frozen=True)
class Method:
    """A search method: its name, its settings, how it searches, and what it needs around it."""

    title: str
    config: type[MethodConfig]
    # "module:name", imported when it is needed, or a callable: (SearchData, config, settings of the model)
    # -> SearchResult
    search: str | Callable[..., Any]
    _: KW_ONLY
    pipeline: str = "search_and_retrain_plugin"  # the compiled pipeline that runs it
    steps: tuple[str, ...] = ("search-plugin",)  # of its search in that pipeline, in order
    measure: str = "gate"  # what the score of a candidate is
    # False: scores candidates one by one without training, on all rows in memory in a single process
    trains: bool = True
    streams: bool = False  # without training: takes streamed rows and several processes nevertheless
    transfers: bool = True  # other models can use what it finds
    # "module:name" or a callable: (Schema, config, settings of the model), raises what the search would raise
    # for this schema, before any other work
    check: str | Callable[..., None] | None = None

    def find(self, data: Any, config: MethodConfig, settings: Any) -> Any:
        """Search in a `SearchData`; `settings` are the hyper-parameters of the model `config.base`."""
        return resolve(self.search)(data, config, settings)

    def require(self, schema: Any, config: MethodConfig, settings: Any) -> None:
        """Check that it can search data of this schema.

        Raises:
            ConfigError: it cannot.
        """
        if self.check:
            resolve(self.check)(schema, config, settings)


def _selection(title: str, measure: str) -> Method:
    return Method(
        title,
        SelectionConfig,
        "ctrloom.methods.selection:search",
        pipeline="search_and_retrain_selection",
        steps=("select-interactions",),
        measure=measure,
        trains=False,
        check="ctrloom.methods.selection:require",
    )


METHODS = Catalog(
    "search method",
    {
        "autofis": Method(
            "AutoFIS",
            AutoFISConfig,
            "ctrloom.methods.autofis:search",
            pipeline="search_and_retrain_autofis",
            steps=("search-autofis",),
            check="ctrloom.methods.autofis:require",
        ),
        "aim": Method(
            "AIM",
            AIMConfig,
            "ctrloom.methods.aim:search",
            pipeline="search_and_retrain_aim",
            steps=("aim-search-interactions", "aim-search-embeddings"),
            check="ctrloom.methods.aim:require",
        ),
        "optinter": Method(
            "OptInter",
            OptInterConfig,
            "ctrloom.methods.optinter:search",
            pipeline="search_and_retrain_optinter",
            steps=("search-optinter",),
            measure="probability",
            check="ctrloom.methods.optinter:require",
        ),
        "autopi": Method(
            "AutoPI",
            AutoPIConfig,
            "ctrloom.methods.autopi:search",
            pipeline="search_and_retrain_autopi",
            steps=("search-autopi",),
            transfers=False,
        ),
        "residual": Method(
            "Residual test",
            ResidualConfig,
            "ctrloom.methods.residual:search",
            pipeline="search_and_retrain_selection",
            steps=("select-interactions",),
            measure="t value",
            trains=False,
            streams=True,
            check="ctrloom.methods.residual:require",
        ),
        "random": _selection("Random selection", "random number"),
        "statistics_auc": _selection("Statistics AUC", "statistics AUC"),
        "mutual_information": _selection("Mutual information", "mutual information"),
    },
)
DEFAULT_METHOD = "autofis"


def search_section(raw: Any) -> Any:
    """The settings of the method that a raw `search` section names; for validators of what contains it.

    Raises:
        SectionError: unknown method, or an invalid key or value.
    """
    if not isinstance(raw, Mapping):
        return raw
    method = raw.get("method", DEFAULT_METHOD)
    if method not in METHODS:
        raise SectionError([("method", not_among(METHODS, method))])
    return parse_section(METHODS[method].config, {"method": method, **raw})


def search_config(raw: Mapping[str, Any], where: str = "search") -> MethodConfig:
    """The settings of the method that `raw` names.

    Raises:
        ConfigError: unknown method, or an invalid key or value.
    """
    try:
        config: MethodConfig = search_section(raw)
    except SectionError as error:
        raise ConfigError(error.lines(where)) from None
    return config


SearchConfig = Annotated[SerializeAsAny[MethodConfig], BeforeValidator(search_section)]
