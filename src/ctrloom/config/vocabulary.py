"""How values are mapped to ids."""

from typing import Annotated, Literal

from pydantic import Discriminator, Field

from ctrloom.config.base import StrictModel
from ctrloom.config.types import Count, Number, SomeBuckets, Width


class LogSquared(StrictModel):
    """floor(ln(x)^2) for x > 2, else floor(x) (AutoInt, section 5.1.1, and its code)."""

    method: Literal["log_squared"] = "log_squared"


class EqualFrequency(StrictModel):
    """Buckets with equal numbers of training rows."""

    method: Literal["equal_frequency"] = "equal_frequency"
    buckets: SomeBuckets = 40


class RowsPerBucket(StrictModel):
    """Each bucket ends at the first value with which it has more than `rows` training rows.

    AutoFIS and AIM on Criteo, as in the code of their data set: thousands of buckets for some fields.
    """

    method: Literal["rows_per_bucket"] = "rows_per_bucket"
    rows: Count = 40


class EqualWidth(StrictModel):
    """Buckets of equal width between the smallest and the largest training value."""

    method: Literal["equal_width"] = "equal_width"
    buckets: SomeBuckets = 40


class Boundaries(StrictModel):
    """User-defined boundaries: bucket k holds values[k-1] <= x < values[k]."""

    method: Literal["boundaries"] = "boundaries"
    values: Annotated[tuple[Number, ...], Field(min_length=1, max_length=100_000)]


class Keep(StrictModel):
    """No buckets: the field's embedding is multiplied by the scaled number."""

    method: Literal["keep"] = "keep"
    # log: sign(x) * ln(1 + |x|); log_squared: floor(ln(x)^2) for x > 2, else x (AutoInt's code)
    scaling: Literal["none", "min_max", "log", "log_squared"] = "min_max"
    missing: Literal["embedding", "zero"] = "embedding"  # of its own; zero: as the scaled number 0 (AutoInt)


Bucketing = Annotated[
    LogSquared | EqualFrequency | RowsPerBucket | EqualWidth | Boundaries | Keep, Discriminator("method")
]

Pooling = Literal["mean", "sum"]  # of the embeddings of a row's values


class FieldVocabulary(StrictModel):
    """Overrides for one field."""

    min_count: Count | None = None
    bucketing: Bucketing | None = None
    max_values: Width | None = None  # multi-valued fields: tokens kept per row
    pooling: Pooling | None = None  # multi-valued fields


class Crosses(StrictModel):
    """Ids for crosses of two fields, so that a model can memorize a pair (OptInter, section II).

    A cross value seen fewer than `min_count` times gets the pair's unseen id. A missing value is treated like
    any other value. `ids` are counted by default: then a cross with a rare value in either field is unseen,
    too. `tokens` counts pairs of raw values, as the published code does, so that a frequent pair of rare
    values is kept; both are the same if `min_count` is at least that of both fields.
    """

    pairs: Literal["all"] | tuple[tuple[str, str], ...] = "all"  # all: every pair of categorical fields
    min_count: Count = 1
    counted: Literal["ids", "tokens"] = "ids"


class VocabularyConfig(StrictModel):
    """How values are mapped to ids; everything is fitted on the training split."""

    min_count: Count = 1  # tokens seen less often share id 1 with unseen tokens
    bucketing: Bucketing = LogSquared()
    max_values: Width = 20
    pooling: Pooling = "mean"
    fields: dict[str, FieldVocabulary] = Field(default_factory=dict)
    crosses: Crosses | None = None

    def least(self, field: str) -> int:
        """Training rows that a value of a field needs for an embedding of its own."""
        return self.fields.get(field, FieldVocabulary()).min_count or self.min_count

    def least_known(self, field: str) -> int:
        """Training rows that a value of a categorical field needs for an id, if only for crosses."""
        crosses, least = self.crosses, self.least(field)
        if crosses is None or crosses.counted == "ids":
            return least
        crossed = crosses.pairs == "all" or any(field in pair for pair in crosses.pairs)
        return min(least, crosses.min_count) if crossed else least
