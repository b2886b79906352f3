"""Permuted copies and confirmation: what keeps noise out of what a search keeps."""

from itertools import combinations

import numpy as np
import pytest
import torch
from small import Planting, categorical_schema, planting, rows_of, schema_of

from ctrloom.architecture import Architecture, Function, Interaction
from ctrloom.config import (
    AIMConfig,
    AIMSettings,
    AutoFISConfig,
    GatedSettings,
    Hyperparameters,
    OptInterConfig,
)
from ctrloom.data.batches.batch import Batch
from ctrloom.data.synthetic import Planted, SynthConfig
from ctrloom.methods import aim, autofis
from ctrloom.methods.confirmation import Confirmation
from ctrloom.methods.gates import GateSearch, GateVector, Schedule
from ctrloom.methods.interface import SearchData
from ctrloom.methods.permuted import SUFFIX, is_copy, with_copies
from ctrloom.methods.statistics.cell_models import factorized, gain, memorized
from ctrloom.methods.statistics.cells import Cells
from ctrloom.methods.statistics.evidence import p_values
from ctrloom.models import build

CPU = torch.device("cpu")


def data_of(made: Planting) -> SearchData:
    tenth = len(made.rows) // 10
    return SearchData(made.rows[tenth:], made.rows[:tenth], made.schema)


def test_permuted_fields_are_the_same_values_in_another_order() -> None:
    schema = schema_of(("categorical", 5), ("numeric", 2), ("multivalued", 6, 2))
    rows = rows_of(schema, 400)
    every = Architecture.complete(schema.names)
    data, whole = with_copies(SearchData(rows, rows, schema), every, 2, 30, 0)
    assert isinstance(data.train, Batch)
    copies = [interaction for interaction in whole.interactions if is_copy(interaction.fields)]
    assert {copy.fields for copy in copies} == {(*f[:-1], f[-1] + SUFFIX) for f in every.of_order(2)}
    assert torch.equal(data.train.ids_NC[:, :4], rows.ids_NC)
    names, columns, start = data.schema.names, {}, 0
    for field in data.schema.fields:
        columns[field.name] = range(start, start := start + field.width)
    for name in ("b", "c"):
        place, copy = schema.names.index(name), names.index(name + SUFFIX)
        shift = data.schema.offsets[copy] - schema.offsets[place]
        real, permuted = list(columns[name]), list(columns[name + SUFFIX])
        ids_NC, copied_NC = rows.ids_NC[:, real], data.train.ids_NC[:, permuted] - shift
        assert not torch.equal(ids_NC, copied_NC)
        assert data.train.factors_NC is not None
        assert rows.factors_NC is not None
        joined = [
            sorted(zip(ids.tolist(), factors.tolist(), strict=True))
            for ids, factors in (
                (ids_NC, rows.factors_NC[:, real]),
                (copied_NC, data.train.factors_NC[:, permuted]),
            )
        ]
        assert joined[0] == joined[1]


def test_a_search_keeps_what_is_stronger_than_every_copy() -> None:
    schema = categorical_schema(3)
    rows = rows_of(schema, 500)
    every = Architecture.complete(schema.names)
    data, whole = with_copies(SearchData(rows, rows, schema), every, 2, 2, 0)
    model = build("autofm", whole, data.schema, GatedSettings(embedding_size=2))
    group = GateVector(model.get_parameter("gates.2.gate_P"), whole.of_order(2))
    schedule = Schedule.of(AutoFISConfig(epochs=1, confirm=False), Hyperparameters(), data, 2)
    gate_search = GateSearch(model, [group], data.train, schedule, torch.Generator())
    gates = {fields: 0.3 if is_copy(fields) else 0.1 for fields in whole.of_order(2)}
    gates["a", "b"], gates["a", "c"] = 0.31, -0.4
    with torch.no_grad():
        group.gate_P.copy_(torch.tensor([gates[fields] for fields in group.interactions]))
    assert [each.fields for each in gate_search.kept] == [("a", "b"), ("a", "c")]
    larger = {name: 10**6 for name in data.schema.names if name.endswith(SUFFIX)}  # copies of more values
    gate_search.sizes = larger
    assert len(gate_search.kept) == 3


