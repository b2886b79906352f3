"""A model for a grown vocabulary that begins with what an older one has learned.

R rows of a table, K kept values of crosses.
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
    """Copy into a freshly built model all that an older one of the same architecture has learned.

    A value that both know keeps its vector wherever its row lies; the rows of new values stay as they were
    initialised.

    Raises:
        ConfigError: the model is made of trees, which have no weights to go on with, or has other sizes.
        SchemaMismatchError: the fields after are not those before, grown.
    """
    if isinstance(new, GBDT):
        raise ConfigError("training.start: trees cannot go on from older ones; use cold")
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
            f"training.settings: the older model's {what} has another shape; leave sizes as they are, "
            "or use training.start: cold"
        )


def require_grown(before: Schema, after: Schema) -> None:
    """Raise SchemaMismatchError unless the fields differ in nothing but values that were added."""
    grown = {"size", "vocabulary_digest"}
    for mine, theirs in zip(before.fields, after.fields, strict=False):
        if mine.model_dump(exclude=grown) != theirs.model_dump(exclude=grown) or mine.size > theirs.size:
            raise SchemaMismatchError(f"field {mine.name!r} is not the one before, grown; use `ctrloom grow`")
    if before.names != after.names:
        raise SchemaMismatchError(f"the fields are {', '.join(after.names)}, not {', '.join(before.names)}")


def cross_keys(model: nn.Module) -> dict[tuple[str, ...], CountedKeys]:
    """Keys of the pairs that a trained model knows by heart, ascending; it does not know their counts."""
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
    """A table lies field by field, and in a field id by id, whether its rows are as long as others or not."""
    _require(old.row_widths == new.row_widths, "embedding")
    to, source = new.weight.view(-1), old.weight.view(-1)
    here = there = 0
    for mine, theirs, width in zip(before.fields, after.fields, new.row_widths, strict=True):
        to[there : there + mine.size * width] = source[here : here + mine.size * width]
        here, there = here + mine.size * width, there + theirs.size * width


def _carry_crosses(old: CrossEmbedding, new: CrossEmbedding, before: Schema, after: Schema) -> None:
    """Rows of unseen values come first, pair by pair; then each value is looked up by its key."""
    _require(old.pairs == new.pairs and old.weight.shape[1] == new.weight.shape[1], "table of crosses")
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
    assert (place_K >= 0).all(), "grown crosses have every key that the model knows"
    new.weight[pairs + place_K] = old.weight[pairs:]
