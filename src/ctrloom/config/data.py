"""Input data: files, how they are read, and split."""

import codecs
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    Discriminator,
    Field,
    SerializationInfo,
    field_serializer,
    model_validator,
)

from ctrloom.config.base import StrictModel
from ctrloom.config.columns import Column
from ctrloom.config.timestamp import Timestamp
from ctrloom.config.types import SPLITS, Fraction, Seed, Split
from ctrloom.config.url_secrets import hidden

MOST_COLUMNS = 10_000
_TEXT_KEYS = ("delimiter", "quoting", "trim", "encoding")


def _delimiter(given: str) -> str:
    if len(given) != 1 or not given.isascii() or given in '"\r\n\0':
        tab = '; write "\\t" in double quotes for a tab' if given == "\\t" else ""
        raise ValueError(f"must be one ASCII character other than a quote or line end, not {given!r}{tab}")
    return given


def _encoding(given: str) -> str:
    try:
        "a".encode(given).decode(given)
        codecs.getincrementaldecoder(given)
    except (LookupError, UnicodeError, ValueError):
        raise ValueError(f"{given!r} is not an encoding of text, such as utf-8, latin-1 or utf-16") from None
    return given


class SourceConfig(StrictModel):
    """How a file is parsed into typed columns; all that is needed to read rows at prediction time."""

    format: Literal["csv", "tsv", "libsvm", "libffm", "parquet"] = "csv"
    header: bool = True  # csv and tsv: the first line has the names; if false, `columns` is in file order
    delimiter: Annotated[str, AfterValidator(_delimiter)] | None = None  # csv: default is a comma
    quoting: bool = True  # csv and tsv: a field in quotes may contain the delimiter and line ends
    trim: bool = False  # csv and tsv: spaces around names and values are removed
    encoding: Annotated[str, AfterValidator(_encoding)] = "utf-8"  # text formats; any that Python knows
    missing_values: tuple[str, ...] = ("",)  # tokens that mean "no value"
    other_columns: Literal["refuse", "ignore"] = "refuse"  # for columns of the file that are not in `columns`
    columns: Annotated[dict[str, Column], Field(max_length=MOST_COLUMNS)]

    @model_validator(mode="before")
    @classmethod
    def _shorthands(cls, raw: Any) -> Any:
        """`name: categorical` for `name: {kind: categorical}`; `I1..I13` and `f_00..f_12` for 13 columns."""
        named = raw.get("columns") if isinstance(raw, Mapping) else None
        if isinstance(named, list | tuple) and all(isinstance(c, Mapping) and "name" in c for c in named):
            pairs = [(c["name"], {k: v for k, v in c.items() if k != "name"}) for c in named]
        elif isinstance(named, Mapping):
            pairs = list(named.items())
        else:
            return raw
        columns: dict[str, Any] = {}
        for name, column in pairs:
            for each in _expand(str(name), MOST_COLUMNS - len(columns)):
                if each in columns:
                    raise ValueError(f"columns: duplicate column {each!r}")
                columns[each] = {"kind": column} if isinstance(column, str) else column
        return {**raw, "columns": columns}

    @field_serializer("columns")
    def _in_order(self, columns: dict[str, Column], info: SerializationInfo) -> list[dict[str, Any]]:
        """A list: the order of columns matters, and not every JSON parser keeps the order of keys."""
        dumped = [
            (n, c.model_dump(mode=info.mode, exclude_none=info.exclude_none)) for n, c in columns.items()
        ]
        return [{"name": name, **column} for name, column in dumped]

    @model_validator(mode="after")
    def _one_label(self) -> Self:
        if len(labels := self.named("label")) != 1:
            raise ValueError(f"exactly one column must be of kind label, found {', '.join(labels) or 'none'}")
        for kind in ("weight", "timestamp"):
            if len(found := self.named(kind)) > 1:
                raise ValueError(f"at most one column can be of kind {kind}, found {', '.join(found)}")
        if not any(c.kind in ("categorical", "numeric", "multivalued") for c in self.columns.values()):
            raise ValueError(
                "no column is a field: name at least one categorical, numeric or multivalued one"
            )
        return self

    @property
    def has_indices(self) -> bool:
        """True for formats of `index:value` or `field:index:value`, which have no header."""
        return self.format in ("libsvm", "libffm")

    def named(self, kind: str) -> list[str]:
        """Names of the columns of one kind, in file order."""
        return [name for name, column in self.columns.items() if column.kind == kind]

    @property
    def timezone(self) -> str:
        """The time zone of hours and days."""
        return next((c.timezone for c in self.columns.values() if isinstance(c, Timestamp)), "UTC")


