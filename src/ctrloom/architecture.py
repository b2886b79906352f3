"""The result of a search: the file that searches write and models read."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self, get_args

from pydantic import Field, model_validator

from ctrloom import storage
from ctrloom.config.base import StrictModel
from ctrloom.config.combinations import combinations_of
from ctrloom.config.types import Width
from ctrloom.schema import Schema

Function = Literal["inner", "vector_kernel", "scalar_kernel", "outer", "hadamard", "memorize"]
FUNCTIONS: tuple[Function, ...] = get_args(Function)
KERNELS = {"vector_kernel", "scalar_kernel", "outer"}  # AIM's functions with weights of their own
Operator = Literal["skip", "senet", "attention", "fm", "slp", "conv"]
OPERATORS: tuple[Operator, ...] = get_args(Operator)


class Interaction(StrictModel):
    """One selected interaction: its fields in schema order, its function and its score.

    The same fields can appear with several functions (AIM).
    """

    fields: tuple[str, ...]
    function: Function = "inner"
    score: float | None = None

    @property
    def order(self) -> int:
        """Number of fields."""
        return len(self.fields)


class KeptPositions(StrictModel):
    """Embedding positions of one field that the interactions of one function and order use."""

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

    Nodes are numbered from the inputs: node 0 of the interaction cell is the embedding; nodes 0 and 1 of
    the ensemble cell are the interaction cell's output and the second embedding. `nodes` intermediate nodes
    follow in each cell.
    """

    nodes: int = Field(ge=1, le=64)
    interaction: tuple[Edge, ...]
    ensemble: tuple[Edge, ...]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name, inputs, edges in (("interaction", 1, self.interaction), ("ensemble", 2, self.ensemble)):
            for edge in edges:
                if not (0 <= edge.source < edge.target and inputs <= edge.target < inputs + self.nodes):
                    raise ValueError(
                        f"cells.{name}: invalid edge from node {edge.source} to {edge.target}; there are "
                        f"{inputs} input(s) and {self.nodes} nodes, and edges must go to a higher node"
                    )
            if fed := set(range(inputs, inputs + self.nodes)) - {edge.target for edge in edges}:
                raise ValueError(f"cells.{name}: node {min(fed)} has no incoming edge")
        return self


class Provenance(StrictModel):
    """The search that produced an architecture."""

    data_fingerprint: str
    schema_fingerprint: str
    code_version: str
    seed: int
    config: dict[str, Any]
    search_seconds: float


class Architecture(StrictModel):
    """Interactions of any order over named fields, and the other choices of a search.

    `positions` lists the kept positions of embeddings of `embedding_size` (AIM); a field, order and function
    without an entry keeps all positions. `cells` is AutoPI's graph, which has no individual interactions.
    """

    version: Literal[1] = 1
    method: str
    fields: tuple[str, ...]
    interactions: tuple[Interaction, ...]
    embedding_size: Width | None = None
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
                raise ValueError(f"interaction {interaction.fields}: unknown field {unknown[0]!r}")
            places = [position[name] for name in interaction.fields]
            if len(places) < 2 or places != sorted(set(places)):
                raise ValueError(
                    f"interaction {interaction.fields}: must list at least two fields, in field order"
                )
            if (key := (interaction.function, *interaction.fields)) in seen:
                raise ValueError(f"interaction {interaction.fields}: duplicate")
            seen.add(key)
        return self

    @model_validator(mode="after")
    def _positions_fit(self) -> Self:
        for kept in self.positions:
            what = f"positions of {kept.field!r}, order {kept.order}, {kept.function}"
            if kept.field not in self.fields:
                raise ValueError(f"{what}: unknown field")
            if self.embedding_size is None:
                raise ValueError(f"{what}: embedding_size is required")
            places = list(kept.positions)
            if places != sorted(set(places)) or any(not 0 <= p < self.embedding_size for p in places):
                raise ValueError(f"{what}: must be ascending and between 0 and {self.embedding_size - 1}")
        return self

    @classmethod
    def complete(
        cls,
        fields: Sequence[str],
        orders: Sequence[int] = (2,),
        method: str = "complete",
        functions: Sequence[Function] = ("inner",),
    ) -> Self:
        """All interactions of the given orders, for models without a search."""
        tuples = [t for order in orders for t in combinations_of(fields, order)]
        every = (Interaction(fields=t, function=f) for f in functions for t in tuples)
        return cls(method=method, fields=tuple(fields), interactions=tuple(every))

    @property
    def fingerprint(self) -> str:
        """SHA-256 over what defines the model; excludes scores, strengths and provenance."""
        kept: list[Any] = [self.fields, [[i.function, *i.fields] for i in self.interactions]]
        if self.positions:
            kept.append([self.embedding_size, [list(p.model_dump().values()) for p in self.positions]])
        if self.cells:
            cells = (self.cells.interaction, self.cells.ensemble)
            kept += [self.cells.nodes, [[(e.source, e.target, e.operator) for e in c] for c in cells]]
        return hashlib.sha256(json.dumps(kept).encode()).hexdigest()

    @property
    def is_empty(self) -> bool:
        """Whether a model built from it has no interactions."""
        return not self.interactions and self.cells is None

    @property
    def orders(self) -> tuple[int, ...]:
        """Orders of the interactions, ascending."""
        return tuple(sorted({interaction.order for interaction in self.interactions}))

    def functions(self, order: int) -> tuple[Function, ...]:
        """Functions used by the interactions of one order."""
        found = {i.function for i in self.interactions if i.order == order}
        return tuple(function for function in FUNCTIONS if function in found)

    @property
    def has_functions(self) -> bool:
        """Whether it has AIM's functions or kept positions, beyond inner products of whole embeddings."""
        return bool(self.positions) or any(i.function in KERNELS for i in self.interactions)

    @property
    def groups(self) -> dict[str, tuple[tuple[str, ...], ...]]:
        """Field tuples of the interactions that one layer models, by the name of the layer.

        A layer has all interactions of an order ("2"); with functions, of an order and function ("2_outer").
        """
        if not self.has_functions:
            return {str(order): self.of_order(order) for order in self.orders}
        return {f"{o}_{f}": self.of_order(o, f) for o in self.orders for f in self.functions(o)}

    @property
    def selection(self) -> Self:
        """The selection of fields alone: inner products of whole embeddings."""
        fields = [names for order in self.orders for names in self.of_order(order)]
        return self.model_copy(
            update={
                "interactions": tuple(Interaction(fields=names) for names in fields),
                "embedding_size": None,
                "positions": (),
            }
        )

    def of_order(self, order: int, function: Function | None = None) -> tuple[tuple[str, ...], ...]:
        """Distinct field tuples of the interactions of one order, in schema order.

        If `function` is given, only those with that function.
        """
        position = {name: i for i, name in enumerate(self.fields)}
        chosen = {i.fields for i in self.interactions if i.order == order and function in (None, i.function)}
        return tuple(sorted(chosen, key=lambda names: [position[name] for name in names]))

    def indices(
        self, schema: Schema, order: int, function: Function | None = None
    ) -> tuple[tuple[int, ...], ...]:
        """Field indices of the interactions of one order.

        Raises:
            SchemaMismatchError: a field is missing from `schema`.
        """
        return tuple(schema.indices(names) for names in self.of_order(order, function))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read and validate `architecture.json`."""
        return storage.read_record(path, cls)

    def save(self, path: str | Path) -> None:
        """Write `architecture.json` atomically."""
        storage.write_record(path, self, exclude_none=True)
