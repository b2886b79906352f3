"""YAML as configurations use it: safe, of limited size, and no value is read differently than it is written.

Anchors, aliases and merge keys (`<<`) work; a key next to `<<` overrides the same key of what is merged.
"""

import re
from pathlib import Path
from typing import Any

import yaml

from ctrloom.config.base import ConfigError
from ctrloom.config.errors import UserError

LARGEST = 1 << 20  # bytes of a file
MOST = 200_000  # values and keys, those of aliases counted wherever they are used
DEEPEST = 50
PREFIX = "tag:yaml.org,2002:"
# Numbers that YAML 1.1 reads with another base: what it is, and how to write a decimal one.
MISREAD = {
    re.compile(r"[-+]?0[0-9_]+"): ("8", "leave out the leading zeros"),
    re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?"): ("60", "write it without colons"),
}
PLAIN_INT = re.compile(r"0|-?[1-9][0-9]*")
NUMBER = re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)[eE][-+]?[0-9]+")  # 1e3, which YAML 1.1 reads as text
KINDS = ("str", "int", "float", "bool", "null", "seq", "map", "merge")
MOST_DIGITS = 400


class YamlError(UserError):
    """What is wrong in a text, with its line."""


class _Loader(yaml.SafeLoader):
    """Reads numbers with an exponent, as YAML 1.2 does, and stops at deep nesting."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self.depth += 1
        if self.depth > DEEPEST:
            raise YamlError(f"line {_line(self.peek_event())}: nested more than {DEEPEST} levels deep")
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node


_Loader.add_implicit_resolver(f"{PREFIX}float", NUMBER, list("-+.0123456789"))


def parse_yaml(text: str | bytes, where: str) -> Any:
    """The value of one YAML document.

    Raises:
        ConfigError: it is not YAML, too large or deep, has a duplicate key, or a value to be quoted. The
            message begins with `where` and has the line.
    """
    try:
        loader = _Loader(text if isinstance(text, str) else text.decode("utf-8-sig"))
        node = loader.get_single_node()
        if node is None:
            return None
        _Check().size_of(node)
        return loader.construct_document(node)
    except yaml.YAMLError as error:
        raise ConfigError(f"{where}: is not YAML: {_explained(error)}") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{where}: line {line}: is not UTF-8; save the file as UTF-8") from None
    except ValueError as error:  # YamlError, and what Python cannot read as a number
        raise ConfigError(f"{where}: {error}") from None


def read_yaml_file(path: Path) -> Any:
    """The value of a YAML file.

    Raises:
        ConfigError: as `parse_yaml`, or the file cannot be read or is too large for a configuration.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(LARGEST + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    if len(content) > LARGEST:
        raise ConfigError(
            f"{path}: is larger than {LARGEST >> 20} MB, which no configuration is; is it a file of data?"
        )
    return parse_yaml(content, str(path))


class _Check:
    """Checks the nodes of a document before values are made of them."""

    def __init__(self) -> None:
        self.sizes: dict[yaml.Node, int | None] = {}  # None: not finished

    def size_of(self, node: yaml.Node) -> int:
        """Number of values and keys in a node, with those of its aliases.

        Raises:
            YamlError: there are too many, or something in it is invalid.
        """
        if node in self.sizes:
            if (known := self.sizes[node]) is None:
                raise YamlError(f"line {_line(node)}: contains itself by an alias")
            return known
        self.sizes[node] = None
        _check_kind(node)
        size = 1
        if isinstance(node, yaml.ScalarNode):
            _check_scalar(node)
        elif isinstance(node, yaml.SequenceNode):
            size += sum(map(self.size_of, node.value))
        elif isinstance(node, yaml.MappingNode):
            _check_keys(node)
            size += sum(self.size_of(each) for pair in node.value for each in pair)
        if size > MOST:
            raise YamlError(f"line {_line(node)}: more than {MOST:,} values, with those of aliases")
        self.sizes[node] = size
        return size


def _check_kind(node: yaml.Node) -> None:
    if node.tag.removeprefix(PREFIX) in KINDS:
        return
    if node.tag == f"{PREFIX}timestamp":
        raise YamlError(f"line {_line(node)}: {node.value} is read as a date; quote it: '{node.value}'")
    if node.tag == f"{PREFIX}value":
        raise YamlError(f"line {_line(node)}: quote the text '='")
    raise YamlError(f"line {_line(node)}: the tag {node.tag} is not supported; remove it")


def _check_scalar(node: yaml.ScalarNode) -> None:
    if node.style is not None or node.tag not in (f"{PREFIX}int", f"{PREFIX}float"):
        return
    if len(node.value) > MOST_DIGITS:
        raise YamlError(f"line {_line(node)}: a number with {len(node.value):,} digits")
    for expression, (base, way_out) in MISREAD.items():
        if expression.fullmatch(node.value):
            raise YamlError(
                f"line {_line(node)}: {node.value} is read as a number with base {base}: quote it if it is "
                f"text ('{node.value}'), else {way_out}"
            )


def _check_keys(node: yaml.MappingNode) -> None:
    seen = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise YamlError(f"line {_line(key)}: a key must be text")
        _check_scalar(key)
        if key.tag not in (f"{PREFIX}str", f"{PREFIX}merge") and not PLAIN_INT.fullmatch(key.value):
            kind = key.tag.removeprefix(PREFIX)
            raise YamlError(
                f"line {_line(key)}: the key {key.value or 'without text'} is read as {kind}, not as text; "
                f"quote it: '{key.value}'"
            )
        if key.value in seen:
            way_out = "; write <<: [*one, *another]" if key.value == "<<" else ""
            raise YamlError(f"line {_line(key)}: duplicate key {key.value!r}{way_out}")
        seen.add(key.value)


def _line(at: Any) -> int:
    return int(at.start_mark.line) + 1


def _explained(error: yaml.YAMLError) -> str:
    """One line: what PyYAML reports, and how to fix frequent causes."""
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    where = f"line {mark.line + 1}: " if mark else ""
    if "'\\t'" in problem:
        return f"{where}a tab where YAML takes only spaces; indent with spaces"
    if "another document" in problem:
        return f"{where}begins a second document; keep one, and remove the line `---` between them"
    return where + problem
