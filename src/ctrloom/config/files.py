"""Loading configurations from YAML files."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml

from ctrloom.config import ClusterConfig, CompareConfig, RunConfig
from ctrloom.config.base import ConfigError, StrictModel
from ctrloom.config.retraining import RetrainingConfig

Settings = Iterable[tuple[str, str]]
Config = TypeVar("Config", bound=StrictModel)


class _UniqueKeys(yaml.SafeLoader):
    """Safe YAML loader that rejects duplicate keys instead of silently keeping the last value."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise yaml.constructor.ConstructorError(
                None, None, f"duplicate key {twice[0]!r}", node.start_mark
            )
        return super().construct_mapping(node, deep)


def read_config(kind: type[Config], path: str | Path, values: Iterable[tuple[str, Any]] = ()) -> Config:
    """Read a configuration from YAML; data paths are relative to the file that contains them.

    With `extends: <file>`, the file overrides single keys of another one. `values` override single keys, such
    as ("search.epochs", 3).

    Raises:
        ConfigError: the file is missing or not YAML, or a key or value is invalid.
    """
    raw = read_yaml(path)
    for key, value in values:
        _override(raw, key.split("."), value)
    return kind.parse(raw, str(path))


def load_run_config(path: str | Path, settings: Settings = ()) -> RunConfig:
    """The configuration of a run, see `read_config`; the values of `settings` are YAML."""
    return read_config(RunConfig, path, _values(settings))


def load_compare_config(path: str | Path, settings: Settings = ()) -> CompareConfig:
    """The configuration of a comparison, see `read_config`."""
    return read_config(CompareConfig, path, _values(settings))


def load_retraining_config(path: str | Path, settings: Settings = ()) -> RetrainingConfig:
    """The configuration of a scheduled retraining, see `read_config`."""
    return read_config(RetrainingConfig, path, _values(settings))


def load_cluster_config(path: str | Path | None, environment: Mapping[str, str]) -> ClusterConfig:
    """Read the cluster settings from YAML, if given, and from environment variables (CTRLOOM_ENDPOINT, ...).

    Raises:
        ConfigError: the file is missing or not YAML, or a key or value is invalid.
    """
    raw = read_yaml(path) if path else {}
    given = {key: environment.get(f"CTRLOOM_{key.upper()}") for key in ClusterConfig.model_fields}
    set_there = {key: value for key, value in given.items() if value}
    return ClusterConfig.parse({**raw, **set_there}, str(path or "environment"))


def read_yaml(path: str | Path, extended: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The sections of a file, merged over those of the file that it extends, with absolute data paths.

    Raises:
        ConfigError: the file is missing, is not YAML, has no sections, or extends itself.
    """
    path = Path(path)
    try:
        raw = _UniqueKeys(path.read_text(encoding="utf-8")).get_single_data()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not YAML: {error}") from None
    if not isinstance(raw, dict):
        raise ConfigError(
            f"{path}: must contain the sections of a run (name, data, ...), not {type(raw).__name__}"
        )
    here = path.resolve()
    raw = _anchored(raw, here.parent)
    base = raw.pop("extends", None)
    if base is None:
        return raw
    if here in extended:
        raise ConfigError(f"{path}: extends itself through {extended[-1]}")
    return merged(read_yaml(here.parent / str(base), (*extended, here)), raw)


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`over` on top of `base`: mappings key by key, everything else as a whole."""
    result = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        result[key] = merged(base[key], value) if both else value
    return result


def _values(settings: Settings) -> list[tuple[str, Any]]:
    return [(key, setting(key, value)) for key, value in settings]


def _override(raw: dict[str, Any], keys: list[str], value: Any) -> None:
    for key in keys[:-1]:
        raw = raw.setdefault(key, {})
        if not isinstance(raw, dict):
            raise ConfigError(f"{'.'.join(keys)}: {key!r} is not a section")
    raw[keys[-1]] = value


def setting(key: str, value: str) -> Any:
    """The value of `--set key=value`, which is YAML.

    Raises:
        ConfigError: it is not.
    """
    try:
        return yaml.safe_load(value)
    except yaml.YAMLError:
        raise ConfigError(f"--set {key}: {value!r} is not YAML") from None


def _anchored(raw: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Make the paths of `data.files`, `evaluation.truth` and `registry` absolute."""

    def anchor(value: Any) -> Any:
        if isinstance(value, str):
            return value if re.match(r"^(\w+://|/)", value) else str((folder / value).resolve())
        if isinstance(value, list):
            return [anchor(v) for v in value]
        return {k: anchor(v) for k, v in value.items()} if isinstance(value, dict) else value

    for section, key in (("data", "files"), ("evaluation", "truth")):
        if isinstance(raw.get(section), dict) and raw[section].get(key):
            raw = {**raw, section: {**raw[section], key: anchor(raw[section][key])}}
    return {**raw, "registry": anchor(raw["registry"])} if raw.get("registry") else raw
