"""A record that was changed in any way is an error of one line, and never another value."""

import json
import random
from pathlib import Path
from typing import Any, Literal

import pytest

from ctrloom import storage
from ctrloom.config.base import ConfigError
from ctrloom.storage import DamagedError, FolderRecord, StorageError


class Card(FolderRecord):
    version: Literal[1] = 1
    name: str
    rate: float
    more: dict[str, Any]


CARD = Card(name="é", rate=0.1, more={"b": [1, None, True], "a": {"x": -1e-300}})


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    storage.write_record(tmp_path / "card.json", CARD)
    assert storage.read_record(tmp_path / "card.json", Card) == CARD
    content = (tmp_path / "card.json").read_bytes()
    assert storage.record_of(content, "card", Card) == CARD
    reformatted = json.dumps(dict(reversed(json.loads(content).items())), indent=7)
    assert storage.record_of(reformatted.encode(), "card", Card) == CARD


def test_every_flipped_byte_is_an_error_or_harmless(tmp_path: Path) -> None:
    path, rng = tmp_path / "card.json", random.Random(0)
    storage.write_record(path, CARD)
    content = path.read_bytes()
    detected = 0
    for place in range(len(content)):
        for mask in {1 << rng.randrange(8), rng.randrange(1, 256)}:
            flipped = bytes([content[place] ^ mask])
            path.write_bytes(content[:place] + flipped + content[place + 1 :])
            try:
                found: object = storage.read_record(path, Card)
            except (StorageError, ConfigError) as error:
                found, detected = str(error), detected + 1
            if isinstance(found, str):
                assert found.startswith(f"{path}: ")
                assert "\n" not in found
            else:
                assert found == CARD
    assert detected > len(content)


@pytest.mark.parametrize("stop", range(0, 200, 9))
def test_a_truncated_record(tmp_path: Path, stop: int) -> None:
    storage.write_record(tmp_path / "card.json", CARD)
    content = (tmp_path / "card.json").read_bytes()
    (tmp_path / "card.json").write_bytes(content[:stop])
    with pytest.raises(StorageError, match=r"card\.json: is not JSON: "):
        storage.read_record(tmp_path / "card.json", Card)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it is empty"),
        (b" \n", "it is empty"),
        (b"\xff{}", "'utf-8' codec"),
        (b"\xef\xbb\xbf{}", "BOM"),
        (b'{"a": NaN}', "NaN is not a finite number"),
        (b'{"a": -Infinity}', "-Infinity is not a finite number"),
        (b'{"a": 1e999}', "1e999 is not a finite number"),
        (b'{"a": 1, "b": 2, "a": 1}', "duplicate key 'a'"),
        (rb'{"a": "\ud800"}', "surrogates not allowed"),
        (b"[" * 100_000, "nested too deeply"),
        (b"9" * 5000, "Exceeds the limit"),
        (b'{"a": 1} x', "Extra data"),
    ],
)
def test_what_is_not_json(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(StorageError) as error:
        storage.read_json(tmp_path / "a.json")
    assert str(error.value).startswith(f"{tmp_path / 'a.json'}: is not JSON: ")
    assert said in str(error.value)


@pytest.mark.parametrize("value", [None, 3, "text", [], [{}], {}, {"version": 0}])
def test_json_of_another_type_names_the_file(tmp_path: Path, value: Any) -> None:
    storage.write_json(tmp_path / "card.json", value)
    with pytest.raises(ConfigError, match=rf"^{tmp_path / 'card.json'}: "):
        storage.read_record(tmp_path / "card.json", Card)


def test_a_newer_version_is_named(tmp_path: Path) -> None:
    storage.write_json(tmp_path / "card.json", {**CARD.model_dump(mode="json"), "version": 7})
    with pytest.raises(ConfigError, match=r"card\.json: has version 7, .*reads version 1: upgrade ctrloom"):
        storage.read_record(tmp_path / "card.json", Card)


def test_a_record_without_checksum_is_one_of_an_older_version(tmp_path: Path) -> None:
    storage.write_json(tmp_path / "card.json", CARD.model_dump(mode="json"))
    assert storage.read_record(tmp_path / "card.json", Card) == CARD


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with some files, and its record."""
    (tmp_path / "deep").mkdir()
    (tmp_path / "weights").write_bytes(bytes(range(256)))
    (tmp_path / "deep" / "empty").write_bytes(b"")
    (tmp_path / "deep" / "text").write_text("text")
    storage.write_folder_record(tmp_path / "card.json", CARD)
    return tmp_path


def verify(folder: Path, under: str = "") -> None:
    card = storage.read_record(folder / "card.json", Card)
    storage.verify_files(folder, card.files, "card.json", under)


def test_a_folder_as_it_was_written(folder: Path) -> None:
    verify(folder)
    (folder / ".DS_Store").write_text("of a file manager")
    verify(folder)


def test_every_changed_byte_of_a_folder_is_found(folder: Path) -> None:
    for name in ("weights", "deep/text"):
        content = (folder / name).read_bytes()
        for place in range(len(content)):
            (folder / name).write_bytes(
                content[:place] + bytes([content[place] ^ (1 << place % 8)]) + content[place + 1 :]
            )
            with pytest.raises(DamagedError, match=rf"{name}: was changed or damaged"):
                verify(folder)
        for other in (content[:-1], b"", content + b"\0"):
            (folder / name).write_bytes(other)
            with pytest.raises(DamagedError, match=rf"{name}: .*it has {len(other)} bytes instead of"):
                verify(folder)
        (folder / name).write_bytes(content)
    verify(folder)


def test_missing_and_additional_files(folder: Path) -> None:
    (folder / "deep" / "more").write_text("x")
    with pytest.raises(DamagedError, match=r"deep/more: is not one of the files that card\.json lists"):
        verify(folder)
    (folder / "deep" / "more").unlink()
    (folder / "deep" / "empty").unlink()
    with pytest.raises(DamagedError, match=r"deep/empty: is missing, but card\.json lists it"):
        verify(folder)


def test_one_folder_of_a_record(folder: Path) -> None:
    (folder / "weights").write_text("changed")
    verify(folder, "deep")
    (folder / "deep" / "text").write_text("nope")
    with pytest.raises(DamagedError, match="deep/text"):
        verify(folder, "deep")


def test_a_folder_of_an_older_version_is_not_verified(folder: Path) -> None:
    storage.write_record(folder / "card.json", CARD)
    (folder / "more").write_text("x")
    verify(folder)
