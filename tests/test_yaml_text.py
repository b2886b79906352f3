"""What a configuration file may contain, and the message for what it may not."""

import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from ctrloom.cli.options import pairs
from ctrloom.config import RunConfig
from ctrloom.config.base import ConfigError
from ctrloom.config.files import load_run_config, read_config
from ctrloom.config.yaml_text import DEEPEST, LARGEST, parse_yaml

CONFIGS = sorted((Path(__file__).parents[1] / "configs").rglob("*.yaml"))
HEAD = "name: test\ndata:\n  files: a.csv\n  columns: {click: label, user: categorical}\n"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: 1e3\nb: -1.5e-3\nc: .5E2\nd: 1e-3", {"a": 1000.0, "b": -0.0015, "c": 50.0, "d": 0.001}),
        ("a: 0\nb: -7\nc: 1.5\nd: 0x1F", {"a": 0, "b": -7, "c": 1.5, "d": 31}),
        ("a: '010'\nb: \"2026-01-02\"\nc: '12:30:00'", {"a": "010", "b": "2026-01-02", "c": "12:30:00"}),
        ("1: a\n'yes': b", {1: "a", "yes": "b"}),
        ("a: &x {k: 1, z: 3}\nb: {<<: *x, k: 2}", {"a": {"k": 1, "z": 3}, "b": {"k": 2, "z": 3}}),
        (
            "a: &a {k: 1}\nb: &b {k: 2, z: 3}\nc: {<<: [*a, *b]}",
            {"a": {"k": 1}, "b": {"k": 2, "z": 3}, "c": {"k": 1, "z": 3}},
        ),
        # A mapping with a merge key that another one merges before it was read itself.
        (
            "d: &d {q: 1}\nb: {x: {y: &a {<<: *d, q: 2}}, c: {<<: *a, k: 4}}",
            {"d": {"q": 1}, "b": {"x": {"y": {"q": 2}}, "c": {"q": 2, "k": 4}}},
        ),
        ("", None),
        ("\ufeffa: 1", {"a": 1}),
    ],
)
def test_yaml_is_read(text: str, value: Any) -> None:
    assert parse_yaml(text.encode(), "f") == value


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_shipped_files_are_read_as_yaml_reads_them(path: Path) -> None:
    def numbers(value: Any) -> Any:  # PyYAML reads 1e3 as text
        if isinstance(value, dict):
            return {key: numbers(each) for key, each in value.items()}
        if isinstance(value, list):
            return [numbers(each) for each in value]
        try:
            return float(value) if isinstance(value, str) and value[:1].isdigit() else value
        except ValueError:
            return value

    text = path.read_text(encoding="utf-8")
    assert parse_yaml(text, "f") == numbers(yaml.safe_load(text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("b: 1\na: 010", "line 2: 010 is read as a number with base 8: quote it if it is text ('010')"),
        ("a: [12:30:00]", "line 1: 12:30:00 is read as a number with base 60: quote it"),
        ("a: 2020-01-01", "line 1: 2020-01-01 is read as a date; quote it: '2020-01-01'"),
        ("a: 2020-02-30", "is read as a date; quote it"),
        ("yes: 1", "line 1: the key yes is read as bool, not as text; quote it: 'yes'"),
        ("010: 1", "base 8"),
        ("1e3: 1", "the key 1e3 is read as float, not as text; quote it: '1e3'"),
        ("null: 1", "the key null is read as null"),
        ("2020-01-01: 1", "the key 2020-01-01 is read as timestamp"),
        ("a: =", "quote the text '='"),
        ("? [a]\n: b", "a key must be text"),
        ("a: 1\nb: 2\na: 3", "line 3: duplicate key 'a'"),
        ("1: 2\n'1': 3", "line 2: duplicate key '1'"),
        ("a: &a {}\nb: {<<: *a, <<: *a}", "line 2: duplicate key '<<'; write <<: [*one, *another]"),
        ("a: {<<: 3}", "expected a mapping or list of mappings for merging"),
        ("a: [*b]", "found undefined alias 'b'"),
        ("a: &a [*a]", "line 1: contains itself by an alias"),
        ("a:\n\tb: 1", "line 2: a tab where YAML takes only spaces; indent with spaces"),
        ("a: 1\n---\nb: 2", "line 2: begins a second document; keep one"),
        ("a: [1", "is not YAML: line 1: expected ',' or ']'"),
        (
            "a: !!python/object/apply:os.system [x]",
            "python/object/apply:os.system is not supported; remove it",
        ),
        ("a: !!set {b, c}", "the tag tag:yaml.org,2002:set is not supported"),
        ("a: \x01", "special characters are not allowed"),
        ("a: " + "1" * 5000, "line 1: a number with 5,000 digits"),
        ("a: " + "[" * 500 + "]" * 500, f"line 1: nested more than {DEEPEST} levels deep"),
        ("a:\n" + "".join(" " * i + "b:\n" for i in range(1, 200)), "levels deep"),
    ],
)
def test_invalid_yaml_is_explained_in_one_line(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_yaml(text, "f.yaml")
    assert message in str(error.value)
    assert str(error.value).startswith("f.yaml: ")
    assert "\n" not in str(error.value)


def test_aliases_that_expand_to_billions_are_rejected_at_once() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    begun = time.perf_counter()
    with pytest.raises(ConfigError, match="line 6: more than 200,000 values, with those of aliases"):
        parse_yaml("\n".join(lines), "f")
    assert time.perf_counter() - begun < 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty; it must contain the sections of a run"),
        (b"# nothing\n", "is empty"),
        (b"- a\n- b\n", "must contain the sections of a run .*, not list"),
        (b"just text", "not str"),
        (b"a: 1\nb: caf\xe9", "line 2: is not UTF-8; save the file as UTF-8"),
        ("a: 1".encode("utf-16"), "line 1: is not UTF-8"),
        (b"a: " + b"x" * LARGEST, "is larger than 1 MB, which no configuration is; is it a file of data"),
        (b"extends: [a, b]", "extends: must be the name of one file, not"),
    ],
)
def test_file_that_is_no_configuration_is_explained(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message) as error:
        load_run_config(path)
    assert str(error.value).startswith(str(path))


