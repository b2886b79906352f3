"""What the traffic log does with rows when the server stops."""

import threading
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ctrloom.serving.predictor import Scored
from ctrloom.serving.server.question import PROBABILITY, Answer, Question
from ctrloom.serving.server.traffic_log import TrafficLog


def answer(id: str) -> Answer:
    return Answer(
        Question(id, {"a": ["x"]}, (PROBABILITY,)), "v", Scored(np.array([0.5], np.float32), {}, {}, {})
    )


def test_rows_added_during_the_last_write_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writing, release, write = threading.Event(), threading.Event(), TrafficLog._write

    def slow(self: TrafficLog, rows: pa.Table) -> None:
        writing.set()
        assert release.wait(20)
        write(self, rows)

    monkeypatch.setattr(TrafficLog, "_write", slow)
    log = TrafficLog(tmp_path / "log", share=1.0, seconds=20, rows=1, counts=Counter())
    log.add(answer("r0"))
    assert writing.wait(20)
    log.add(answer("r1"))
    closing = threading.Thread(target=log.close)
    closing.start()
    while not log.stopped:
        pass
    release.set()
    closing.join()
    ids = [
        id
        for part in (tmp_path / "log").rglob("*.parquet")
        for id in pq.read_table(part)["ctrloom.request_id"].to_pylist()
    ]
    assert sorted(ids) == ["r0", "r1"]
    assert log.counts == {"written": 2}
