"""Models and search methods by name: those of ctrloom, and those that other packages register.

A package registers its own with an entry point of the group `ctrloom`: a module that calls
`ctrloom.register_model` or `ctrloom.register_method` when it is imported. It is imported when a
configuration names a model or method that ctrloom does not have.
"""

import re
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Generic, TypeVar

from ctrloom.config.base import ConfigError, not_among
from ctrloom.config.extras import training_packages

GROUP = "ctrloom"
NAME = re.compile(r"[a-z][a-z0-9_]*")
Entry = TypeVar("Entry")


class Catalog(Generic[Entry]):
    """Entries of one kind by name, in the order in which they were registered."""

    def __init__(self, kind: str, entries: dict[str, Entry]) -> None:
        self.kind, self.built_in, self.entries = kind, frozenset(entries), dict(entries)

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str):  # of an unvalidated file
            return False
        if name not in self.entries:
            load_plugins()
        return name in self.entries

    def __getitem__(self, name: str) -> Entry:
        """The entry of a name.

        Raises:
            ConfigError: there is none.
        """
        if name not in self:
            raise ConfigError(f"{self.kind}: {not_among(self, name)}")
        return self.entries[name]

    def __iter__(self) -> Iterator[str]:
        load_plugins()
        return iter(tuple(self.entries))

    def register(self, name: str, entry: Entry) -> None:
        """Add an entry of another package; the same name may be registered again, but not a built-in one.

        Raises:
            ConfigError: the name is taken, or has other characters than a-z, 0-9 and _.
        """
        if not NAME.fullmatch(name):
            raise ConfigError(f"{self.kind} {name!r}: a name consists of a-z, 0-9 and _, after a letter")
        if name in self.built_in:
            raise ConfigError(f"{self.kind} {name!r}: ctrloom has one of this name; choose another")
        self.entries[name] = entry


@cache
def load_plugins() -> None:
    """Import the modules that other installed packages name as entry points.

    Raises:
        ConfigError: one of them cannot be imported.
    """
    for plugin in entry_points(group=GROUP):
        try:
            plugin.load()
        except Exception as error:
            raise ConfigError(
                f"the plugin {plugin.value} of {plugin.dist.name if plugin.dist else 'a package'} cannot be "
                f"imported: {type(error).__name__}: {error}; correct or uninstall it"
            ) from error


def plugin_versions() -> list[str]:
    """Name and version of every installed package with plugins, which artifacts record."""
    return sorted(
        {f"{plugin.dist.name} {plugin.dist.version}" for plugin in entry_points(group=GROUP) if plugin.dist}
    )


def plugin_files() -> list[Path]:
    """The files of the modules that are plugins, where they can be found without importing them."""
    tops = {plugin.module.partition(".")[0] for plugin in entry_points(group=GROUP)}
    found = [find_spec(top) for top in sorted(tops)]
    folders = [Path(spec.origin) for spec in found if spec and spec.origin]
    return [
        path
        for origin in folders
        for path in (sorted(origin.parent.rglob("*.py")) if origin.name == "__init__.py" else [origin])
    ]


def resolve(reference: Any) -> Any:
    """The object that "module:name" refers to; anything else is returned as it is.

    Raises:
        ConfigError: there is none.
    """
    if not isinstance(reference, str):
        return reference
    module, _, name = reference.partition(":")
    try:
        with training_packages():
            return getattr(import_module(module), name)
    except (ModuleNotFoundError, AttributeError) as error:
        raise ConfigError(f"{reference}: is registered, but cannot be imported: {error}") from error
