"""The traffic log: sampled requests with their probabilities, as Parquet files by day.

Nothing here fails or delays a request: rows that cannot be written are counted as lost.
"""

import os
import threading
import time
import uuid
from collections import Counter
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from zlib import crc32

import pyarrow as pa

from ctrloom import storage
from ctrloom.data.parquet.writer import sealed_writer
from ctrloom.progress import warn
from ctrloom.serving.server.question import Answer
from ctrloom.serving.traffic import META, PREFIX
from ctrloom.storage import Place

MOST_WAITING = 200_000  # rows in memory
PATIENCE = 3.0  # seconds for the last part when the server stops


class TrafficLog:
    """Writes a part whenever `rows` rows are waiting, or the first one of them for `seconds`."""

    def __init__(self, folder: Place, share: float, seconds: float, rows: int, counts: Counter[str]) -> None:
        self.folder, self.share, self.seconds, self.rows, self.counts = folder, share, seconds, rows, counts
        self.name = f"{uuid.uuid4().hex[:12]}-{os.getpid()}"
        self.parts = self.waiting_rows = 0
        self.waiting: list[pa.RecordBatch] = []
        self.lock, self.full, self.stopped = threading.Lock(), threading.Event(), False
        self.told = ""
        self.thread = threading.Thread(target=self._run, name="traffic log", daemon=True)
        self.thread.start()

    def add(self, answer: Answer) -> None:
        """Take the rows of an answer if its request id is in the sample."""
        question = answer.question
        if crc32(question.id.encode()) >= self.share * 2**32:
            return
        with self.lock:
            count = question.size
            if self.waiting_rows + count > MOST_WAITING:
                self.counts["lost"] += count
                return
            self.waiting.append(described(answer, question.table()))
            self.waiting_rows += count
            if self.waiting_rows >= self.rows:
                self.full.set()

    def close(self) -> None:
        """Write what is waiting."""
        self.stopped = True
        self.full.set()
        self.thread.join(PATIENCE)

    def _run(self) -> None:
        last = False
        while not last:
            self.full.wait(self.seconds)
            self.full.clear()
            last = self.stopped  # if it stops later, it comes back for what is added meanwhile
            with self.lock:
                taken, self.waiting, self.waiting_rows = self.waiting, [], 0
            by_schema: dict[pa.Schema, list[pa.RecordBatch]] = {}
            for batch in taken:  # of other clients or versions, columns have other types
                by_schema.setdefault(batch.schema, []).append(batch)
            for schema, batches in by_schema.items():
                self._write(pa.Table.from_batches(batches, schema))

    def _write(self, rows: pa.Table) -> None:
        now = datetime.now(UTC)
        name = f"{now:%H%M%S}-{self.name}-{self.parts:06d}.parquet"
        at = self.folder / f"{now:%Y-%m-%d}" / name
        self.parts += 1
        try:
            # An object appears as a whole when it is closed.
            with storage.atomic_file(at) if isinstance(at, Path) else nullcontext(at) as whole:
                with sealed_writer(whole, rows.schema, compression="zstd") as (writer, _):
                    writer.write_table(rows)
        except Exception as error:  # requests go on, whatever is wrong with the log
            self._lost(rows.num_rows, storage.one_line(error).replace(str(at), str(self.folder)))
            return
        self.told = ""
        with self.lock:
            self.counts["written"] += rows.num_rows

    def _lost(self, rows: int, reason: str) -> None:
        with self.lock:
            self.counts["lost"] += rows
        if reason != self.told:
            warn(f"the traffic log is not written: {reason}")
        self.told = reason


def described(answer: Answer, rows: pa.RecordBatch) -> pa.RecordBatch:
    """The raw rows with `META`."""
    count = rows.num_rows
    malformed = answer.scored.malformed
    meta = [
        pa.repeat(answer.question.id, count),
        pa.array(range(count), META["row"]),
        pa.repeat(pa.scalar(time.time_ns() // 1000, META["time"]), count),
        pa.repeat(answer.version, count),
        pa.array(
            answer.probabilities, META["probability"], mask=answer.probabilities != answer.probabilities
        ),
        pa.array([malformed.get(row) for row in range(count)], pa.string()),
    ]
    names = [f"{PREFIX}{name}" for name in META]
    return pa.RecordBatch.from_arrays([*meta, *rows.columns], [*names, *rows.schema.names])
