"""AIM's search on planted interactions, and properties of both stages."""

from collections import Counter
from itertools import combinations

import pytest
import torch
from small import Planting, planting, rows_of, schema_of

from ctrloom.architecture import Architecture, Interaction
from ctrloom.config import AIMConfig, AIMSettings
from ctrloom.config.base import ConfigError
from ctrloom.methods import aim
from ctrloom.methods.embedding_sizes import search_embeddings, usable
from ctrloom.methods.interface import SearchData, SearchResult
from ctrloom.models import build

FUNCTIONS = ("inner", "vector_kernel", "scalar_kernel", "outer")
SETTINGS = AIMSettings(embedding_size=6)
FAST = AIMConfig(batch_size=400, epochs=2, embedding_epochs=2, random_draws=2)


def search_data(made: Planting, rows: int | None = None) -> SearchData:
    return SearchData(made.rows[:rows], made.rows[:200], made.schema)


def of_functions(architecture: Architecture) -> Counter[tuple[int, str]]:
    return Counter((i.order, i.function) for i in architecture.interactions)


@pytest.fixture(scope="module")
def both(planted: Planting) -> SearchResult:
    return aim.search(search_data(planted), AIMConfig(random_draws=3), SETTINGS)


def test_planted_pairs_are_found_and_little_else(planted: Planting, both: SearchResult) -> None:
    kept = set(both.architecture.of_order(2))
    assert planted.interactions <= kept
    assert len(kept - planted.interactions) <= 1
    assert len(both.trace.candidates) == 15 * 4
    assert len({c.fields for c in both.trace.candidates}) == 15


def test_noise_keeps_almost_nothing(planted: Planting) -> None:
    shuffled = planted.rows[torch.randperm(len(planted.rows), generator=torch.Generator().manual_seed(0))]
    rows = planted.rows
    noise = SearchData(type(rows)(rows.ids_NC, shuffled.label_N), rows[:200], planted.schema)
    found = aim.search_interactions(noise, AIMConfig(random_draws=0), SETTINGS)
    assert len(found.architecture.interactions) <= 2


def test_stages_have_a_joint_trace(both: SearchResult) -> None:
    trace, found = both.trace, both.architecture
    kept = {(c.fields, c.function) for c in trace.candidates if c.kept}
    assert kept == {(i.fields, i.function) for i in found.interactions}
    assert all(c.score != 0 for c in trace.candidates if c.kept)
    assert (trace.method, trace.base, trace.orders) == ("aim", "aim", (2,))
    assert trace.epochs == (1 + 5) + (1 + 1 + 5)
    assert found.embedding_size == 6
    sizes = {(k.field, k.function): k.positions for k in found.positions}
    for each in trace.embedding_gates:
        left = tuple(i for i, gate in enumerate(each.gates) if gate)
        used = any(each.field in i.fields for i in found.interactions if i.function == each.function)
        expected = sizes.get((each.field, each.function), tuple(range(6))) if used else ()
        # Positions whose gate is zero are kept only where a confirmed interaction would be left without any.
        assert set(left) <= set(expected), each
        assert left == expected or expected == tuple(range(6)), each


def test_confirmed_interactions_count_the_positions_that_they_keep(planted: Planting) -> None:
    """Those of confirmed interactions are kept even if all their gates are 0."""
    data, config = search_data(planted, 4000), FAST.model_copy(update={"embedding_threshold": 50.0})
    pairs = [Interaction(fields=fields) for fields in sorted(planted.interactions)]
    given = Architecture(method="aim", fields=planted.schema.names, interactions=tuple(pairs))
    found = search_embeddings(data, given, config, SETTINGS)
    assert set(found.architecture.interactions) == set(pairs)
    assert any(not any(each.gates) for each in found.trace.embedding_gates)
    known = {k.field: len(k.positions) for k in found.architecture.positions}
    for each in found.trace.embedding_gates:
        assert each.kept == known.get(each.field, SETTINGS.embedding_size) > 0
    dropped = search_embeddings(data, given, config.model_copy(update={"confirm": False}), SETTINGS)
    assert [each.kept for each in dropped.trace.embedding_gates if not any(each.gates)].count(0) > 0


def test_controls_have_the_size_of_stage_one(both: SearchResult) -> None:
    (given,) = both.controls["whole-embeddings"]
    assert given.positions == ()
    assert len(both.controls["random"]) == 3
    assert all(of_functions(drawn) == of_functions(given) for drawn in both.controls["random"])
    assert len({drawn.fingerprint for drawn in both.controls["random"]}) > 1
    (unpruned,) = both.controls["unpruned"]
    assert of_functions(unpruned) == {(2, function): 15 for function in FUNCTIONS}


def test_the_same_seed_gives_the_same_search(planted: Planting) -> None:
    first, second = (aim.search(search_data(planted, 4000), FAST, SETTINGS) for _ in range(2))
    assert first.architecture == second.architecture
    clock = {"seconds": 0.0, "rows_per_second": 0.0, "stages": ()}
    assert first.trace.model_copy(update=clock) == second.trace.model_copy(update=clock)


def test_higher_order_candidates_extend_interactions_of_their_function() -> None:
    made = planting(rows=20_000, fields=5, sizes=(8,), pairs=2, triples=1, seed=2)
    alone = {"confirm": False, "permuted": 0, "embedding_l2": 0.0, "threshold": 3.0}
    config = FAST.model_copy(update={"order": 4, "epochs": 3, "pool": 2, **alone})
    trace = aim.search_interactions(search_data(made), config, SETTINGS).trace
    assert trace.orders == (2, 3, 4)
    for order in (3, 4):
        for function in FUNCTIONS:
            below = {
                c.fields: abs(c.score) for c in trace.of_order(order - 1) if c.function == function and c.kept
            }
            top = sorted(below, key=lambda names: -below[names])[:2]
            asked = {c.fields for c in trace.of_order(order) if c.function == function}
            assert asked == {
                names
                for names in combinations(made.schema.names, order)
                if any(set(t) < set(names) for t in top)
            }


