import sys

import pytest

from ctrloom import progress as module
from ctrloom.progress import MARK, WARNING, progress, warn


class Clock:
    """A clock that is advanced by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module.time, "monotonic", clock.monotonic)
    return clock


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    captured = capsys.readouterr()
    assert captured.out == ""  # standard output is for results
    assert "\x1b" not in captured.err
    assert "\r" not in captured.err
    return captured.err.splitlines()


def test_plain_lines_when_not_on_a_terminal(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with progress("encode", 1000) as advance:
        for _ in range(10):
            clock.now += 2
            advance(100)
    assert lines(capsys) == [
        f"{MARK}encode:  30%, 50 rows/s, 14 s left",
        f"{MARK}encode:  60%, 50 rows/s, 8 s left",
        f"{MARK}encode:  90%, 50 rows/s, 2 s left",
        f"{MARK}encode: 100%, 50 rows/s, 0 s left",
    ]


def test_short_work_prints_one_line(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with progress("evaluate", 2, "models") as advance:
        clock.now += 0.5
        advance(1)
        clock.now += 0.5
        advance(1, "done")
    assert lines(capsys) == [f"{MARK}evaluate: 100%, 2 models/s, 0 s left, done"]


def test_an_unknown_total_counts(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with progress("predict", None) as advance:
        clock.now += 6
        advance(12_000, "batch 1")
    assert lines(capsys) == [f"{MARK}predict: 12,000 rows, 2,000 rows/s, batch 1"]


def test_no_work_prints_nothing(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with progress("encode", 0):
        pass
    assert lines(capsys) == []


def test_a_failure_inside_is_passed_on() -> None:
    with pytest.raises(RuntimeError, match="stop"), progress("encode", 10):
        raise RuntimeError("stop")


def test_a_terminal_has_a_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    with progress("encode", 100) as advance:
        advance(100, "loss 0.5")
    shown = capsys.readouterr().err
    assert "encode" in shown
    assert MARK + "encode" not in shown


def test_a_warning_is_one_line_also_above_a_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    long = "price: " + "[x] " * 50
    warn(long)
    assert lines(capsys) == [WARNING + long]
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    with progress("encode", 100) as advance:
        warn(long)
        advance(100)
    assert WARNING + long in capsys.readouterr().err
    monkeypatch.setenv("RANK", "1")
    warn(long)
    assert capsys.readouterr().err == ""
