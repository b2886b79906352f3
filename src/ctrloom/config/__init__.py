"""Typed run configuration: one section per stage of the pipeline.

The same names are keys of the YAML file, parameters of the components and options on the command line.
An unknown key is refused, and the message names the nearest key that exists.
"""

from ctrloom.config.compare import CompareConfig, Entry, Published
from ctrloom.config.data import (
    Categorical,
    Column,
    DataConfig,
    Files,
    Ignored,
    Label,
    Multivalued,
    Numeric,
    RandomSplit,
    SourceConfig,
    TimeSplit,
    Timestamp,
    Weight,
)
from ctrloom.config.models import (
    AIMSettings,
    BaselineName,
    Hyperparameters,
    ModelName,
    ModelSettings,
    TransferName,
)
from ctrloom.config.run import EvaluationConfig, Expected, RunConfig
from ctrloom.config.search import (
    AIMConfig,
    AutoFISConfig,
    AutoPIConfig,
    OptInterConfig,
    SearchConfig,
    SelectionConfig,
    search_config,
)
from ctrloom.config.types import SPLITS, Split
from ctrloom.config.vocabulary import (
    Boundaries,
    Bucketing,
    Crosses,
    EqualFrequency,
    EqualWidth,
    FieldVocabulary,
    Keep,
    LogSquared,
    VocabularyConfig,
)

__all__ = [
    "SPLITS",
    "AIMConfig",
    "AIMSettings",
    "AutoFISConfig",
    "AutoPIConfig",
    "BaselineName",
    "Boundaries",
    "Bucketing",
    "Categorical",
    "Column",
    "CompareConfig",
    "Crosses",
    "DataConfig",
    "Entry",
    "EqualFrequency",
    "EqualWidth",
    "EvaluationConfig",
    "Expected",
    "FieldVocabulary",
    "Files",
    "Hyperparameters",
    "Ignored",
    "Keep",
    "Label",
    "LogSquared",
    "ModelName",
    "ModelSettings",
    "Multivalued",
    "Numeric",
    "OptInterConfig",
    "Published",
    "RandomSplit",
    "RunConfig",
    "SearchConfig",
    "SelectionConfig",
    "SourceConfig",
    "Split",
    "TimeSplit",
    "Timestamp",
    "TransferName",
    "VocabularyConfig",
    "Weight",
    "search_config",
]
