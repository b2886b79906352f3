"""Parameters that can change a score, and operations per row, against counts by hand."""

from itertools import combinations, pairwise

import pytest
import torch
from small import categorical_schema, crossed, rows_of, schema_of

from ctrloom.architecture import Architecture, Interaction, KeptPositions
from ctrloom.config import MODELS, ModelsConfig
from ctrloom.models import build
from ctrloom.models.size import flops, size_of
from ctrloom.nn.cross_features import fill_crosses
from ctrloom.schema import Schema

FIELDS, SIZE, HIDDEN, ROWS = 5, 4, (8, 6), 7
SCHEMA = categorical_schema(FIELDS, ROWS)
SETTINGS = {"embedding_size": SIZE, "hidden": HIDDEN}
LINEAR = FIELDS + 1  # a sum of the weights of all fields (and zero), and the bias


def pairs(*chosen: tuple[int, int]) -> Architecture:
    names = SCHEMA.names
    interactions = tuple(Interaction(fields=(names[i], names[j])) for i, j in chosen)
    return Architecture(method="test", fields=names, interactions=interactions)


def model(name: str, architecture: Architecture, schema: Schema = SCHEMA) -> torch.nn.Module:
    torch.manual_seed(0)
    return build(name, architecture, schema, ModelsConfig({"default": SETTINGS}).of(name)).eval()


def test_flops_of_fm_and_of_a_perceptron_are_those_counted_by_hand() -> None:
    every = Architecture.complete(SCHEMA.names)
    assert flops(model("lr", every), SCHEMA) == LINEAR
    # (|s|^2 - sum |e|^2) / 2: the sum s, two squared norms and their roots squared, difference, half
    closed = FIELDS * SIZE + 2 * SIZE + 2 * FIELDS * SIZE + 2 + 2
    fm = LINEAR + closed + 2  # added to zero, and to the linear part
    assert flops(model("fm", every), SCHEMA) == fm
    layers = [FIELDS * SIZE, *HIDDEN, 1]
    mlp = sum(2 * a * b + b for a, b in pairwise(layers)) + sum(HIDDEN)  # and ReLUs
    assert flops(model("deepfm", every), SCHEMA) == fm + mlp + 1
    assert flops(model("fnn", every), SCHEMA) == mlp


@pytest.mark.parametrize("name", [name for name in MODELS if not MODELS[name].trees])
def test_every_model_has_a_size(name: str) -> None:
    schema, keys = crossed(schema_of(("categorical", 6), ("categorical", 5), ("categorical", 4)), 0.5)
    if name == "autopi":
        pytest.skip("has no graph")
    built = model(name, Architecture.complete(schema.names), schema)
    fill_crosses(built, keys)
    found = size_of(built, schema)
    assert found.flops
    assert found.parameters == found.stored == sum(p.numel() for p in built.parameters())
    assert 0 < found.dense < found.stored


@pytest.mark.parametrize(
    ("name", "chosen", "used"),
    [
        ("fm", [(0, 1), (1, 3)], 3 * ROWS * SIZE),
        ("autofm", [(2, 4)], 2 * ROWS * SIZE),
        ("fm", [], 0),
        ("deepfm", [(0, 1)], FIELDS * ROWS * SIZE),  # the perceptron sees every field
        ("nfm", [(0, 1)], 2 * ROWS * SIZE),
        ("fmfm", [(0, 1)], 2 * ROWS * SIZE),
        ("ffm", [(0, 1), (0, 2)], 4 * ROWS * SIZE),
    ],
)
def test_embeddings_of_fields_without_interactions_are_not_counted(
    name: str, chosen: list[tuple[int, int]], used: int
) -> None:
    built = model(name, pairs(*chosen))
    found = size_of(built, SCHEMA)
    assert found.stored == sum(p.numel() for p in built.parameters())
    assert found.parameters == used + FIELDS * ROWS + found.dense


def test_an_unused_embedding_really_changes_nothing() -> None:
    built, rows = model("autofm", pairs((1, 2))), rows_of(SCHEMA, 20)
    before = built(rows.ids_NC, None)
    with torch.no_grad():
        for field in (0, 3, 4):
            built.embedding.weight[field * ROWS : (field + 1) * ROWS] = 7.0
    assert torch.equal(built(rows.ids_NC, None), before)


def test_functions_have_their_tables_and_weights() -> None:
    a, b, c, d, _ = SCHEMA.names
    chosen = (((a, b), "outer"), ((a, c), "outer"), ((a, b), "vector_kernel"), ((a, b, d), "scalar_kernel"))
    architecture = Architecture(
        method="aim",
        fields=SCHEMA.names,
        interactions=tuple(Interaction(fields=fields, function=f) for fields, f in chosen),  # type: ignore[arg-type]
    )
    tables = (3 + 2 + 3) * ROWS * SIZE  # of the fields that each order and function uses
    kernels = 2 * SIZE + SIZE + 1
    for name, embedding in (("fm", 0), ("fwfm", 0), ("hofm", 0), ("deepfm", FIELDS * ROWS * SIZE)):
        built = model(name, architecture)
        with torch.no_grad():
            for parameter in built.parameters():
                parameter.normal_()
        found = size_of(built, SCHEMA)
        assert found.parameters == found.stored == sum(p.numel() for p in built.parameters())
        assert found.parameters - found.dense == tables + embedding + FIELDS * ROWS
        if not embedding:
            assert found.dense == kernels + 1 + (len(chosen) if name == "fwfm" else 0)


def test_removed_positions_of_aim_are_not_counted() -> None:
    names = SCHEMA.names
    kept = {names[0]: (0, 2), names[1]: (2, 3), names[2]: (1,)}
    architecture = Architecture(
        method="aim",
        fields=names,
        interactions=tuple(Interaction(fields=each) for each in combinations(names[:3], 2)),
        embedding_size=SIZE,
        positions=tuple(
            KeptPositions(field=name, order=2, function="inner", positions=kept.get(name, ()))
            for name in names
        ),
    )
    built = build("aim", architecture, SCHEMA, ModelsConfig({"default": {**SETTINGS}}).of("aim")).eval()
    found = size_of(built, SCHEMA)
    # Positions 0, 1 and 3 of a single field are multiplied with the zeros of the others.
    assert found.stored - found.parameters == (1 + 1 + 1) * ROWS
