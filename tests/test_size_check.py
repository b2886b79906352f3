import subprocess
from pathlib import Path

import yaml

from ctrloom.config import Expected
from ctrloom.data.size_check import compared

ROWS = {"train": 800, "valid": 100, "test": 100}


def test_sizes_are_compared_line_by_line() -> None:
    expected = Expected(
        fields=3, features=40, rows={"train": 800, "test": 110, "all": 50_000}, source="a paper"
    )
    assert compared(expected, [22, 12, 2], ROWS) == [  # 20 + 10 tokens and a number; two reserved ids each
        "Sizes, compared with a paper:",
        "  fields: 3, as expected",
        "  features: 30, 10 fewer than the 40 expected (25.00%)",
        "  train rows: 800, as expected",
        "  test rows: 100, 10 fewer than the 110 expected (9.09%)",
        "  rows: 1,000, 49,000 fewer than the 50,000 expected (98.00%)",
    ]


def test_only_published_sizes_are_compared() -> None:
    assert compared(Expected(fields=2, source="us"), [5, 5, 5], ROWS)[1:] == [
        "  fields: 3, 1 more than the 2 expected (50.00%)"
    ]


def test_a_small_difference_is_not_rounded_away() -> None:
    line = compared(Expected(fields=1, features=1_000_000, source="us"), [1_000_003], ROWS)[2]
    assert line == "  features: 1,000,001, 1 more than the 1,000,000 expected (less than 0.01%)"


def test_the_vocabulary_command_prints_the_comparison(tmp_path: Path, python: str) -> None:
    lines = "".join(f"{i % 2},u{i % 5}\n" for i in range(100))
    (tmp_path / "clicks.csv").write_text("click,user\n" + lines)
    run = {
        "name": "small",
        "data": {"files": "clicks.csv", "columns": {"click": "label", "user": "categorical"}},
        "expected": {"fields": 1, "features": 6, "rows": {"all": 100}, "source": "the file"},
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run))

    def ctrloom(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [python, "-m", "ctrloom", *arguments, "--store", "store"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)

    ingested = ctrloom("ingest", "run.yaml").stdout.strip()
    done = ctrloom("vocabulary", "run.yaml", "--ingested", ingested)
    assert Path(done.stdout.strip()).is_file()
    assert "fields: 1, as expected" in done.stderr
    assert "features: 5, 1 fewer than the 6 expected (16.67%)" in done.stderr
    assert "rows: 100, as expected" in done.stderr
