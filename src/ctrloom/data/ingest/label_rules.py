"""Label rules: which rows are positive, and which are dropped."""

import re
from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ctrloom.config import Label
from ctrloom.config.base import ConfigError
from ctrloom.data.ingest.converters import Fault, fault_of, numbers
from ctrloom.data.ingest.tokens import text, tokens

_COMPARE = {
    ">=": pc.greater_equal,
    "<=": pc.less_equal,
    "==": pc.equal,
    "!=": pc.not_equal,
    ">": pc.greater,
    "<": pc.less,
}
_YES = ("1", "+1", "1.0", "true", "True", "TRUE")
_NO = ("0", "-1", "0.0", "-1.0", "false", "False", "FALSE")


@dataclass(frozen=True)
class Rule:
    """A condition on one column: a comparison with a number, or equality with a value."""

    operator: str
    value: str

    @classmethod
    def parse(cls, rule: str, column: str) -> Self:
        """Parse `> 3`, `== 4`, `!= spam`, or a bare value.

        Raises:
            ConfigError: an order comparison with a value that is not a number.
        """
        match = re.fullmatch(r"\s*(>=|<=|==|!=|>|<)\s*(.*?)\s*", rule)
        if not match:
            return cls("==", rule)
        if match[1] not in ("==", "!=") and not _is_number(match[2]):
            raise ConfigError(f"data.columns.{column}: {rule!r} compares with a value that is not a number")
        return cls(match[1], match[2])

    def holds(self, column: str, values: pa.Array, missing: pa.Array) -> tuple[pa.Array, list[Fault]]:
        """Mask of the rows that match (false for invalid values), and the rows with invalid values."""
        if _is_number(self.value):
            compared, faults = numbers(column, values, missing)
            value = pa.scalar(float(self.value))
        else:
            compared, faults, value = tokens(values, missing), [], pa.scalar(self.value)
        faults += fault_of(column, compared.is_null(), "has no value")
        return pc.fill_null(_COMPARE[self.operator](compared, value), False), faults


def label_of(
    column: str, config: Label, values: pa.Array, missing: pa.Array
) -> tuple[pa.Array, list[Fault], np.ndarray | None]:
    """Labels (int8), the rows without a valid label, and a mask of the rows to drop (None: no row)."""
    dropped = None
    if config.drop is not None:
        holds, _ = Rule.parse(config.drop, column).holds(column, values, missing)
        dropped = holds.to_numpy(zero_copy_only=False)
    if config.positive is not None:
        holds, faults = Rule.parse(config.positive, column).holds(column, values, missing)
        return holds.cast(pa.int8()), faults, dropped
    values = text(values)
    positive = pc.is_in(values, pa.array(_YES))
    known = pc.or_(positive, pc.is_in(values, pa.array(_NO)))
    faults = fault_of(column, pc.invert(known), "is not a label (0 or 1; see `positive`)")
    return positive.cast(pa.int8()), faults, dropped


def _is_number(value: str) -> bool:
    try:
        return np.isfinite(float(value)) and "_" not in value
    except ValueError:
        return False
