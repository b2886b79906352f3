"""Kinds of fuzz targets: how each gives bytes to a parser, and the seeds that a fuzzer starts from."""

import json
import shutil
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from hostile import assets

from ctrloom.config import SourceConfig
from ctrloom.config.files import load_run_config, read_config, setting
from ctrloom.data.ingest.cast import read_rows
from fuzz.json_edits import edited

ROOT = Path(__file__).parents[3]
sys.path.append(str(ROOT / "tests" / "evaluation"))  # invented_results
COLUMNS = {
    "click": "label",
    "a": "categorical",
    "n": "numeric",
    "m": "multivalued",
    "t": {"kind": "timestamp", "derive": ["hour"]},
    "w": "weight",
}


class Target(ABC):
    """One parser."""

    folder: Path

    def prepare(self, folder: Path) -> Sequence[bytes]:
        """Make the files that the parser needs; returns seeds."""
        self.folder = folder
        return self.seeds()

    @abstractmethod
    def seeds(self) -> Sequence[bytes]:
        """Valid inputs."""

    @abstractmethod
    def parse(self, data: bytes) -> None:
        """Parse an input."""


class File(Target):
    """A parser of a whole file."""

    def __init__(
        self, read: Callable[[Path], Any], seeds: Callable[[], Sequence[bytes]], name: str = "input"
    ) -> None:
        self.read, self.given, self.name = read, seeds, name

    def seeds(self) -> Sequence[bytes]:
        return self.given()

    def parse(self, data: bytes) -> None:
        path = self.folder / self.name
        path.write_bytes(data)
        self.read(path)


class Configuration(File):
    """A YAML configuration."""

    def __init__(self, kind: type[Any], *examples: str) -> None:
        super().__init__(
            lambda path: read_config(kind, path), lambda: [(ROOT / e).read_bytes() for e in examples]
        )


class Setting(Target):
    """The value of `--set`."""

    def seeds(self) -> Sequence[bytes]:
        (self.folder / "run.yaml").write_text(yaml.safe_dump(assets.RUN))
        return [
            b"seeds=[0, 1]",
            b"models.default.hidden=[8]",
            b"search={method: aim}",
            b"data.columns.a={kind: label}",
        ]

    def parse(self, data: bytes) -> None:
        key, _, value = data.decode(errors="surrogateescape").partition("=")
        setting(key, value)
        load_run_config(self.folder / "run.yaml", [(key, value)])


class Rows(File):
    """A file of raw rows."""

    def __init__(self, format: str, *seeds: bytes, **more: Any) -> None:
        columns = (
            dict(COLUMNS)
            if format in ("csv", "tsv", "parquet")
            else {"click": "label", "a": "categorical", "n": "numeric"}
        )
        source = SourceConfig.parse({"format": format, "columns": columns} | more, "fuzz")

        def read(path: Path) -> None:
            for with_label in (True, False):
                for _ in read_rows(source, [str(path)], with_label):
                    pass

        super().__init__(read, lambda: seeds)


class Dates(Target):
    """A format of timestamps and a value."""

    def seeds(self) -> Sequence[bytes]:
        return [
            b"%Y-%m-%d\n2026-11-30",
            b"%Y-%m-%dT%H:%M:%S.%f%z\n2026-11-30T01:02:03.5Z",
            b"%d/%b/%y %I %p\n1/Jan/70 1 AM",
        ]

    def parse(self, data: bytes) -> None:
        format, _, value = data.decode(errors="replace").partition("\n")
        column = {"kind": "timestamp", "format": format, "derive": ["hour"]}
        raw = {"columns": {"click": "label", "t": column, "a": "categorical"}, "format": "parquet"}
        source = SourceConfig.parse(raw, "fuzz")
        table = pa.table({"click": [1], "t": [value], "a": ["x"]})
        pq.write_table(table, self.folder / "rows.parquet")
        list(read_rows(source, [str(self.folder / "rows.parquet")]))


class Labels(Target):
    """A rule of labels and a value."""

    def seeds(self) -> Sequence[bytes]:
        return [b"> 3\n4", b"== spam\nspam", b"1\n1"]

    def parse(self, data: bytes) -> None:
        rule, _, value = data.decode(errors="replace").partition("\n")
        raw = {
            "columns": {"click": {"kind": "label", "positive": rule}, "a": "categorical"},
            "format": "parquet",
        }
        pq.write_table(pa.table({"click": [value], "a": ["x"]}), self.folder / "rows.parquet")
        list(read_rows(SourceConfig.parse(raw, "fuzz"), [str(self.folder / "rows.parquet")]))


def shared_assets(folder: Path) -> Path:
    """The assets next to the folder of a target."""
    shared = folder.parent / "assets"
    if not shared.exists():
        assets.make(shared)
    return shared


class Part(Target):
    """One file of an asset, which is read with the files around it; JSON is also edited value by value."""

    def __init__(self, asset: str, file: str, read: Callable[[Path], Any]) -> None:
        self.asset, self.file, self.read = asset, file, read

    def seeds(self) -> Sequence[bytes]:
        self.copy = self.folder / "copy"
        shutil.copytree(shared_assets(self.folder) / self.asset, self.copy)
        (self.at,) = self.copy.glob(self.file)
        for path in self.copy.rglob("*.json"):  # without checksums, so that each value counts
            value = json.loads(path.read_text())
            value.pop("checksum", None)
            if "base" in value:  # the manifest of a data set, which needs the list of its files
                value["base"] = str(self.copy)
                for part in chain.from_iterable(value["files"].values()):
                    part.pop("seal", None)
            else:
                value.pop("files", None)
            path.write_text(json.dumps(value))
        self.seed = self.at.read_bytes()
        return [self.seed, b"\xffx"]

    def parse(self, data: bytes) -> None:
        if self.at.suffix == ".json" and data[:1] >= b"\xc0":  # not UTF-8, so no JSON
            data = edited(self.seed, data[1:])
        self.at.write_bytes(data)
        self.read(self.copy)


class Json(File):
    """A record in JSON, raw or edited value by value."""

    def __init__(self, read: Callable[[Path], Any], make: Callable[[], Any], name: str) -> None:
        super().__init__(read, cache(lambda: [json.dumps(make()).encode(), b"\xffx"]), name)

    def parse(self, data: bytes) -> None:
        if data[:1] >= b"\xc0":
            data = edited(self.given()[0], data[1:])
        super().parse(data)


class Cluster(Target):
    """Answers of Kubeflow Pipelines."""

    def seeds(self) -> Sequence[bytes]:
        from fuzz.kfp_answers import Answers

        self.answers = Answers()
        return self.answers.seeds

    def parse(self, data: bytes) -> None:
        self.answers.take(data)