class Files(StrictModel):
    """Paths, globs or URLs per split; a split without files is taken from `train` according to `split`.

    Passwords and signatures in URLs are hidden, see `config.url_secrets`.
    """

    train: Annotated[tuple[str, ...], Field(min_length=1)]
    valid: tuple[str, ...] = ()
    test: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[str, ...]:
        """Those of every split."""
        return self.train + self.valid + self.test

    @model_validator(mode="before")
    @classmethod
    def _one_name(cls, raw: Any) -> Any:
        if not isinstance(raw, Mapping):
            return raw
        listed = {split: [names] if isinstance(names, str) else names for split, names in raw.items()}
        return {
            split: [hidden(name) if isinstance(name, str) else name for name in names]
            if isinstance(names, list | tuple)
            else names
            for split, names in listed.items()
        }


class RandomSplit(StrictModel):
    """Random split; with `stratified`, every part has the same label rate."""

    by: Literal["random"] = "random"
    valid: Fraction = 0.1
    test: Fraction = 0.1
    seed: Seed = 0
    stratified: bool = False


class TimeSplit(StrictModel):
    """The newest rows are the test split, the rows before them the validation split.

    Set either shares of the rows (`valid`, `test`) or timestamps (`valid_from`, `test_from`, ISO 8601), in
    the `timezone` of the timestamp column unless they have an offset.
    """

    by: Literal["time"] = "time"
    valid: Fraction = 0.1
    test: Fraction = 0.1
    valid_from: str | None = None
    test_from: str | None = None


class Negatives(StrictModel):
    """Negative downsampling: each negative row is kept with a fixed probability, independently.

    Predictions for raw rows are corrected for it; metrics are computed on the rows that were kept.
    """

    # balanced: as many negatives as positives in the same files, which are counted first
    keep: Literal["balanced"] | Annotated[float, Field(gt=0, le=1)] = "balanced"
    splits: Annotated[tuple[Split, ...], Field(min_length=1)] = SPLITS  # the splits to downsample
    seed: Seed = 0


class DataConfig(SourceConfig):
    """A data set: files (paths, globs or URLs), their columns, and how they are split."""

    files: Files  # a list, or a single name, is taken as `train`
    split: Annotated[RandomSplit | TimeSplit, Discriminator("by")] = RandomSplit()
    negatives: Negatives | None = None  # None: all of them
    max_malformed: Fraction = 0.01  # ingest fails above this share of malformed rows

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, raw: Any) -> Any:
        if not isinstance(raw, Mapping):
            return raw
        files, split = raw.get("files"), raw.get("split")
        if isinstance(files, str | list | tuple):
            raw = {**raw, "files": {"train": [files] if isinstance(files, str) else files}}
        if isinstance(split, Mapping):
            raw = {**raw, "split": {"by": "random", **split}}
        return raw

    @model_validator(mode="after")
    def _keys_apply(self) -> Self:
        fit = {"csv": _TEXT_KEYS, "tsv": _TEXT_KEYS, "libsvm": ("encoding",), "libffm": ("encoding",)}
        for key in _TEXT_KEYS:
            if (
                key not in fit.get(self.format, ())
                and getattr(self, key) != SourceConfig.model_fields[key].default
            ):
                raise ValueError(f"{key}: does not apply to `format: {self.format}`; remove it")
        if self.trim and self.delimiter == " ":
            raise ValueError(
                "trim: spaces cannot be removed where they are the delimiter; remove one of them"
            )
        return self

    @model_validator(mode="after")
    def _time_is_known(self) -> Self:
        if self.split.by == "time" and not self.named("timestamp"):
            raise ValueError("split: a split by time needs a column of kind timestamp")
        return self

    @property
    def source(self) -> SourceConfig:
        """The part that is also needed for predictions."""
        return SourceConfig(**{name: getattr(self, name) for name in SourceConfig.model_fields})


def _expand(name: str, most: int) -> list[str]:
    """The columns of a range such as I1..I13, at most so many; any other name as it is."""
    match = re.fullmatch(r"(\D*)(\d+)\.\.(\D*)(\d+)", name)
    if not match or match[1] != match[3]:
        return [name]
    if int(match[2]) > int(match[4]):
        raise ValueError(f"{name!r} is an empty range: its first number is larger than its last")
    if (size := int(match[4]) - int(match[2]) + 1) > most:
        raise ValueError(
            f"columns: {name!r} is a range of {size:,} columns, but there can be at most {MOST_COLUMNS:,} "
            "in all"
        )
    digits = len(match[2]) if match[2].startswith("0") else 1
    return [f"{match[1]}{i:0{digits}}" for i in range(int(match[2]), int(match[4]) + 1)]