def test_endless_file_and_folder_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="/dev/zero: is larger than 1 MB"):
        load_run_config("/dev/zero")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load_run_config(tmp_path)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("seeds: [true]", "seeds.0: must be a whole number, not true"),
        ("seeds: ['1']", "seeds.0: must be a whole number, not '1'; write it without quotes"),
        ("search: {epochs: 1.5}", "search.epochs: must be a whole number, not 1.5"),
        ("search: {epochs: .inf}", "search.epochs: must be a whole number, not inf"),
        ("search: {learning_rate: .inf}", "search.learning_rate: must be a finite number, not inf"),
        ("search: {learning_rate: .nan}", "search.learning_rate: must be a finite number, not nan"),
        ("search: {learning_rate: 1e999}", "search.learning_rate: must be a finite number, not inf"),
        ("search: {learning_rate: true}", "search.learning_rate: must be a number, not true"),
        ("search: {learning_rate: fast}", "search.learning_rate: must be a number, not 'fast'"),
        ("search: {bi_level: 1}", "search.bi_level: must be true or false, not 1"),
        ("search: {bi_level: 'yes'}", "search.bi_level: must be true or false, not 'yes'; write it without"),
        ("models: {default: {dropout: false}}", "models.default.dropout: must be a number, not false"),
        ("evaluation: {group: 1}", "evaluation.group: must be text, not 1; quote it: '1'"),
        ("evaluation: {group: 1e3}", "evaluation.group: must be text, not 1000.0; quote it"),
        ("evaluation: {columns: [on]}", "evaluation.columns.0: must be text, not true; quote it"),
        ("evaluation: {columns: [~]}", "evaluation.columns.0: must be text, not null; quote it"),
        ("name: yes", "name: must be text, not true; quote it: 'true'"),
    ],
)
def test_no_value_is_converted_to_another_type(tmp_path: Path, section: str, message: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_text((HEAD.partition("\n")[2] if section.startswith("name") else HEAD) + section)
    with pytest.raises(ConfigError) as error:
        load_run_config(path)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["a=1", "a=2"], "--set a: --set a sets it too; give each key one value"),
        (["search.epochs=1", "search={}"], "--set search: --set search.epochs sets it too"),
        (["search={}", "search.epochs=1"], "--set search.epochs: --set search sets it too"),
        (["engine=spark"], "--engine engine: --set engine sets it too"),
        (["=3"], "--set =3: write KEY=VALUE"),
        (["a..b=3"], "--set a..b=3: write KEY=VALUE"),
        (["a. b=3"], "--set a. b=3: write KEY=VALUE"),
        (["a"], "--set a: write KEY=VALUE"),
    ],
)
def test_settings_that_contradict_each_other_are_rejected(settings: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        pairs(settings, "duckdb")
    assert str(error.value).startswith(message)


def test_keys_with_a_common_beginning_are_different() -> None:
    assert pairs(["search.epoch=1", "search.epochs=2", "a=b=c"]) == [
        ("search.epoch", "1"),
        ("search.epochs", "2"),
        ("a", "b=c"),
    ]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("name", "2026-01-02", "--set name: line 1: 2026-01-02 is read as a date; quote it: .*in a shell"),
        ("name", "1", "name: must be text, not 1; quote it: '1', in a shell"),
        ("search.epochs", "[1", "--set search.epochs: is not YAML"),
        ("search.epochs", "", "search.epochs: must be a whole number, not null"),
        ("name.first", "a", "name.first: 'name' is not a section"),
        ("models.\udc9c.epochs", "3", r"--set models.\\udc9c.epochs: is not UTF-8; check the encoding"),
        ("name", "\udc9c", "--set name: is not YAML: unacceptable character"),
    ],
)
def test_error_of_a_setting_names_its_key(tmp_path: Path, key: str, value: str, message: str) -> None:
    (tmp_path / "run.yaml").write_text(HEAD)
    with pytest.raises(ConfigError, match=message):
        load_run_config(tmp_path / "run.yaml", [(key, value)])


def test_setting_changes_only_one_of_two_aliases(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(HEAD + "models: {fm: &same {epochs: 5}, lr: *same}\n")
    config = read_config(RunConfig, tmp_path / "run.yaml", [("models.fm.epochs", 7)])
    assert (config.models.of("fm").epochs, config.models.of("lr").epochs) == (7, 5)
