"""The command line: what every command has in common."""

import subprocess
import sys
from importlib.metadata import version

import pytest
import typer
from typer.testing import CliRunner

from ctrloom import cli
from ctrloom.cli.options import CLUSTER, DATA, PIPELINES, REGISTRY, RETRAINING, SERVING, STAGES
from ctrloom.config.base import ConfigError
from ctrloom.config.errors import UserError
from ctrloom.training.loop import pick_device


def failed(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int | str | None:
    monkeypatch.setattr(sys, "argv", ["ctrloom", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code


def test_version_is_that_of_the_package() -> None:
    done = CliRunner().invoke(cli.app, ["--version"])
    assert (done.exit_code, done.stdout) == (0, f"ctrloom {version('ctrloom')}\n")


def test_help_groups_every_command() -> None:
    commands = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]
    groups = {PIPELINES, STAGES, DATA, RETRAINING, CLUSTER, REGISTRY, SERVING}
    assert {command.rich_help_panel for command in commands.values()} == groups


def test_completion_can_be_shown() -> None:
    assert "--show-completion" in CliRunner().invoke(cli.app, ["--help"]).stdout


@pytest.mark.parametrize("value", ["x", "0", "-1", "1.5", ""])
def test_an_invalid_world_size_names_its_variable(value, monkeypatch, capsys) -> None:
    monkeypatch.setenv("WORLD_SIZE", value)
    assert failed(monkeypatch, "doctor") == 2
    assert "WORLD_SIZE: must be a positive number of processes" in capsys.readouterr().err


@pytest.mark.parametrize("value", ["cuda:1", "gpu", "CPU"])
def test_an_invalid_device_names_its_variable(value, monkeypatch) -> None:
    monkeypatch.setenv("CTRLOOM_DEVICE", value)
    with pytest.raises(ConfigError, match="CTRLOOM_DEVICE: must be auto, cpu, cuda, not"):
        pick_device("auto")
    assert pick_device("cpu").type == "cpu", "a configured device does not read the variable"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("search.epochs", "--set search.epochs: write KEY=VALUE"),
        ("seeds=[1", "--set seeds: is not YAML"),
    ],
)
def test_an_invalid_setting_is_named(setting, message, monkeypatch, capsys, tmp_path) -> None:
    (tmp_path / "run.yaml").write_text("name: a\ndata: {files: x.csv, columns: {y: label, a: categorical}}\n")
    assert failed(monkeypatch, "ingest", str(tmp_path / "run.yaml"), "--set", setting) == 2
    assert message in capsys.readouterr().err


def test_debug_keeps_the_traceback(monkeypatch) -> None:
    monkeypatch.setenv("CTRLOOM_DEBUG", "1")
    monkeypatch.setattr(sys, "argv", ["ctrloom", "ingest", "missing.yaml"])
    with pytest.raises(ConfigError, match=r"missing\.yaml: cannot be read"):
        cli.main()


def test_help_loads_neither_torch_nor_arrow() -> None:
    code = (
        "import sys\nfrom ctrloom import cli\nfrom typer.testing import CliRunner\n"
        "CliRunner().invoke(cli.app, ['--help'])\n"
        "print(*sorted({'torch', 'pyarrow', 'pandas', 'duckdb', 'kfp'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize(
    ("error", "printed"),
    [
        (UserError("seeds: choose others"), "ctrloom: seeds: choose others\n"),
        (FileNotFoundError(2, "No such file or directory", "a.csv"), "ctrloom: [Errno 2] No such file or "),
        (ValueError("a defect"), None),
        (KeyError("a defect"), None),
    ],
)
def test_only_errors_that_users_can_fix_are_printed_without_traceback(
    error: Exception, printed: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def command() -> None:
        raise error

    monkeypatch.setattr(cli, "app", command)
    if printed is None:
        with pytest.raises(type(error)):
            cli.main()
    else:
        assert failed(monkeypatch) == 2
        assert capsys.readouterr().err.startswith(printed)
