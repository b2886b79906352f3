"""What trackers show of a run: the whole, its models, and their seeds."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

Kind = Literal["run", "compare", "tune", "retrain"]


@dataclass(frozen=True)
class Node:
    """A run of a tracker: that of the whole contains those of the models, and these those of the seeds."""

    name: str
    tags: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    curves: Mapping[str, tuple[float, ...]] = field(default_factory=dict)  # from epoch 1 on
    children: tuple[Self, ...] = ()

    @property
    def digest(self) -> str:
        """Hash of all that is shown, also in the children."""
        return digest(self.described())

    def described(self) -> list[Any]:
        """All that is shown, as JSON."""
        shown = [self.name, *map(dict, (self.tags, self.parameters, self.metrics, self.curves))]
        return [*shown, [child.described() for child in self.children]]

    def below(self, path: str = "") -> Iterator[tuple[str, Self]]:
        """All nodes inside of this one with their paths: `fm`, `fm/seed-0`."""
        for child in self.children:
            yield path + child.name, child
            yield from child.below(f"{path}{child.name}/")


@dataclass(frozen=True)
class Tracked:
    """One run of ctrloom; the same configuration, data and code have the same `identity`."""

    kind: Kind
    identity: str
    node: Node
    description: str  # Markdown
    files: tuple[Path, ...] = ()
    bundle: Path | None = None
    search: Path | None = None  # folder that the search wrote


def digest(content: object) -> str:
    """Hash of JSON."""
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested settings with dots in their names: `search.epochs`; lists are one value."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        elif value is not None:
            plain = _plain(value)
            yield f"{prefix}{key}", json.dumps(plain) if isinstance(plain, list | bool) else plain


def _plain(value: Any) -> Any:
    """Whole numbers as such: KFP passes them as floats."""
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
