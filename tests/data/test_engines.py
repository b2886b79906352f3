"""Engine selection and errors of a missing engine; test_spark.py tests Spark itself."""

import sys
from collections.abc import Sequence
from pathlib import Path

import ibis
import pytest

from ctrloom import cli
from ctrloom.config import RunConfig
from ctrloom.config.base import ConfigError
from ctrloom.config.engine import EngineConfig
from ctrloom.config.files import load_run_config
from ctrloom.data.engines import map_items, opened
from ctrloom.data.errors import DataError
from ctrloom.progress import Advance

RUN = "name: a\ndata:\n  files: a.csv\n  columns: {click: label, user: categorical}\n"


def test_options_of_spark_are_sections_or_dotted_names_and_become_text():
    spark = {
        "master": "local[2]",
        "driver": {"memory": "1g"},
        "sql.shuffle.partitions": 4,
        "ui": {"enabled": True},
    }
    config = EngineConfig.parse({"engine": "spark", "spark": {**spark, "spark.log.level": "WARN"}}, "test")
    assert config.spark == {
        "master": "local[2]",
        "driver.memory": "1g",
        "sql.shuffle.partitions": "4",
        "ui.enabled": "true",
        "log.level": "WARN",
    }
    with pytest.raises(ConfigError, match=r"spark: driver.memory: must be text, a number, true or false"):
        EngineConfig.parse({"spark": {"driver": {"memory": None}}}, "test")
    with pytest.raises(
        ConfigError, match="engine: must be 'duckdb' or 'spark', not 'sprak'; did you mean 'spark'"
    ):
        EngineConfig.parse({"engine": "sprak"}, "test")


def test_command_line_overrides_the_configuration(tmp_path: Path):
    file = tmp_path / "run.yaml"
    file.write_text(RUN + "engine: spark\nspark: {master: 'local[4]', driver: {memory: 2g}}\n")
    assert load_run_config(file).spark == {"master": "local[4]", "driver.memory": "2g"}
    loaded = load_run_config(file, [("spark.driver.memory", "8g"), ("engine", "duckdb")])
    assert (loaded.engine, loaded.spark["driver.memory"]) == ("duckdb", "8g")
    assert isinstance(loaded, RunConfig)


def test_the_embedded_engine_takes_items_in_order():
    advanced: list[int] = []

    def work(items: Sequence[int], advance: Advance) -> list[int]:
        for item in items:
            advance(item)
        return [-item for item in items]

    assert map_items(EngineConfig(), work, [1, 2], advanced.append) == [-1, -2]
    assert advanced == [1, 2]


def test_a_file_that_duckdb_cannot_write_is_a_clear_error(tmp_path: Path):
    with pytest.raises(DataError, match=r"DuckDB failed: IO Error: .*nowhere.*; check the free disk space"):
        with opened(EngineConfig(), tmp_path) as engine:
            engine.backend.to_parquet(ibis.memtable({"a": [1]}), tmp_path / "nowhere" / "a.parquet")
    assert list(tmp_path.iterdir()) == []


def run(monkeypatch: pytest.MonkeyPatch, folder: Path) -> int:
    (folder / "run.yaml").write_text(RUN)
    (folder / "a.csv").write_text("click,user\n" + "".join(f"{i % 2},u{i}\n" for i in range(50)))
    monkeypatch.setattr(
        sys,
        "argv",
        ["ctrloom", "ingest", str(folder / "run.yaml"), "--engine=spark", f"--store={folder / 'store'}"],
    )
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code


def test_missing_pyspark_is_an_error_with_a_hint(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "pyspark", None)
    assert run(monkeypatch, tmp_path) == 2
    assert (
        "engine: spark needs PySpark: pip install '.[spark]' in a checkout of ctrloom, or '<wheel>[spark]', "
        "or use the engine duckdb" in capsys.readouterr().err
    )
    assert not list(tmp_path.glob("store/*"))


def test_missing_java_is_an_error_with_a_hint(monkeypatch, tmp_path):
    pytest.importorskip("pyspark", reason="PySpark is not installed; `make test-spark` installs it")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="neither in JAVA_HOME nor on the PATH: install it"):
        with opened(EngineConfig(engine="spark"), tmp_path):
            pass
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(ConfigError, match="spark needs Java"):
        with opened(EngineConfig(engine="spark"), tmp_path):
            pass
