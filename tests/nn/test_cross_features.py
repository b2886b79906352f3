"""Cross-feature lookup compared with dictionaries, and the embedding's gradient with the dense one."""

from collections import Counter

import numpy as np
import pytest
import torch
from conftest import Way
from hypothesis import given, settings
from hypothesis import strategies as st
from small import crossed, rows_of, schema_of

from ctrloom.config import MemorizingSettings
from ctrloom.nn.cross_features import CrossEmbedding, KeyTable, fill_crosses
from ctrloom.schema import CrossKeys, Schema, SchemaMismatchError

SCHEMA = schema_of(("categorical", 5), ("multivalued", 4, 2), ("categorical", 7), ("categorical", 3))
HYPER = MemorizingSettings(cross_hiding=0)
PAIRS = (("a", "c"), ("a", "d"), ("c", "d"))
KEYS = st.one_of(st.integers(0, 40), st.integers(0, 2**62))


@settings(max_examples=60, deadline=None)
@given(st.lists(KEYS, unique=True, max_size=80), st.lists(KEYS, max_size=80))
def test_key_table_matches_a_dictionary(keys: list[int], others: list[int]) -> None:
    table = KeyTable(len(keys))
    table.fill(torch.tensor(keys, dtype=torch.long))
    places = {key: place for place, key in enumerate(table.key_K[:-1].tolist())}
    assert set(places) == set(keys)
    asked = keys + others
    found = table(torch.tensor(asked, dtype=torch.long)).tolist()
    assert found == [places.get(key, -1) for key in asked]


def test_lookup_probes_whole_buckets() -> None:
    table, keys = KeyTable(8), torch.arange(100_000)
    crowded = keys[table._bucket(keys) == 3][:9]
    table.fill(crowded[:8])
    assert sorted(table(crowded[:8]).tolist()) == list(range(8))
    assert table(crowded[8:]).tolist() == [-1]


@pytest.mark.parametrize("asked", [0, 1, 300])
def test_kernel_lookup_matches_plain(asked: int, way: Way) -> None:
    schema, keys = crossed(SCHEMA)
    layer = CrossEmbedding(schema, PAIRS, 4, 0.1, HYPER)
    layer.fill(keys)
    ids = rows_of(schema, asked, seed=asked).ids_NC
    expected = loop_rows(layer, schema, keys, ids.numpy())
    assert layer.to(way.device).rows(ids.to(way.device)).tolist() == expected
    if asked:
        way.ran("_cross_rows")


def test_kernel_probes_whole_buckets(way: Way) -> None:
    """Eight of nine keys that share a bucket are in the table."""
    schema = schema_of(("categorical", 3), ("categorical", 5), ("categorical", 3), ("categorical", 3))
    schema, _ = crossed(schema)
    layer = CrossEmbedding(schema, (("a", "b"),), 4, 0.1, HYPER)
    layer.keys = KeyTable(8)
    every = torch.arange(2**31 - 200_000, 2**31)
    crowded = every[layer.keys._bucket(every) == 3][:9]
    layer.keys.fill(crowded[:8])
    # With zero left ids, a key is the right id plus a constant.
    ids_BC = torch.stack([torch.zeros_like(crowded), crowded], 1) - layer.shift_P
    layer, ids_BC = layer.to(way.device), (ids_BC * torch.tensor([0, 1])).int().to(way.device)
    found = layer.rows(ids_BC).flatten().tolist()
    assert sorted(found[:8]) == list(range(1, 9))
    assert found[8:] == [0]
    way.ran("_cross_rows")


def test_lookup_without_keys_is_refused() -> None:
    with pytest.raises(ValueError, match="fill_crosses"):
        KeyTable(3)(torch.tensor([1]))


def loop_rows(layer: CrossEmbedding, schema: Schema, keys: dict, ids: np.ndarray) -> list[list[int]]:
    """Row of each value, by loops over rows and pairs."""
    stored = {key: place for place, key in enumerate(layer.keys.key_K[:-1].tolist())}
    column = {name: schema.field_of_column.index(i) for i, name in enumerate(schema.names)}
    found = []
    for row in ids:
        found.append([])
        for p, (a, b) in enumerate(layer.pairs):
            local = [int(row[column[name]]) - schema.offsets[schema.names.index(name)] for name in (a, b)]
            key = local[0] * schema.fields[schema.names.index(b)].size + local[1]
            here = p
            if key in keys[a, b].key_K:
                here = len(layer.pairs) + stored[key + layer.bases[p]]
            found[-1].append(here)
    return found


