"""What a search found: the one file that searches write and models read."""

import hashlib
import json
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import model_validator

from ctrloom import storage
from ctrloom.schema import Schema
from ctrloom.section import Section


class Interaction(Section):
    """One kept interaction: its fields in schema order, how it is modelled, and how strong it was."""

    fields: tuple[str, ...]
    function: Literal["inner"] = "inner"
    score: float | None = None

    @property
    def order(self) -> int:
        """Number of fields."""
        return len(self.fields)


class Provenance(Section):
    """Where an architecture comes from."""

    data_fingerprint: str
    schema_fingerprint: str
    code_version: str
    seed: int
    config: dict[str, Any]
    search_seconds: float


class Architecture(Section):
    """Interactions of any order over named fields."""

    version: Literal[1] = 1
    method: str
    fields: tuple[str, ...]
    interactions: tuple[Interaction, ...]
    provenance: Provenance | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        position = {name: i for i, name in enumerate(self.fields)}
        seen: set[tuple[str, ...]] = set()
        for interaction in self.interactions:
            unknown = [name for name in interaction.fields if name not in position]
            if unknown:
                raise ValueError(f"interaction {interaction.fields} names the unknown field {unknown[0]!r}")
            places = [position[name] for name in interaction.fields]
            if len(places) < 2 or places != sorted(set(places)):
                raise ValueError(
                    f"interaction {interaction.fields} must name two or more fields in field order"
                )
            if interaction.fields in seen:
                raise ValueError(f"interaction {interaction.fields} stands twice")
            seen.add(interaction.fields)
        return self

    @classmethod
    def complete(cls, fields: Sequence[str], orders: Sequence[int] = (2,), method: str = "complete") -> Self:
        """Every interaction of the given orders: what a model without a search uses."""
        tuples = [t for order in orders for t in combinations(fields, order)]
        return cls(
            method=method, fields=tuple(fields), interactions=tuple(Interaction(fields=t) for t in tuples)
        )

    @property
    def fingerprint(self) -> str:
        """SHA-256 over what a model is built from: fields and interactions, without scores and provenance."""
        kept = [[interaction.function, *interaction.fields] for interaction in self.interactions]
        return hashlib.sha256(json.dumps([self.fields, kept]).encode()).hexdigest()

    @property
    def orders(self) -> tuple[int, ...]:
        """Orders that occur, ascending."""
        return tuple(sorted({interaction.order for interaction in self.interactions}))

    def of_order(self, order: int) -> tuple[tuple[str, ...], ...]:
        """Field names of the interactions of one order, in schema order."""
        position = {name: i for i, name in enumerate(self.fields)}
        chosen = [i.fields for i in self.interactions if i.order == order]
        return tuple(sorted(chosen, key=lambda names: [position[name] for name in names]))

    def indices(self, schema: Schema, order: int) -> tuple[tuple[int, ...], ...]:
        """Field positions of the interactions of one order.

        Raises:
            SchemaMismatchError: a field that `schema` does not have.
        """
        return tuple(schema.indices(names) for names in self.of_order(order))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read and validate `architecture.json`."""
        return cls.parse(storage.read_json(path), str(path))

    def save(self, path: str | Path) -> None:
        """Write `architecture.json`, whole or not at all."""
        storage.write_json(path, self.model_dump(mode="json", exclude_none=True))
