"""`export.json`: what an export holds, what it was made from, and how far it is from its bundle."""

from typing import Literal

from pydantic import Field

from ctrloom import storage
from ctrloom.config.base import StrictModel
from ctrloom.nn.compressed_tables import Tables
from ctrloom.serving.export.formats import Format

RECORD = "export.json"


class TensorSpec(StrictModel):
    """An input or output of the exported model; a size that is text is that of the batch."""

    name: str
    dtype: Literal["int32", "float32"]
    shape: tuple[int | str, ...]


class Parity(StrictModel):
    """The largest differences between the exported model and the bundle on the checked rows."""

    rows: int = Field(ge=1)
    batch_sizes: tuple[int, ...]
    given: int = Field(default=0, ge=0)  # rows of raw files; the others are random
    probability: float = Field(ge=0)
    logit: float = Field(ge=0)


class TablesCost(StrictModel):
    """What compressed tables cost: AUC on given rows with labels, before and after, and probabilities."""

    rows: int = Field(ge=1)
    auc: float
    auc_exported: float
    probability: float = Field(ge=0)  # largest difference


class ExportRecord(storage.FolderRecord):
    """An export; `files` has the checksums of all others."""

    version: Literal[1] = 1
    format: Format
    model_file: str
    model: str
    title: str
    seed: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    opset: int | None = None  # of ONNX
    tables: Tables | None = None  # None: float32
    negatives_kept: float  # its logarithm is in the exported logit
    data_fingerprint: str
    schema_fingerprint: str
    architecture_fingerprint: str
    code_version: str  # of ctrloom when it exported
    torch_version: str
    parity: Parity
    tables_cost: TablesCost | None = None  # with given rows only
