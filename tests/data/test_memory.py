import runpy
from pathlib import Path

import pytest

from ctrloom.data.vocabulary import count_writer

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "ingest_memory.py"


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARK.parent)
    benchmark = runpy.run_path(str(BENCHMARK))

    def peak(rows: int, most: int) -> float:
        benchmark["generate"](tmp_path / "rows.tsv", rows)
        found = benchmark["in_child"](tmp_path / "rows.tsv", tmp_path / f"store-{rows}-{most}", most)
        return float(found["peak_mib"])

    # All bounded buffers are already full with the smaller file.
    assert peak(5_000_000, 32) < 1.3 * peak(1_000_000, 32)
    assert peak(1_000_000, count_writer.MOST_BYTES >> 20) < 1024
