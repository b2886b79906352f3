"""Warm start of a model with a grown vocabulary from the weights of an older model.

R rows of a table, K kept values of cross features.
"""

import torch
from torch import Tensor, nn

from ctrloom.config.base import ConfigError
from ctrloom.models.trees import GBDT
from ctrloom.nn.cross_features import CrossEmbedding
from ctrloom.nn.embedding import FieldEmbedding
from ctrloom.schema import CountedKeys, Schema, SchemaMismatchError


@torch.no_grad()
def carry_over(old: nn.Module, new: nn.Module, before: Schema, after: Schema) -> None:
    """Copy the weights of an older model of the same architecture into a new one.

    Values known to both keep their vectors, whatever their rows; new values keep their initialisation.

    Raises:
        ConfigError: a tree model, which cannot be warm-started, or a model with different sizes.
        SchemaMismatchError: the new schema is not a grown version of the old one.
    """
    if isinstance(new, GBDT):
        raise ConfigError("training.start: tree models cannot be warm-started; use cold")
    require_grown(before, after)
    moved = {
        name: module
        for name, module in new.named_modules()
        if isinstance(module, FieldEmbedding | CrossEmbedding)
    }
    for name, module in moved.items():
        source = old.get_submodule(name)
        if isinstance(module, CrossEmbedding):
            assert isinstance(source, CrossEmbedding)
            _carry_crosses(source, module, before, after)
        else:
            assert isinstance(source, FieldEmbedding)
            _carry_fields(source, module, before, after)
    learned = old.state_dict()
    for key, value in new.state_dict().items():
        if not any(key.startswith(f"{name}.") for name in moved):
            _require(key in learned and learned[key].shape == value.shape, key)
            value.copy_(learned[key])


def _require(fits: bool, what: str) -> None:
    if not fits:
        raise ConfigError(
            f"training.settings: {what} has a different shape in the older model; keep its sizes, "
            "or use training.start: cold"
        )


def require_grown(before: Schema, after: Schema) -> None:
    """Raise SchemaMismatchError unless the schemas differ only in added values."""
    grown = {"size", "vocabulary_digest"}
    for mine, theirs in zip(before.fields, after.fields, strict=False):
        if mine.model_dump(exclude=grown) != theirs.model_dump(exclude=grown) or mine.size > theirs.size:
            raise SchemaMismatchError(
                f"field {mine.name!r} is not a grown version of the previous one; use `ctrloom grow`"
            )
    if before.names != after.names:
        raise SchemaMismatchError(f"the fields are {', '.join(after.names)}, not {', '.join(before.names)}")


def cross_keys(model: nn.Module) -> dict[tuple[str, ...], CountedKeys]:
    """Cross-feature keys of a trained model by pair, ascending, with zero counts, which it does not store."""
    found: dict[tuple[str, ...], CountedKeys] = {}
    for module in model.modules():
        if isinstance(module, CrossEmbedding):
            key_K = module.keys.key_K[:-1].sort().values
            bounds = torch.searchsorted(key_K, torch.tensor(module.bases)).tolist()
            for pair, base, start, stop in zip(module.pairs, module.bases, bounds, bounds[1:], strict=False):
                own = (key_K[start:stop] - base).numpy()
                found[pair] = CountedKeys(own, own * 0)
    return found


def _carry_fields(old: FieldEmbedding, new: FieldEmbedding, before: Schema, after: Schema) -> None:
    """Copy rows by field and id, the layout of a table even if fields have rows of different widths."""
    _require(old.row_widths == new.row_widths, "the embedding table")
    to, source = new.weight.view(-1), old.weight.view(-1)
    here = there = 0
    for mine, theirs, width in zip(before.fields, after.fields, new.row_widths, strict=True):
        to[there : there + mine.size * width] = source[here : here + mine.size * width]
        here, there = here + mine.size * width, there + theirs.size * width


def _carry_crosses(old: CrossEmbedding, new: CrossEmbedding, before: Schema, after: Schema) -> None:
    """Copy the rows of unseen values, which come first, then look up each kept value by its key."""
    _require(old.pairs == new.pairs and old.weight.shape[1] == new.weight.shape[1], "the cross-feature table")
    pairs = len(new.pairs)
    new.weight[:pairs] = old.weight[:pairs]
    key_K = old.keys.key_K[:-1]
    pair_K = torch.searchsorted(torch.tensor(old.bases), key_K, right=True) - 1
    sizes = [
        [schema.fields[schema.indices(pair)[1]].size for pair in new.pairs] for schema in (before, after)
    ]
    narrow_K, wide_K = (torch.tensor(size)[pair_K] for size in sizes)
    own_K = key_K - torch.tensor(old.bases)[pair_K]
    moved_K = own_K // narrow_K * wide_K + own_K % narrow_K + torch.tensor(new.bases)[pair_K]
    place_K: Tensor = new.keys(moved_K)
    assert (place_K >= 0).all(), "grown cross features lack a key of the older model"
    new.weight[pairs + place_K] = old.weight[pairs:]