def test_confirmation_drops_noise_and_keeps_what_was_planted() -> None:
    made = planting(rows=20_000, fields=6, sizes=(15,), pairs=2, seed=3)
    every = [Interaction(fields=pair) for pair in combinations(made.schema.names, 2)]
    confirmation = Confirmation(data_of(made), AutoFISConfig(), CPU)
    confirmed = {each.fields for each in confirmation.of(every, every)}
    assert confirmed == made.interactions
    assert all((confirmation.p_values[pair] < 1e-3) == (pair in confirmed) for pair in confirmation.p_values)
    off = Confirmation(data_of(made), AutoFISConfig(confirm=False), CPU)
    assert off.of(every, every) == tuple(every)


def test_choosing_among_many_candidates_is_accounted_for() -> None:
    """The most significant of many pairs without interaction is not confirmed."""
    made = planting(rows=4000, fields=14, sizes=(12,), pairs=0, seed=1)
    every = [Interaction(fields=pair) for pair in combinations(made.schema.names, 2)]
    data = data_of(made)
    tested = Confirmation(data, AutoFISConfig(), CPU)
    assert tested.of(every, every) == ()
    best = min(tested.p_values, key=lambda pair: tested.p_values[pair])
    assert tested.p_values[best] < 0.05
    again = Confirmation(data, AutoFISConfig(), CPU)
    assert again.of([Interaction(fields=best)], every) == ()


@pytest.mark.parametrize("size", [20, 400])
def test_searches_keep_nothing_where_there_is_no_interaction(size: int) -> None:
    data = data_of(planting(rows=12_000, fields=6, sizes=(size,), pairs=0, seed=size))
    found = autofis.search(data, AutoFISConfig(random_draws=0, epochs=2), Hyperparameters())
    assert found.architecture.interactions == ()
    assert {c.p_value is not None for c in found.trace.candidates if c.unconfirmed} <= {True}
    assert all(is_copy(copy.fields) for copy in found.trace.permuted)
    assert not any(is_copy(candidate.fields) for candidate in found.trace.candidates)
    small = AIMConfig(random_draws=0, epochs=2, search_embeddings=False)
    assert aim.search(data, small, AIMSettings(embedding_size=4)).architecture.interactions == ()


def test_a_product_is_told_from_a_table() -> None:
    """Values with few rows per cell: only a product generalizes; many rows: only a table fits."""
    rng = np.random.default_rng(0)
    for size, rank, better in ((100, 2, 1), (8, 0, -1)):
        code = [torch.from_numpy(rng.integers(0, size, 30_000)) for _ in range(2)]
        factors = [rng.standard_normal((size, max(rank, 1))) for _ in range(2)]
        table = torch.from_numpy(factors[0] @ factors[1].T if rank else rng.standard_normal((size, size)))
        curvature_N = torch.full((30_000,), 0.2, dtype=torch.float64)
        noise_N = torch.from_numpy(rng.standard_normal(30_000)) * 0.2**0.5
        residual_N = 0.2 * table[code[0], code[1]] + noise_N
        here, there = torch.arange(24_000), torch.arange(24_000, 30_000)
        sides = tuple(Cells(side, size) for side in code)
        cells = Cells.of([0, 1], dict(enumerate(code)), (size, size))
        effect_C, variance = memorized(cells.rows(here), residual_N[here], curvature_N[here])
        if not rank:
            assert variance == pytest.approx(1.0, abs=0.35)
        both = (sides[0].rows(here), sides[1].rows(here))
        first_GR, second_GR = factorized(both, residual_N[here], curvature_N[here], variance, 0)
        product_N = (first_GR[code[0][there]] * second_GR[code[1][there]]).sum(1)
        found = gain(product_N, effect_C[cells.of_row_N[there]], residual_N[there], curvature_N[there])
        assert found.t * better > 3


