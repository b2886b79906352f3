"""Synthetic clicks with planted interactions, a ground truth for searches.

y = 1 if the sum of main effects, planted interactions and noise exceeds a threshold (AutoFIS, section
4.5.2). Every planted term has mean zero along each of its fields, so no part of a planted triple can be
explained by a pair: the truth is exactly the planted set.
"""

import math
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
from pydantic import Field, model_validator

from ctrloom import storage
from ctrloom.config.base import StrictModel
from ctrloom.config.types import Count, FewOrZero, Fraction, NotNegative, Positive, Rate, Seed
from ctrloom.progress import Advance, progress

CHUNK = 100_000
PILOT = 100_000  # rows used to determine the threshold
LARGEST_TABLE = 20_000_000
Size = Annotated[int, Field(ge=2, le=10**8)]


class SynthConfig(StrictModel):
    """Configuration of synthetic clicks."""

    rows: Count = 200_000
    fields: Annotated[int, Field(ge=2, le=500)] = 12
    sizes: tuple[Size, ...] = (200,)  # values per field, cycled over the fields
    pairs: FewOrZero = 6
    # Additional pairs, each a full random table over two of the fields with fewest values, which must be
    # memorized. The `pairs` are then between the fields with most values, where factorization is better.
    tables: FewOrZero = 0
    triples: FewOrZero = 0
    rank: FewOrZero = 4  # 0: a full random table, as in the paper
    main_effects: NotNegative = 0.5  # standard deviation of each field's own effect
    strength: Positive = 1.0  # standard deviation of each planted interaction
    noise: NotNegative = 1.0
    zipf: NotNegative = 1.0  # exponent; 0: all values equally frequent
    positive_rate: Rate = 0.3
    # If more than one: one file per day with `rows` rows each, and a column `time`
    days: Annotated[int, Field(ge=1, le=3650)] = 1
    first_day: date = date(2026, 1, 1)
    renewed: Fraction = 0.0  # share of a field's values replaced each day
    seed: Seed = 0

    @model_validator(mode="after")
    def _fits(self) -> "SynthConfig":
        for what, count, order in (("pairs", self.pairs, 2), ("triples", self.triples, 3)):
            if count > (most := math.comb(self.fields, order)):
                raise ValueError(f"{what}: {count} requested, but {self.fields} fields have only {most}")
        few, many = self.extremes()
        for what, count, fields in (("tables", self.tables, few), ("pairs", self.pairs, many)):
            if self.tables and (few == many or count > (most := math.comb(len(fields), 2))):
                reason = "all fields have equal sizes" if few == many else f"there are only {most}"
                raise ValueError(f"{what}: {count} requested together with tables, but {reason}; see sizes")
        return self

    def extremes(self) -> tuple[list[int], list[int]]:
        """The fields with the fewest values, and those with the most."""
        sizes = [self.sizes[f % len(self.sizes)] for f in range(self.fields)]
        few, many = ([f for f, n in enumerate(sizes) if n == bound(sizes)] for bound in (min, max))
        return few, many


