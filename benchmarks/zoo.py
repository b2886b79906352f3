"""Every model and every kind of architecture that a search method finds, small and with random weights.

Trees are grown on random clicks. Used by `export_parity.py` and by tests.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import torch
from torch import nn

from ctrloom.architecture import Architecture, CellGraph, Edge, Interaction, KeptPositions
from ctrloom.config import MODELS, ModelsConfig, SourceConfig
from ctrloom.data.batches.batch import Batch
from ctrloom.models import build
from ctrloom.nn.cross_features import fill_crosses
from ctrloom.schema import CountedKeys, Cross, CrossKeys, Field, Schema
from ctrloom.serving.export.rows import random_rows
from ctrloom.training.trees import fit_trees

SETTINGS: dict[str, Any] = {"embedding_size": 4, "hidden": [8, 6], "embedding_std": 0.4, "epochs": 1}
TREES = {"trees": 20, "leaves": 8, "min_rows_in_leaf": 3, "min_rows_in_category": 3}
OWN: dict[str, dict[str, Any]] = {
    "afn": {"logarithmic_neurons": 6, "plus": True},
    "finalmlp": {"second_hidden": [6, 4], "heads": 2, "gate_hidden": 5, "first_context": ["a", "c"]},
    "dcnv2": {"low_rank": 3},
    "finalnet": {"second_hidden": [6], "field_gates": True},
    "gdcn": {"structure": "parallel"},
    "masknet": {"parallel": [5, 4]},
    "dcnv3": {"heads": 2, "exponential_layers": 1, "linear_layers": 2},
    "fignn": {"heads": 2},
    "autogroup": {"groups": [3, 4, 2], "order_sizes": [4, 3]},
    "autoint": {"head_size": 3, "attention_layers": 2},
    "autointplus": {"head_size": 3, "attention_layers": 2, "reading": "paper"},
    **{name: TREES for name in ("gbdt", "gbdtlr", "gbdtpoly2")},
}


@dataclass(frozen=True)
class Specimen:
    """A model to be built: its name in a table, its name in the catalog, and its architecture."""

    title: str
    name: str
    architecture: Architecture
    settings: dict[str, Any]

    def build(self, schema: Schema, keys: CrossKeys, seed: int = 0) -> nn.Module:
        """The model with random weights and batch statistics, in evaluation mode."""
        torch.manual_seed(seed)
        hyper = ModelsConfig({"default": SETTINGS, self.name: {**OWN.get(self.name, {}), **self.settings}})
        model = build(self.name, self.architecture, schema, hyper.of(self.name))
        fill_crosses(model, keys)
        if MODELS[self.name].trees:
            train, valid = clicks(schema, 1500, 1), clicks(schema, 400, 2)
            fit_trees(model, train, valid, hyper.of(self.name), seed, self.title)
        for name, tensor in model.named_buffers():
            if name.endswith(("running_mean", "mean_EF")):
                tensor.uniform_(-0.2, 0.2)
            if name.endswith(("running_var", "variance_EF")):
                tensor.uniform_(0.5, 1.5)
        return model.eval()


def schema_and_keys(seed: int = 0) -> tuple[Schema, CrossKeys]:
    """Six fields of all kinds, and a random share of the keys of every cross."""
    made = [
        Field(name="a", column="a", kind="categorical", size=40),
        Field(name="b", column="b", kind="multivalued", size=9, width=3),
        Field(name="c", column="c", kind="categorical", size=25),
        Field(name="d", column="d", kind="numeric", size=2),
        Field(name="e", column="e", kind="categorical", size=5),
        Field(name="f", column="f", kind="numeric", size=2),
    ]
    rng, keys = np.random.default_rng(seed), dict[tuple[str, ...], CountedKeys]()
    for a, b in combinations([field for field in made if field.kind == "categorical"], 2):
        kept = np.flatnonzero(rng.random(a.size * b.size) < 0.6)
        keys[a.name, b.name] = CountedKeys(kept, rng.integers(1, 4, len(kept)))
    crosses = tuple(Cross(fields=p, size=1 + len(k.key_K), digest="") for p, k in keys.items())  # type: ignore[arg-type]
    columns = {"click": "label", **{field.name: field.kind for field in made}}
    source = SourceConfig.parse({"columns": columns}, "zoo")
    return Schema(fields=tuple(made), source=source, crosses=crosses, negatives_kept=0.5), keys


def clicks(schema: Schema, count: int, seed: int) -> Batch:
    """Random rows, whose labels depend on every kind of field."""
    rows = random_rows(schema, count, seed)
    assert rows.factors_NC is not None
    ids, number = rows.ids_NC.double(), rows.factors_NC[:, 5].double()
    logit = torch.sin(ids[:, 0] * 3) + torch.cos(ids[:, 4] * 1.7) * number.sign() + ids[:, 1] % 3 - 1
    drawn = torch.rand(count, generator=torch.Generator().manual_seed(seed))
    return Batch(rows.ids_NC, (drawn < (2 * logit).sigmoid()).float(), rows.factors_NC)


def specimens() -> dict[str, Specimen]:
    """All models, over all pairs and over selections if they use these, by title."""
    found = {}
    for name in MODELS:
        for case, architecture in _architectures(name, MODELS[name].selects):
            title = f"{name}, {case}" if case else name
            settings = {"perceptron": False} if case == "shared tables" else {}
            settings |= {"shared_embeddings": True} if case == "shared tables" else {}
            found[title] = Specimen(title, name, architecture, settings)
    return found


FIELDS = tuple("abcdef")
ALL_PAIRS = tuple(combinations(FIELDS, 2))
SOME_PAIRS = (("a", "b"), ("a", "e"), ("c", "d"), ("d", "f"))
TRIPLES = (("a", "b", "e"), ("b", "c", "d"))
CROSSED = (("a", "c"), ("a", "e"))


def _architectures(name: str, selects: bool) -> list[tuple[str, Architecture]]:
    special: dict[str, Callable[[], list[tuple[str, Architecture]]]] = {
        "aim": _aim,
        "optinter": _optinter,
        "autopi": lambda: [("all operators", _autopi())],
        "poly2": lambda: [("some crosses", _of(CROSSED)), ("all pairs", _of(ALL_PAIRS))],
        "gbdtpoly2": lambda: [("some crosses", _of(CROSSED))],
    }
    if name in special:
        return special[name]()
    if not selects:
        return [("", _of(()))]
    cases = [("all pairs", _of(ALL_PAIRS)), ("some pairs", _of(SOME_PAIRS))]
    if not MODELS[name].carries_functions:
        return cases
    (_, functions), (_, short), _ = _aim()
    return [
        *cases,
        ("third order", _of((*SOME_PAIRS, *TRIPLES))),
        ("functions", functions),
        ("functions of short tables", short),
    ]


def _of(tuples: tuple[tuple[str, ...], ...]) -> Architecture:
    chosen = tuple(Interaction(fields=fields) for fields in tuples)
    return Architecture(method="zoo", fields=FIELDS, interactions=chosen)


def _aim() -> list[tuple[str, Architecture]]:
    functions: list[tuple[tuple[str, ...], Any]] = [
        (("a", "b"), "inner"),
        (("a", "c"), "inner"),
        (("a", "c"), "vector_kernel"),
        (("b", "e"), "scalar_kernel"),
        (("c", "d"), "outer"),
        (("a", "b", "e"), "inner"),
        (("b", "c", "f"), "outer"),
    ]
    chosen = tuple(Interaction(fields=fields, function=function) for fields, function in functions)
    short = (
        KeptPositions(field="a", order=2, function="inner", positions=(0, 2)),
        KeptPositions(field="c", order=2, function="inner", positions=(1,)),
        KeptPositions(field="b", order=3, function="inner", positions=(0, 1, 3)),
    )
    whole = Architecture(method="aim", fields=FIELDS, interactions=chosen)
    kept = whole.model_copy(update={"embedding_size": 4, "positions": short})
    return [("all functions", whole), ("short tables", kept), ("shared tables", whole)]


def _optinter() -> list[tuple[str, Architecture]]:
    memorized = [Interaction(fields=pair, function="memorize") for pair in CROSSED]
    factorized = [Interaction(fields=pair, function="hadamard") for pair in (("b", "d"), ("c", "e"))]
    cases = {
        "both": (*memorized, *factorized),
        "memorized": tuple(memorized),
        "factorized": tuple(factorized),
    }
    return [
        (case, Architecture(method="optinter", fields=FIELDS, interactions=chosen))
        for case, chosen in cases.items()
    ]


def _autopi() -> Architecture:
    interaction = [
        (0, 1, "skip"),
        (0, 1, "senet"),
        (1, 2, "attention"),
        (0, 2, "fm"),
        (2, 3, "slp"),
        (0, 3, "conv"),
    ]
    ensemble = [
        (0, 2, "skip"),
        (1, 2, "senet"),
        (1, 3, "attention"),
        (2, 4, "fm"),
        (3, 4, "slp"),
        (0, 4, "conv"),
    ]
    cells = [
        tuple(Edge(source=source, target=target, operator=name) for source, target, name in edges)  # type: ignore[arg-type]
        for edges in (interaction, ensemble)
    ]
    graph = CellGraph(nodes=3, interaction=cells[0], ensemble=cells[1])
    return Architecture(method="autopi", fields=FIELDS, interactions=(), cells=graph)