@pytest.mark.parametrize("chosen", ["memorize", "hadamard"])
def test_a_table_becomes_a_product_where_that_is_better_and_no_product_a_table(chosen: Function) -> None:
    shape = {"rows": 40_000, "fields": 6, "sizes": (8, 100), "tables": 1, "pairs": 1, "rank": 2}
    made = planting(**shape, seed=1)
    every = [Interaction(fields=pair) for pair in combinations(made.schema.names, 2)]
    kept = [Interaction(fields=pair, function=chosen) for pair in sorted(made.interactions)]
    confirmation = Confirmation(data_of(made), OptInterConfig(), CPU)
    changed = confirmation.with_products(confirmation.of(kept, every), 0)
    (table,) = Planted(SynthConfig(**shape, seed=1)).tables
    small = tuple(made.schema.names[field] for field in table)
    expected = {each.fields: chosen if each.fields == small else "hadamard" for each in kept}
    assert {each.fields: each.function for each in changed} == expected
    off = Confirmation(data_of(made), OptInterConfig(confirm=False), CPU)
    assert off.with_products(kept, 0) == tuple(kept)


def test_a_part_of_a_triple_is_tested_given_the_triple() -> None:
    """A strong triple makes its pairs significant on their own: it spreads the logits of their values."""
    made = planting(rows=60_000, fields=5, sizes=(20,), pairs=1, triples=1, seed=1)
    every = [Interaction(fields=fields) for o in (2, 3) for fields in combinations(made.schema.names, o)]
    confirmation = Confirmation(data_of(made), AutoFISConfig(), CPU)
    kept = confirmation.of(every, every)
    after = {each.fields for each in confirmation.given_higher(kept)}
    assert made.interactions <= after < {each.fields for each in kept}
    assert len(after - made.interactions) <= 1


def test_a_known_triple_does_not_take_over_the_effects_of_its_parts() -> None:
    """Fitted too closely, it would: t values of its parts, real or not, would be far too small."""
    nothing: list[float] = []
    for seed in range(4):
        made = planting(rows=60_000, fields=5, sizes=(40,), pairs=1, triples=1, seed=seed)
        evidence = Confirmation(data_of(made), AutoFISConfig(), CPU)._evidence()
        truth = {made.schema.indices(fields) for fields in made.interactions}
        triple = next(fields for fields in truth if len(fields) == 3)
        for part in combinations(triple, 2):
            known = dict.fromkeys(truth - {part}, 9.0)
            t = evidence.t_values([part], known, "test")[part]
            if part in truth:
                assert t > 25
            else:
                nothing.append(t)
    assert len(nothing) > 9
    assert abs(np.mean(nothing)) < 2


def test_a_pair_is_tested_given_triples_and_pairs_of_other_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    """But not given one that shares a field: which of two with one effect to keep is up to the search."""
    made = planting(rows=2_000, fields=6, sizes=(4,), pairs=1, seed=1)
    confirmation = Confirmation(data_of(made), AutoFISConfig(), CPU)
    evidence = confirmation.evidence = confirmation._evidence()
    confirmation.searched = {2: 15, 3: 20}
    confirmation.known = {(0, 1): 9.0, (1, 2): 9.0, (3, 4): 5.0, (0, 3, 5): 9.0}
    confirmation.tested = p_values(confirmation.known)
    given: dict[tuple[int, ...], set[tuple[int, ...]]] = {}

    def t_values(candidates, known, title):
        given[candidates[0]] = {*known}
        return dict.fromkeys(candidates, 1.0 if candidates == [(3, 4)] else 20.0)

    monkeypatch.setattr(evidence, "t_values", t_values)
    confirmation.given_higher([])
    assert given == {
        (0, 1): {(3, 4), (0, 3, 5)},
        (1, 2): {(3, 4), (0, 3, 5)},
        (3, 4): {(0, 1), (1, 2), (0, 3, 5)},
    }
    assert confirmation.known == {(0, 1): 9.0, (1, 2): 9.0, (0, 3, 5): 9.0}, "no test makes up for another"
    assert confirmation.tested[3, 4] == pytest.approx(0.1587, abs=1e-4)