class Planted:
    """The planted model; generates any number of rows."""

    def __init__(self, config: SynthConfig) -> None:
        self.config = config
        rng = np.random.default_rng([config.seed, 1])
        self.sizes = [config.sizes[f % len(config.sizes)] for f in range(config.fields)]
        self.shares = [_zipf(size, config.zipf) for size in self.sizes]
        self.names = tuple(f"field_{f:02d}" for f in range(config.fields))
        every, (few, many) = range(config.fields), config.extremes()
        chosen = [
            _choose(rng, many if config.tables else every, 2, config.pairs),
            _choose(rng, every, 3, config.triples),
            _choose(rng, few, 2, config.tables),
        ]
        self.interactions = [t for tuples in chosen for t in tuples]
        self.tables = chosen[2]
        self.main = [
            _centred(rng.standard_normal(size), [self.shares[f]]) for f, size in enumerate(self.sizes)
        ]
        self.terms = [self._term(rng, fields) for fields in self.interactions]
        pilot = self._score(self._draw([np.random.default_rng([config.seed, 2])] * config.fields, PILOT))
        noisy = pilot + config.noise * np.random.default_rng([config.seed, 3]).standard_normal(PILOT)
        self.cut = float(np.quantile(noisy, 1 - config.positive_rate))

    def _term(self, rng: np.random.Generator, fields: tuple[int, ...]) -> list[np.ndarray]:
        """One table over all fields of the term (rank 0), or one factor per field."""
        sizes, shares = [self.sizes[f] for f in fields], [self.shares[f] for f in fields]
        if self.config.rank == 0 or fields in self.tables:
            if np.prod(sizes, dtype=float) > LARGEST_TABLE:
                raise ValueError(
                    f"a full table over {' x '.join(map(str, sizes))} values is too large: set rank"
                )
            return [_centred(rng.standard_normal(sizes), shares)]
        factors = [rng.standard_normal((size, self.config.rank)) for size in sizes]
        factors = [f - share @ f for f, share in zip(factors, shares, strict=True)]
        second = np.prod([f.T @ (f * s[:, None]) for f, s in zip(factors, shares, strict=True)], axis=0)
        return [factors[0] / np.sqrt(second.sum()), *factors[1:]]

    def _draw(self, rng_F: Sequence[np.random.Generator], rows: int) -> np.ndarray:
        columns = [
            rng.choice(len(share), rows, p=share) for rng, share in zip(rng_F, self.shares, strict=True)
        ]
        return np.stack(columns, 1)

    def _score(self, values_NF: np.ndarray) -> np.ndarray:
        score = sum(self.config.main_effects * table[values_NF[:, f]] for f, table in enumerate(self.main))
        for fields, term in zip(self.interactions, self.terms, strict=True):
            ids = [values_NF[:, f] for f in fields]
            if len(term) == 1:
                effect = term[0][tuple(ids)]
            else:
                effect = np.prod([factor[i] for factor, i in zip(term, ids, strict=True)], axis=0).sum(1)
            score = score + self.config.strength * effect
        return np.asarray(score, dtype=float)

    def chunks(self, day: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Values (N, F) and labels (N,) of one day, in chunks."""
        # One generator per column, so that the rows do not depend on the chunk size.
        parts = ([4, i] if day == 0 else [4, i, day] for i in range(self.config.fields + 1))
        rng, *rng_F = (np.random.default_rng([self.config.seed, *part]) for part in parts)
        for start in range(0, self.config.rows, CHUNK):
            values_NF = self._draw(rng_F, min(CHUNK, self.config.rows - start))
            noise = self.config.noise * rng.standard_normal(len(values_NF))
            yield values_NF, (self._score(values_NF) + noise > self.cut).astype(np.int8)

    def tokens(self, day: int = 0) -> list[list[str]]:
        """Tokens of the values on one day, by field; a replaced value keeps its effects under a new token."""
        names = [[f"{f}v{v}" for v in range(size)] for f, size in enumerate(self.sizes)]
        for number in range(1, day + 1):
            rng = np.random.default_rng([self.config.seed, 5, number])
            for f, size in enumerate(self.sizes):
                for v in rng.choice(size, round(self.config.renewed * size), replace=False):
                    names[f][v] = f"{f}v{v}d{number}"
        return names

    @property
    def truth(self) -> dict[str, Any]:
        """The planted interactions, by field name."""
        planted = [[self.names[f] for f in fields] for fields in self.interactions]
        tables = [[self.names[f] for f in fields] for fields in self.tables]
        return {
            "interactions": planted,
            **({"tables": tables} if tables else {}),
            "config": self.config.model_dump(mode="json"),
        }


def synthesize(config: SynthConfig, output: Path) -> Path:
    """Write `clicks.csv` and `truth.json` to the directory `output`; returns the path of the clicks.

    With several days, the files are `clicks-2026-01-01.csv`, ..., and the returned path contains `{date}`.
    """
    planted = Planted(config)
    with progress("synth", config.rows * config.days) as advance:
        if config.days == 1:
            clicks = output / "clicks.csv"
            _write(planted, 0, clicks, advance)
        else:
            clicks = output / "clicks-{date}.csv"
            for day in range(config.days):
                called = (config.first_day + timedelta(days=day)).isoformat()
                _write(planted, day, output / f"clicks-{called}.csv", advance)
    storage.write_json(output / "truth.json", planted.truth)
    return clicks


def _write(planted: Planted, day: int, path: Path, advance: Advance) -> None:
    config, schema, written = planted.config, _arrow_schema(planted), 0
    midnight = datetime.combine(config.first_day + timedelta(days=day), time(), UTC).timestamp()
    tokens = planted.tokens(day)
    with storage.atomic_file(path) as temporary, pyarrow.csv.CSVWriter(temporary, schema) as writer:
        for values_NF, label_N in planted.chunks(day):
            columns = [np.asarray(t, dtype=object)[values_NF[:, f]] for f, t in enumerate(tokens)]
            if config.days > 1:
                place = np.arange(written, written + len(label_N))
                columns.append(np.int64(midnight) + place * 86_400 // config.rows)
            writer.write_batch(pa.record_batch([pa.array(label_N), *columns], schema=schema))
            written += len(label_N)
            advance(len(label_N))


def _arrow_schema(planted: Planted) -> pa.Schema:
    columns = [("click", pa.int8()), *((name, pa.string()) for name in planted.names)]
    return pa.schema([*columns, *([("time", pa.int64())] if planted.config.days > 1 else [])])


def _choose(rng: np.random.Generator, fields: Sequence[int], order: int, count: int) -> list[tuple[int, ...]]:
    every = list(combinations(fields, order))
    return sorted(every[i] for i in rng.choice(len(every), count, replace=False))


def _zipf(size: int, exponent: float) -> np.ndarray:
    weights = np.arange(1, size + 1, dtype=float) ** -exponent
    return weights / weights.sum()


def _centred(table: np.ndarray, shares: Sequence[np.ndarray]) -> np.ndarray:
    """Remove the mean along every axis, weighted by the shares, then scale to unit variance."""
    for axis, share in enumerate(shares):
        mean = np.tensordot(table, share, (axis, 0))
        table = table - np.expand_dims(mean, axis)
    weights = shares[0]
    for share in shares[1:]:
        weights = np.multiply.outer(weights, share)
    return table / np.sqrt((weights * table**2).sum())
