"""What a search found: the one file that searches write and models read."""

import hashlib
import json
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, Literal, Self, get_args

from pydantic import model_validator

from ctrloom import storage
from ctrloom.config.base import StrictModel
from ctrloom.schema import Schema

Function = Literal["inner", "vector_kernel", "scalar_kernel", "outer", "hadamard", "memorize"]
FUNCTIONS: tuple[Function, ...] = get_args(Function)
Operator = Literal["skip", "senet", "attention", "fm", "slp", "conv"]
OPERATORS: tuple[Operator, ...] = get_args(Operator)


class Interaction(StrictModel):
    """One kept interaction: its fields in schema order, how it is modelled, and how strong it was.

    One tuple of fields can be modelled by several functions (AIM).
    """

    fields: tuple[str, ...]
    function: Function = "inner"
    score: float | None = None

    @property
    def order(self) -> int:
        """Number of fields."""
        return len(self.fields)


class KeptPositions(StrictModel):
    """The positions of one field's embedding that the interactions of one function and order use."""

    field: str
    order: int
    function: Function
    positions: tuple[int, ...]


class Edge(StrictModel):
    """One operator between two nodes of a cell."""

    source: int
    target: int
    operator: Operator
    strength: float | None = None


class CellGraph(StrictModel):
    """AutoPI's two cells (AutoPI, section 4.2.1).

    Nodes are numbered from the inputs on: the interaction cell's node 0 is the embedding; the ensemble
    cell's node 0 is the interaction cell's output and its node 1 the second embedding. `nodes`
    intermediate nodes follow in each cell.
    """

    nodes: int
    interaction: tuple[Edge, ...]
    ensemble: tuple[Edge, ...]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name, inputs, edges in (("interaction", 1, self.interaction), ("ensemble", 2, self.ensemble)):
            for edge in edges:
                if not (0 <= edge.source < edge.target and inputs <= edge.target < inputs + self.nodes):
                    raise ValueError(
                        f"cells.{name}: there is no edge from node {edge.source} to {edge.target}; "
                        f"{self.nodes} nodes follow {inputs} input(s), and edges go upward"
                    )
            if fed := set(range(inputs, inputs + self.nodes)) - {edge.target for edge in edges}:
                raise ValueError(f"cells.{name}: nothing leads to node {min(fed)}")
        return self


class Provenance(StrictModel):
    """Where an architecture comes from."""

    data_fingerprint: str
    schema_fingerprint: str
    code_version: str
    seed: int
    config: dict[str, Any]
    search_seconds: float


class Architecture(StrictModel):
    """Interactions of any order over named fields, and what else a method decides.

    `positions` says what is left of embeddings of `embedding_size` (AIM); a field, order and function that
    is not named there keeps all of it. `cells` is AutoPI's graph, which has no single interactions.
    """

    version: Literal[1] = 1
    method: str
    fields: tuple[str, ...]
    interactions: tuple[Interaction, ...]
    embedding_size: int | None = None
    positions: tuple[KeptPositions, ...] = ()
    cells: CellGraph | None = None
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
            if (key := (interaction.function, *interaction.fields)) in seen:
                raise ValueError(f"interaction {interaction.fields} stands twice")
            seen.add(key)
        return self

    @model_validator(mode="after")
    def _positions_fit(self) -> Self:
        for kept in self.positions:
            what = f"positions of {kept.field!r}, order {kept.order}, {kept.function}"
            if kept.field not in self.fields:
                raise ValueError(f"{what}: there is no such field")
            if self.embedding_size is None:
                raise ValueError(f"{what}: need embedding_size, the size that they are positions of")
            places = list(kept.positions)
            if places != sorted(set(places)) or any(not 0 <= p < self.embedding_size for p in places):
                raise ValueError(f"{what}: must ascend and lie within 0 and {self.embedding_size - 1}")
        return self

    @classmethod
    def complete(
        cls,
        fields: Sequence[str],
        orders: Sequence[int] = (2,),
        method: str = "complete",
        functions: Sequence[Function] = ("inner",),
    ) -> Self:
        """Every interaction of the given orders: what a model without a search uses."""
        tuples = [t for order in orders for t in combinations(fields, order)]
        every = (Interaction(fields=t, function=f) for f in functions for t in tuples)
        return cls(method=method, fields=tuple(fields), interactions=tuple(every))

    @property
    def fingerprint(self) -> str:
        """SHA-256 over what a model is built from: no scores, no strengths, no provenance."""
        kept: list[Any] = [self.fields, [[i.function, *i.fields] for i in self.interactions]]
        if self.positions:
            kept.append([self.embedding_size, [list(p.model_dump().values()) for p in self.positions]])
        if self.cells:
            cells = (self.cells.interaction, self.cells.ensemble)
            kept += [self.cells.nodes, [[(e.source, e.target, e.operator) for e in c] for c in cells]]
        return hashlib.sha256(json.dumps(kept).encode()).hexdigest()

    @property
    def orders(self) -> tuple[int, ...]:
        """Orders that occur, ascending."""
        return tuple(sorted({interaction.order for interaction in self.interactions}))

    def functions(self, order: int) -> tuple[Function, ...]:
        """Functions that occur among the interactions of one order."""
        found = {i.function for i in self.interactions if i.order == order}
        return tuple(function for function in FUNCTIONS if function in found)

    def of_order(self, order: int, function: Function | None = None) -> tuple[tuple[str, ...], ...]:
        """Field names of the interactions of one order, in schema order and each once.

        With a function only those that it models.
        """
        position = {name: i for i, name in enumerate(self.fields)}
        chosen = {i.fields for i in self.interactions if i.order == order and function in (None, i.function)}
        return tuple(sorted(chosen, key=lambda names: [position[name] for name in names]))

    def indices(
        self, schema: Schema, order: int, function: Function | None = None
    ) -> tuple[tuple[int, ...], ...]:
        """Field positions of the interactions of one order.

        Raises:
            SchemaMismatchError: a field that `schema` does not have.
        """
        return tuple(schema.indices(names) for names in self.of_order(order, function))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read and validate `architecture.json`."""
        return cls.parse(storage.read_json(path), str(path))

    def save(self, path: str | Path) -> None:
        """Write `architecture.json`, whole or not at all."""
        storage.write_json(path, self.model_dump(mode="json", exclude_none=True))
