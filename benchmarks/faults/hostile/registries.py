"""Registries that were damaged or forged."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hostile.case import Case, Content

CHAMPION = "champion --registry registry --output out"


def forged(
    name: str, edit: Callable[[Any], Any], error: str, file: str = "champion.json", command: str = CHAMPION
) -> Case:
    """A registry with one JSON file edited, without its checksum."""

    def make(path: Path) -> None:
        target = next(path.parent.glob(file))
        value = json.loads(target.read_text())
        value.pop("checksum", None)
        edit(value)
        target.write_text(json.dumps(value))

    return Case(name, {"registry/.copy": _copy, "registry/.edit": make}, command, error)


def changed(name: str, file: str, content: Content, error: str, command: str = CHAMPION) -> Case:
    """A registry with other content of a file."""

    def make(path: Path) -> None:
        target = next(path.parent.glob(file))
        if callable(content):
            content(target)
        else:
            target.write_bytes(content.encode() if isinstance(content, str) else content)

    return Case(name, {"registry/.copy": _copy, "registry/.edit": make}, command, error)


def _copy(path: Path) -> None:
    shutil.copytree(os.environ["CTRLOOM_ASSETS"] + "/registry", path.parent, dirs_exist_ok=True)


def _unlink(path: Path) -> None:
    path.unlink()


VERSION, LIST = "versions/*/version.json", "registry list registry"
CASES = [
    Case("as it was written", {"registry/.copy": _copy}, CHAMPION),
    Case("no registry", {}, CHAMPION, r"registry.*(no champion|promote)"),
    Case("a registry that is a file", {"registry": "x"}, CHAMPION, r"registry"),
    Case("a list of no registry", {}, LIST, warning=r"registry: has no versions"),
    changed("champion.json is empty", "champion.json", b"", r"champion\.json: is not JSON"),
    changed("champion.json is binary", "champion.json", bytes(range(256)), r"champion\.json"),
    changed("champion.json is null", "champion.json", "null", r"champion\.json"),
    changed("version.json is a list", VERSION, "[]", r"version\.json"),
    changed("version.json is missing", VERSION, _unlink, r"has no version"),
    changed("version.json is binary", VERSION, b"\xff\xfe", r"version\.json", LIST),
    changed(
        "weights were replaced",
        "versions/*/bundle/model.safetensors",
        b"x",
        r"model\.safetensors.*is not the file",
    ),
    changed("weights are missing", "versions/*/bundle/model.safetensors", _unlink, r"model\.safetensors"),
    changed(
        "a vocabulary was replaced",
        "versions/*/bundle/vocabulary/a.parquet",
        b"x",
        r"a\.parquet.*is not the file",
    ),
    forged(
        "a champion that does not exist",
        lambda it: it.update(version="0" * 12),
        r"has no version '000000000000'",
    ),
    forged("a champion that leaves the registry", lambda it: it.update(version="../../../etc"), r"\.\./"),
    forged("a champion with an absolute path", lambda it: it.update(version="/etc"), r"/etc"),
    forged("a champion that is a number", lambda it: it.update(version=1), r"champion\.json.*version"),
    forged("a champion with another key", lambda it: it.update(colour=1), r"champion\.json.*colour"),
    forged(
        "a file that leaves the bundle",
        lambda it: it["files"][0].update(path="../../../../x"),
        r"version\.json: files\.0\.path.*within the folder",
        VERSION,
    ),
    forged(
        "a file with an absolute path",
        lambda it: it["files"][0].update(path="/etc/passwd"),
        r"version\.json: files\.0\.path.*within the folder",
        VERSION,
    ),
    forged(
        "a version of no files",
        lambda it: it.update(files=[]),
        r"version\.json: does not have the files",
        VERSION,
    ),
    forged(
        "a version of another name",
        lambda it: it.update(version="abc"),
        r"version\.json: does not have the files",
        VERSION,
    ),
    forged(
        "a checksum of another file",
        lambda it: it["files"][0].update(sha256="0" * 64),
        r"version\.json: does not have the files",
        VERSION,
    ),
    forged(
        "a date that is none",
        lambda it: it.update(created="2026-02-30"),
        r"version\.json.*created",
        VERSION,
        LIST,
    ),
    Case(
        "promote an unknown version",
        {"registry/.copy": _copy},
        "registry promote registry 000",
        r"has no version '000'",
    ),
    Case("promote a path", {"registry/.copy": _copy}, "registry promote registry ../x", r"\.\./x"),
    Case(
        "roll back the first",
        {"registry/.copy": _copy},
        "registry rollback registry",
        r"no previous champion",
    ),
    Case(
        "show an unknown version",
        {"registry/.copy": _copy},
        "registry show registry zzz",
        r"has no version 'zzz'",
    ),
    Case(
        "promote no bundle", {"registry/.copy": _copy}, "promote --registry registry --bundle gone", r"gone"
    ),
    Case(
        "promote an empty folder",
        {"registry/.copy": _copy, "b": lambda path: path.mkdir()},
        "promote --registry registry --bundle b",
        r"\bb\b",
    ),
    Case(
        "promote text",
        {"registry/.copy": _copy, "b/x.txt": "x"},
        "promote --registry registry --bundle b",
        r"\bb\b",
    ),
    Case(
        "promote with a verdict that is none",
        {"registry/.copy": _copy, "v.json": "{}"},
        "promote --registry registry --bundle {assets}/bundle --verdict v.json",
        r"v\.json",
    ),
]
