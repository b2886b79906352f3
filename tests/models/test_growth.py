"""A warm-started model with a grown vocabulary scores old values as before."""

import numpy as np
import pytest
import torch
from small import crossed, rows_of, schema_of
from torch import Tensor

from ctrloom.architecture import Architecture, Interaction, KeptPositions
from ctrloom.config import ModelsConfig
from ctrloom.config.base import ConfigError
from ctrloom.models import build
from ctrloom.models.growth import carry_over, cross_keys
from ctrloom.nn.cross_features import fill_crosses
from ctrloom.schema import CountedKeys, Schema, SchemaMismatchError

OLD = schema_of(("categorical", 5), ("multivalued", 6, 3), ("numeric", 2), ("categorical", 4))
NAMES = OLD.names
PAIRS = (("a", "d"),)
AIM = Architecture(
    method="aim",
    fields=NAMES,
    interactions=tuple(
        Interaction(fields=f, function=k) for f, k in ((("a", "b"), "outer"), (("b", "d"), "inner"))
    ),
    embedding_size=4,
    positions=(KeptPositions(field="b", order=2, function="outer", positions=(1, 3)),),
)
MODELS = {
    "lr": Architecture.complete(NAMES),
    "fm": Architecture.complete(NAMES, (2, 3)),
    "ffm": Architecture.complete(NAMES),
    "autodeepfm": Architecture.complete(NAMES, (2, 3)),
    "ipnn": Architecture.complete(NAMES),
    "autointplus": Architecture.complete(NAMES),
    "aim": AIM,
    "deepfm": AIM,
    "hofm": AIM,
    "poly2": Architecture(method="x", fields=NAMES, interactions=(Interaction(fields=("a", "d")),)),
}


def larger(schema: Schema, **more: int) -> Schema:
    fields = [f.model_copy(update={"size": f.size + more.get(f.name, 0)}) for f in schema.fields]
    return schema.model_copy(update={"fields": tuple(fields)})


def shifted(ids_NC: Tensor, before: Schema, after: Schema) -> Tensor:
    """Ids of the same values in the fused table of another schema."""
    by_field = np.subtract(after.offsets, before.offsets)
    return ids_NC + torch.from_numpy(by_field[list(before.field_of_column)].astype(np.int32))


def pair(name, before=OLD, after=None):
    """A model with random weights, and the grown one that is warm-started from it."""
    before, keys = crossed(before)
    after = larger(before, a=3, b=2, d=5) if after is None else after
    wide = [f.size for f in after.fields]
    moved = {}
    for (a, b), kept in keys.items():
        x, y = np.divmod(kept.key_K, before.fields[before.names.index(b)].size)
        new = np.array([(before.fields[before.names.index(a)].size + 1) * wide[after.names.index(b)]])
        key_K = np.concatenate([x * wide[after.names.index(b)] + y, new])
        moved[a, b] = CountedKeys(key_K, np.ones(len(key_K), int))
    crosses = [c.model_copy(update={"size": c.size + 1}) for c in before.crosses]
    after = after.model_copy(update={"crosses": tuple(crosses)})
    hyper = ModelsConfig({"default": {"embedding_size": 4, "hidden": [6]}}).of(name)
    torch.manual_seed(0)
    old, new = (build(name, MODELS[name], schema, hyper) for schema in (before, after))
    fill_crosses(old, keys)
    fill_crosses(new, moved)
    with torch.no_grad():
        for tensor in old.parameters():
            tensor.normal_()
        for key, tensor in old.state_dict().items():
            if key.endswith("running_mean"):
                tensor.normal_()
    fresh = {name: tensor.clone() for name, tensor in new.state_dict().items()}
    carry_over(old, new, before, after)
    return old.eval(), new.eval(), before, after, fresh


@pytest.mark.parametrize("name", MODELS)
def test_old_values_score_as_before(name):
    old, new, before, after, _ = pair(name)
    rows = rows_of(before, 200)
    ids_NC = shifted(rows.ids_NC, before, after)
    expected, got = old(rows.ids_NC, rows.factors_NC), new(ids_NC, rows.factors_NC)
    assert expected.std() > 0.1
    torch.testing.assert_close(got, expected)


def test_rows_of_new_values_keep_their_initialisation():
    _, new, before, after, fresh = pair("fm")
    for f, (start, size) in enumerate(zip(after.offsets, (f.size for f in before.fields), strict=True)):
        stop = start + after.fields[f].size
        assert torch.equal(
            new.embedding.weight[start + size : stop], fresh["embedding.weight"][start + size : stop]
        )
        assert not torch.equal(
            new.embedding.weight[start : start + size], fresh["embedding.weight"][start : start + size]
        )


def test_cross_keys_match_the_model():
    schema, keys = crossed(OLD)
    model = build("poly2", MODELS["poly2"], schema, ModelsConfig({}).of("poly2"))
    fill_crosses(model, keys)
    found = cross_keys(model)
    assert list(found) == list(PAIRS)
    np.testing.assert_array_equal(found["a", "d"].key_K, keys["a", "d"].key_K)


def test_different_fields_are_refused():
    with pytest.raises(SchemaMismatchError, match="'a' is not a grown version"):
        pair("fm", after=larger(crossed(OLD)[0], a=-1))


def test_trees_cannot_be_warm_started():
    pytest.importorskip("lightgbm")
    model = build("gbdt", Architecture.complete(NAMES), OLD, ModelsConfig({}).of("gbdt"))
    with pytest.raises(ConfigError, match="use cold"):
        carry_over(model, model, OLD, OLD)
