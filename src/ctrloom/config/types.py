"""Value types shared by several sections; every number has bounds."""

from typing import Annotated, Literal

from pydantic import Field

Fraction = Annotated[float, Field(ge=0, lt=1)]
Rate = Annotated[float, Field(gt=0, lt=1)]
Share = Annotated[float, Field(gt=0, le=1)]
Positive = Annotated[float, Field(gt=0, le=1e9)]
NotNegative = Annotated[float, Field(ge=0, le=1e9)]
Number = Annotated[float, Field(ge=-1e38, le=1e38)]  # of data: within the range of float32
Count = Annotated[int, Field(ge=1, le=10**9)]
CountOrZero = Annotated[int, Field(ge=0, le=10**9)]
RowCount = Annotated[int, Field(ge=1, le=10**15)]
Few = Annotated[int, Field(ge=1, le=10_000)]  # of what each costs time or memory: repetitions, layers, bins
Bootstrap = Annotated[int, Field(ge=1, le=1_000_000)]  # samples
FewOrZero = Annotated[int, Field(ge=0, le=10_000)]
SomeBuckets = Annotated[int, Field(ge=2, le=100_000)]
Width = Annotated[int, Field(ge=1, le=65_536)]  # of an embedding or a layer
BatchSize = Annotated[int, Field(ge=2, le=2**24)]  # a single row has no batch statistics
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Seeds = Annotated[tuple[Seed, ...], Field(min_length=1, max_length=1_000)]
Split = Literal["train", "valid", "test"]
SPLITS: tuple[Split, ...] = ("train", "valid", "test")