@pytest.mark.parametrize(
    ("change", "functions", "positions"),
    [
        ({"search_functions": False, "search_embeddings": False}, {"inner": 15}, False),
        ({"search_functions": False}, None, True),
        ({"search_embeddings": False, "functions": ("inner", "outer")}, None, False),
    ],
)
def test_ablations(planted: Planting, change: dict, functions: dict | None, positions: bool) -> None:  # type: ignore[type-arg]
    found = aim.search(search_data(planted, 8000), FAST.model_copy(update=change), SETTINGS)
    counted = Counter(i.function for i in found.architecture.interactions)
    assert functions is None or counted == functions
    assert set(counted) <= set(change.get("functions", ("inner",)))
    assert (found.architecture.embedding_size is not None) is positions
    assert bool(found.trace.embedding_gates) is positions


def test_c_of_the_paper_sets_the_soft_threshold_of_each_stage(planted: Planting) -> None:
    data, one_pass = search_data(planted, 4000), {"permuted": 0, "confirm": False, "c": 1e-9}
    config = FAST.model_copy(update=one_pass | {"embedding_c": 1e-9})
    found = aim.search(data, config, SETTINGS).architecture
    assert of_functions(found) == {(2, function): 15 for function in FUNCTIONS}
    assert not found.positions, "every position of every field is kept"
    assert aim.search(data, config.model_copy(update={"embedding_c": 1e9}), SETTINGS).architecture.is_empty
    assert aim.search(data, config.model_copy(update={"c": 1e9}), SETTINGS).architecture.is_empty


def test_without_function_search_order_must_be_2() -> None:
    with pytest.raises(ConfigError, match="use order: 2"):
        AIMConfig.parse({"search_functions": False, "order": 3}, "search")


def test_embedding_search_refuses_shared_tables_early(planted: Planting) -> None:
    shared = SETTINGS.model_copy(update={"shared_embeddings": True})
    with pytest.raises(ValueError, match="search_embeddings: false"):
        aim.search(search_data(planted), FAST, shared)
    config = FAST.model_copy(update={"search_embeddings": False})
    assert aim.search(search_data(planted, 4000), config, shared).architecture.positions == ()


def test_fields_of_every_kind_can_be_searched() -> None:
    schema = schema_of(("categorical", 9), ("multivalued", 5, 3), ("numeric", 2))
    rows = rows_of(schema, 900)
    config = FAST.model_copy(update={"order": 3, "threshold": 0.01, "embedding_threshold": 0.01})
    found = aim.search(SearchData(rows, rows[:100], schema), config, SETTINGS)
    model = build("aim", found.architecture, schema, SETTINGS)
    assert model(rows.ids_NC, rows.factors_NC).shape == (900,)


def test_empty_result_is_valid_but_refused_by_embedding_search(planted: Planting) -> None:
    config = FAST.model_copy(update={"threshold": 1e3})
    found = aim.search(search_data(planted, 4000), config, SETTINGS)
    assert found.architecture.interactions == ()
    with pytest.raises(ValueError, match="no interactions"):
        search_embeddings(search_data(planted, 4000), found.architecture, config, SETTINGS)


@pytest.mark.parametrize("function", ["inner", "vector_kernel", "scalar_kernel"])
def test_product_positions_must_be_kept_in_all_fields(function: str) -> None:
    kept = torch.tensor([[1, 1, 0], [0, 1, 1], [1, 0, 0], [0, 1, 1]]).bool()
    alive, used = usable(kept, [(0, 1), (0, 2), (1, 2), (1, 3)], function)  # type: ignore[arg-type]
    assert alive == [True, True, False, True]
    assert used.int().tolist() == [[1, 1, 0], [0, 1, 1], [1, 0, 0], [0, 1, 1]]
    alive, used = usable(kept, [(1, 2), (0, 1)], function)  # type: ignore[arg-type]
    assert alive == [False, True]
    assert used.int().tolist() == [[0, 1, 0], [0, 1, 0], [0, 0, 0], [0, 0, 0]]


def test_an_outer_product_needs_any_position_of_each_field() -> None:
    kept = torch.tensor([[1, 1, 0], [0, 0, 1], [0, 0, 0], [1, 0, 1]]).bool()
    alive, used = usable(kept, [(0, 1), (0, 2), (2, 3)], "outer")
    assert alive == [True, False, False]
    assert used.int().tolist() == [[1, 1, 0], [0, 0, 1], [0, 0, 0], [0, 0, 0]]


def test_higher_rank_pairs_keep_more_positions() -> None:
    """Pairs whose terms have rank 1 need fewer positions than those of rank 5, at the same strength."""
    sizes = {}
    for rank in (1, 5):
        made = planting(rows=30_000, fields=4, sizes=(20,), pairs=2, rank=rank, seed=1)
        pairs = tuple(Interaction(fields=names) for names in sorted(made.interactions))
        given = Architecture(method="aim", fields=made.schema.names, interactions=pairs)
        hyper = AIMSettings(embedding_size=8)
        trace = search_embeddings(search_data(made), given, AIMConfig(), hyper).trace
        sizes[rank] = sum(gate != 0 for each in trace.embedding_gates for gate in each.gates)
    assert 0 < sizes[1] < 0.8 * sizes[5]