@pytest.mark.parametrize("pairs", [PAIRS, PAIRS[1:2], ()])
def test_rows_match_a_loop(pairs: tuple) -> None:
    schema, keys = crossed(SCHEMA)
    layer = CrossEmbedding(schema, pairs, 4, 0.1, HYPER)
    fill_crosses(torch.nn.Sequential(layer), keys)
    rows = rows_of(schema, 50, seed=3)
    expected = loop_rows(layer, schema, keys, rows.ids_NC.numpy())
    assert layer.rows(rows.ids_NC).tolist() == expected
    emb = layer(rows.ids_NC)
    assert emb.shape == (50, len(pairs), 4)
    for b, places in enumerate(expected):
        for p, place in enumerate(places):
            assert torch.equal(emb[b, p], layer.weight[place])
    if pairs:  # all kinds of values occurred
        flat = [place for places in expected for place in places]
        assert min(flat) < len(pairs) <= max(flat)


def test_sparse_gradient_matches_dense_with_distinct_rows() -> None:
    schema, keys = crossed(SCHEMA)
    layer = CrossEmbedding(schema, PAIRS, 4, 0.1, HYPER)
    layer.fill(keys)
    ids = rows_of(schema, 60, seed=4).ids_NC
    weights = torch.randn(60, 3, 4)
    (layer(ids) * weights).sum().backward()
    assert layer.weight.grad is not None
    touched = layer.weight.grad._indices()[0].tolist()
    assert touched == sorted(set(layer.rows(ids).flatten().tolist()))
    dense = layer.weight.detach().clone().requires_grad_()
    (dense[layer.rows(ids)] * weights).sum().backward()
    torch.testing.assert_close(layer.weight.grad.to_dense(), dense.grad)


def test_saved_weights_include_keys() -> None:
    schema, keys = crossed(SCHEMA)
    layer, other = (CrossEmbedding(schema, PAIRS, 4, 0.1, HYPER) for _ in range(2))
    layer.fill(keys)
    other.load_state_dict(layer.state_dict())
    ids = rows_of(schema, 30).ids_NC
    assert torch.equal(layer(ids), other(ids))


def test_cross_hiding_replaces_single_values_at_its_rate() -> None:
    schema, keys = crossed(SCHEMA)
    layer = CrossEmbedding(schema, PAIRS, 4, 0.1, MemorizingSettings(cross_hiding=0.3))
    layer.fill(keys)
    ids = rows_of(schema, 40, seed=5).ids_NC
    known, draws = layer.eval().rows(ids), torch.stack([layer.train().rows(ids) for _ in range(2000)])
    stored = counts_of(layer, keys)
    hidden = (draws != known).double().mean(0)
    for b, p in np.ndindex(known.shape):
        row = int(known[b, p])
        assert hidden[b, p] == pytest.approx(0.3 if stored.get(row) == 1 else 0, abs=0.05)
        assert set(draws[:, b, p].tolist()) <= {p, row}
    assert 0 < (hidden > 0).double().mean() < 1
    assert torch.equal(layer.eval().rows(ids), known)


def counts_of(layer: CrossEmbedding, keys: CrossKeys) -> dict[int, int]:
    """Number of data rows per table row, by a loop over the keys."""
    place = {key: len(layer.pairs) + i for i, key in enumerate(layer.keys.key_K[:-1].tolist())}
    pairs = zip(layer.pairs, layer.bases, strict=False)
    return {
        place[int(key) + base]: int(count)
        for pair, base in pairs
        for key, count in zip(*keys[pair], strict=True)
    }


def test_pairs_without_cross_features_are_refused() -> None:
    schema, _ = crossed(SCHEMA)
    with pytest.raises(SchemaMismatchError, match=r"no cross features of a and b.*crosses.pairs: all"):
        CrossEmbedding(schema, [("a", "b")], 4, 0.1, HYPER)
    with pytest.raises(SchemaMismatchError, match=r"features of a and c.*set vocabulary.crosses and"):
        CrossEmbedding(SCHEMA, PAIRS, 4, 0.1, HYPER)


def test_recount_matches_a_table_of_those_rows() -> None:
    schema, keys = crossed(SCHEMA, share=1.0)
    layer = CrossEmbedding(schema, PAIRS, 4, 0.1, MemorizingSettings(cross_hiding=0.5))
    layer.fill(keys)
    ids = rows_of(schema, 40, seed=6).ids_NC
    part, known = ids[:15], layer.eval().rows(ids)
    layer.recount(part.split(7))
    counts = [Counter(known[:15, p].tolist()) for p in range(len(PAIRS))]
    for b, p in np.ndindex(known.shape):
        row = int(known[b, p])
        assert layer.rows(ids)[b, p] == (row if counts[p][row] else p)
    hidden = torch.stack([layer.train().rows(part) != known[:15] for _ in range(200)]).double().mean(0)
    singles = torch.tensor([[counts[p][int(row)] == 1 for p, row in enumerate(rows)] for rows in known[:15]])
    unseen = known[:15] < len(PAIRS)
    assert torch.equal(hidden > 0.3, singles & ~unseen)
    assert not hidden[~singles].any()
