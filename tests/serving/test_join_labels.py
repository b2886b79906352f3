"""Rows of several servers and clients, joined with labels."""

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ctrloom.data.parquet.writer import sealed_writer
from ctrloom.serving import traffic
from ctrloom.serving.traffic import META, PREFIX, join_labels

NOON = int(datetime(2026, 11, 30, 12, tzinfo=UTC).timestamp()) * 1_000_000


def write_part(log: Path, name: str, seconds: list[int], values: pa.Array) -> None:
    """A part of a log whose requests r<second> came that long after noon."""
    count = len(seconds)
    meta = {
        "request_id": [f"r{second}" for second in seconds],
        "row": [0] * count,
        "time": [NOON + second * 1_000_000 for second in seconds],
        "model_version": ["v"] * count,
        "probability": [0.5] * count,
        "malformed": [None] * count,
    }
    columns = {f"{PREFIX}{key}": pa.array(meta[key], kind) for key, kind in META.items()}
    table = pa.table({**columns, "a": values})
    (log / "2026-11-30").mkdir(parents=True, exist_ok=True)
    with sealed_writer(log / "2026-11-30" / name, table.schema, compression="zstd") as (writer, _):
        writer.write_table(table)


@pytest.mark.parametrize("chunk", [1, 1000])
def test_rows_are_ordered_by_time(chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those of several parts, of columns with two types, and of more rows than are joined at once."""
    monkeypatch.setattr(traffic, "CHUNK", chunk)
    write_part(tmp_path / "log", "1.parquet", [4, 1], pa.array(["x", "y"]))
    write_part(tmp_path / "log", "2.parquet", [3, 0], pa.array(["z", None]))
    write_part(tmp_path / "log", "3.parquet", [2], pa.array([7.0]))
    (tmp_path / "labels.csv").write_text("request_id,click\n" + "".join(f"r{n},{n % 2}\n" for n in range(5)))
    join_labels(tmp_path / "log", str(tmp_path / "labels.csv"), tmp_path / "joined.parquet")
    found = pq.read_table(tmp_path / "joined.parquet")
    assert found.to_pydict() == {"a": [None, "y", "7", "z", "x"], "click": ["0", "1", "0", "1", "0"]}
