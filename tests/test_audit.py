"""`make audit`: what it reports, and that an audit that was not done is not taken for a clean one."""

import importlib.machinery
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[1] / ".ci" / "audit"


@pytest.fixture
def audit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    loader = importlib.machinery.SourceFileLoader("audit", str(SCRIPT))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("audit", loader))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    loader.exec_module(module)
    monkeypatch.setattr(module, "TOOL", tmp_path)
    return module


def answering(folder: Path, answer: object, error: str = "", status: int = 0) -> None:
    """Write a program in place of pip-audit."""
    program = folder / "bin" / "pip-audit"
    program.parent.mkdir()
    write = f"open(sys.argv[-1], 'w').write({json.dumps(answer)!r})" if answer else ""
    code = f"import sys\n{write}\nprint({error!r}, file=sys.stderr)\nsys.exit({status})\n"
    program.write_text(f"#!{sys.executable}\n{code}")
    program.chmod(0o755)


def run(audit: ModuleType, monkeypatch: pytest.MonkeyPatch, *options: str) -> int:
    monkeypatch.setattr(sys, "argv", ["audit", "constraints.txt", *options])
    return audit.main()


CLEAN = {"name": "a", "version": "1", "vulns": []}
FLAWED = {"name": "b", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3"]}]}
SKIPPED = {"name": "c", "skip_reason": "Dependency not found on PyPI and could not be audited: c (1)"}


def test_findings_are_reported(audit, tmp_path, monkeypatch, capsys) -> None:
    answering(tmp_path, {"dependencies": [CLEAN, FLAWED]}, status=1)
    assert run(audit, monkeypatch) == 1
    assert capsys.readouterr().out.splitlines() == [
        "b 2: PYSEC-1; fixed in 3",
        "audit: 1 known vulnerabilities in 2 packages",
    ]


def test_clean_packages_pass(audit, tmp_path, monkeypatch, capsys) -> None:
    answering(tmp_path, {"dependencies": [CLEAN]})
    assert run(audit, monkeypatch, "--strict") == 0
    assert capsys.readouterr().out == "audit: 0 known vulnerabilities in 1 packages\n"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"dependencies": [CLEAN, SKIPPED]}, "the database does not know 1 of 2 packages, such as c"),
        (None, "pip-audit reaches no database of vulnerabilities: ConnectionError: no route"),
    ],
)
@pytest.mark.parametrize(("options", "status"), [((), 0), (("--strict",), 2)])
def test_audit_that_was_not_done_is_reported(
    answer, said, options, status, audit, tmp_path, monkeypatch, capsys
) -> None:
    answering(tmp_path, answer, "Traceback\nConnectionError: no route", status=int(answer is None))
    assert run(audit, monkeypatch, *options) == status
    printed = capsys.readouterr()
    assert (printed.out, printed.err.startswith(f"audit: not done: {said}")) == ("", True)
