import runpy
from pathlib import Path

import pytest

from ctrloom.data import counts

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "ingest_memory.py"


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARK.parent)
    benchmark = runpy.run_path(str(BENCHMARK))
    peaks = []
    for rows in (100_000, 1_000_000):
        benchmark["generate"](tmp_path / "rows.tsv", rows)
        peaks.append(benchmark["in_child"](tmp_path / "rows.tsv", tmp_path / f"store-{rows}")["peak_mib"])
    assert peaks[1] < 1.3 * peaks[0] + counts.MOST_BYTES / 2**20  # which the smaller file does not fill
    assert peaks[1] < 1024
