"""Loading configurations from YAML files."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from ctrloom.config import ClusterConfig, CompareConfig, RunConfig
from ctrloom.config.base import ConfigError, StrictModel
from ctrloom.config.batch import BatchConfig
from ctrloom.config.retraining import RetrainingConfig
from ctrloom.config.yaml_text import parse_yaml, read_yaml_file

_PLACES = "registry", "files", "bundle", "output"  # keys at the top
Settings = Iterable[tuple[str, str]]
Config = TypeVar("Config", bound=StrictModel)


def read_config(kind: type[Config], path: str | Path, values: Iterable[tuple[str, Any]] = ()) -> Config:
    """Read a configuration from YAML; data paths are relative to the file that contains them.

    With `extends: <file>`, the file overrides single keys of another one. `values` override single keys, such
    as ("search.epochs", 3).

    Raises:
        ConfigError: the file is missing or not YAML, or a key or value is invalid.
    """
    raw = read_yaml(path)
    for key, value in values:
        raw = _overridden(raw, key.split("."), value, key)
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


def load_batch_config(path: str | Path, settings: Settings = ()) -> BatchConfig:
    """The configuration of a batch prediction, see `read_config`."""
    return read_config(BatchConfig, path, _values(settings))


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
    raw = read_yaml_file(path)
    if raw is None:
        raise ConfigError(f"{path}: is empty; it must contain the sections of a run (name, data, ...)")
    if not isinstance(raw, dict):
        raise ConfigError(
            f"{path}: must contain the sections of a run (name, data, ...), not {type(raw).__name__}"
        )
    here = path.resolve()
    raw = _anchored(raw, here.parent)
    base = raw.pop("extends", None)
    if base is None:
        return raw
    if not isinstance(base, str):
        raise ConfigError(f"{path}: extends: must be the name of one file, not {base!r}")
    if here in extended:
        raise ConfigError(f"{path}: extends itself through {extended[-1]}")
    return merged(read_yaml(here.parent / base, (*extended, here)), raw)


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`over` on top of `base`: mappings key by key, everything else as a whole."""
    result = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        result[key] = merged(base[key], value) if both else value
    return result


def _values(settings: Settings) -> list[tuple[str, Any]]:
    return [(key, setting(key, value)) for key, value in settings]


def _overridden(raw: dict[str, Any], keys: list[str], value: Any, whole: str) -> dict[str, Any]:
    """A copy with one value replaced: with aliases, several sections can be the same dict."""
    key, *inner = keys
    if inner:
        section = raw.get(key, {})
        if not isinstance(section, dict):
            raise ConfigError(f"{whole}: {key!r} is not a section")
        value = _overridden(section, inner, value, whole)
    return {**raw, key: value}


def setting(key: str, value: str) -> Any:
    """The value of `--set key=value`, which is YAML.

    Raises:
        ConfigError: it is not, or the key is not UTF-8.
    """
    try:
        key.encode()
    except UnicodeEncodeError:  # Python stands in for bytes of an argument that are not UTF-8
        shown = key.encode(errors="backslashreplace").decode()
        raise ConfigError(f"--set {shown}: is not UTF-8; check the encoding of the terminal") from None
    try:
        return parse_yaml(value, f"--set {key}")
    except ConfigError as error:
        in_shell = f", in a shell \"'{value}'\"" if "quote it" in str(error) else ""
        raise ConfigError(f"{error}{in_shell}") from None


def _anchored(raw: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Make the paths of data, truth, registry, event files and of a batch prediction absolute."""

    def anchor(value: Any) -> Any:
        if isinstance(value, str):
            return value if re.match(r"^(\w+://|/)", value) else _resolved(folder, value)
        if isinstance(value, list):
            return [anchor(v) for v in value]
        return {k: anchor(v) for k, v in value.items()} if isinstance(value, dict) else value

    for section, key in (("data", "files"), ("evaluation", "truth"), ("tracking", "tensorboard")):
        if isinstance(raw.get(section), dict) and raw[section].get(key):
            raw = {**raw, section: {**raw[section], key: anchor(raw[section][key])}}
    return {**raw, **{key: anchor(raw[key]) for key in _PLACES if raw.get(key)}}


def _resolved(folder: Path, name: str) -> str:
    try:
        return str((folder / name).resolve())
    except (RuntimeError, ValueError) as error:  # a loop of symbolic links, or a NUL
        raise ConfigError(f"{name!r} is not a path: {error}") from None
