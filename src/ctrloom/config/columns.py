"""The kinds of columns."""

from typing import Annotated, Literal, Self

from pydantic import Discriminator, Field, ValidationInfo, field_validator, model_validator

from ctrloom.config.base import StrictModel
from ctrloom.config.timestamp import Timestamp


class Categorical(StrictModel):
    """A column of tokens."""

    kind: Literal["categorical"] = "categorical"


class Numeric(StrictModel):
    """A column of numbers; `vocabulary` defines how they are mapped to ids.

    Text has numbers such as `1234.5` unless other marks are set; a `symbol` may precede or follow them.
    """

    kind: Literal["numeric"] = "numeric"
    decimal: Literal[".", ","] = "."
    thousands: Annotated[str, Field(pattern=r"^[^0-9A-Za-z+-]$")] | None = (
        None  # between groups of three digits
    )
    symbol: Annotated[str, Field(pattern=r"^[^0-9+-]+$")] | None = None  # such as $ or %; removed

    @model_validator(mode="after")
    def _distinct_marks(self) -> Self:
        if self.decimal == self.thousands:
            raise ValueError(f"decimal and thousands are both {self.decimal!r}; set the other one, too")
        return self


class Multivalued(StrictModel):
    """A column that holds any number of tokens: joined by `separator`, or as a JSON list.

    A list column of Parquet needs neither.
    """

    kind: Literal["multivalued"] = "multivalued"
    format: Literal["separated", "json"] = "separated"
    separator: Annotated[str, Field(min_length=1)] = "|"

    @field_validator("separator")
    @classmethod
    def _one_way(cls, separator: str, info: ValidationInfo) -> str:
        if info.data.get("format") == "json" and separator != "|":
            raise ValueError("has no meaning in JSON lists; leave it out, or set format: separated")
        return separator


class Label(StrictModel):
    """The target.

    Without `positive` the column holds 0 and 1 (or -1 and 1, false and true). `positive` is a comparison
    (`> 3`, `== 4`, `<= 2`) or the value that means a click. Rows that match `drop` are dropped.
    """

    kind: Literal["label"] = "label"
    positive: str | None = None
    drop: str | None = None


class Weight(StrictModel):
    """A non-negative weight of the row, used in the loss and in the metrics."""

    kind: Literal["weight"] = "weight"


class Context(StrictModel):
    """A column that no model reads and every row keeps as text: for groups, segments and predictions."""

    kind: Literal["context"] = "context"


class Ignored(StrictModel):
    """A column that is not read."""

    kind: Literal["ignored"] = "ignored"


Column = Annotated[
    Categorical | Numeric | Multivalued | Timestamp | Label | Weight | Context | Ignored,
    Discriminator("kind"),
]
