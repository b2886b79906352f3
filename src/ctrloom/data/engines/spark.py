"""Spark engine; executors read and write files with the code of this package, in any storage."""

import os
import re
import shutil
import signal
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import ibis
import pyarrow as pa
from ibis.expr.types import Table

from ctrloom.config.base import ConfigError
from ctrloom.config.extras import install
from ctrloom.data.engines import spark_worker
from ctrloom.data.engines.engine import Kept
from ctrloom.data.errors import DataError
from ctrloom.progress import Advance
from ctrloom.storage import Place

NEEDED = {"spark.sql.execution.arrow.pyspark.enabled": "true"}
# For a session started by this process; an existing one keeps its own settings.
OWN = {"spark.ui.enabled": "false", "spark.ui.showConsoleProgress": "false", "spark.log.level": "FATAL"}
PARTITIONS = "spark.sql.shuffle.partitions"
OTHERWISE = "or use the engine duckdb"
RAISED = re.compile(r"^(?:Caused by: )?([\w.$]*(?:Error|Exception)): (.+)$", re.M)

Item = TypeVar("Item")
Done = TypeVar("Done")


class Spark:
    """A Spark session behind Ibis, and its temporary views."""

    def __init__(self, session: Any, views: ExitStack) -> None:
        self.session, self.views = session, views
        self.backend = ibis.pyspark.connect(session)

    def rows(self, files: Iterable[Place]) -> Table:
        """Parquet files as one table; executors read them once and cache them, spilling to disk."""
        from pyspark.sql.pandas.types import from_arrow_schema

        files = list(files)
        schema = from_arrow_schema(spark_worker.schema(files[0]))
        numbers, name = self.session.range(0, len(files), 1, len(files)), _unused("rows")
        numbers.mapInArrow(partial(spark_worker.read, files), schema).createOrReplaceTempView(name)
        self.views.enter_context(self._cached(name))
        return self.backend.table(name)

    @contextmanager
    def kept(self, table: Table) -> Iterator[Kept]:
        """The rows of an expression, cached by executors; fetched one partition at a time."""
        name = _unused("kept")
        view = self.backend.create_view(name, table)
        with self._cached(name):
            yield Kept(view, partial(self._batches, name))

    def map_items(
        self, work: Callable[[Sequence[Item], Advance], list[Done]], items: Sequence[Item], advance: Advance
    ) -> list[Done]:
        """Results of `work`; every item is a task."""
        context = self.session.sparkContext
        counter = context.accumulator(0)
        tasks = context.parallelize(items, len(items)).map(partial(spark_worker.done, work, counter))
        done: list[Done] = tasks.collect()
        advance(counter.value)
        return done

    @contextmanager
    def _cached(self, view: str) -> Iterator[None]:
        self.session.catalog.cacheTable(view)
        try:
            yield
        finally:
            self.session.catalog.uncacheTable(view)
            self.session.catalog.dropTempView(view)

    def _batches(self, view: str) -> Iterator[pa.RecordBatch]:
        packed = self.session.table(view).mapInArrow(spark_worker.packed, "packed binary")
        for (each,) in packed.toLocalIterator():
            with pa.ipc.open_stream(each) as stream:
                yield from stream


@contextmanager
def spark(options: Mapping[str, str]) -> Iterator[Spark]:
    """The session of this process, which is started on first use and ends with the process.

    Raises:
        ConfigError: PySpark or Java is missing, or Spark does not start.
        DataError: Spark or a task failed.
    """
    session = _session({f"spark.{name}": value for name, value in options.items()})
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    try:
        with ExitStack() as views, warnings.catch_warnings():
            warnings.filterwarnings("ignore", "toPandas attempted Arrow")  # repeated by the next error
            yield Spark(session, views)
    except (PySparkException, Py4JError) as error:
        raise DataError(_reason(str(error))) from error


def _session(options: dict[str, str]) -> Any:
    try:
        from pyspark import SparkConf
        from pyspark.errors import PySparkException
        from pyspark.sql import SparkSession
    except ImportError:
        raise ConfigError(f"engine: spark needs PySpark: {install('spark')}, {OTHERWISE}") from None
    submitted = "PYSPARK_GATEWAY_PORT" in os.environ  # set by spark-submit
    if not submitted and not _java():
        raise ConfigError(
            "engine: spark needs Java 17 or newer, which is neither in JAVA_HOME nor on the PATH: "
            f"install it (Debian: openjdk-17-jre-headless), {OTHERWISE}"
        )
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    given = {**NEEDED, **({} if submitted else OWN), **options}
    interrupt = signal.getsignal(signal.SIGINT)
    try:
        session = SparkSession.builder.config(conf=SparkConf().setAll(given.items())).getOrCreate()
        if interrupt is not signal.default_int_handler and signal.getsignal(signal.SIGINT) is not interrupt:
            signal.signal(signal.SIGINT, interrupt)  # Spark has replaced the command's handler
        context = session.sparkContext
        if context.master.startswith("local") and PARTITIONS not in options:  # 200 by default
            session.conf.set(PARTITIONS, str(2 * context.defaultParallelism))
    except PySparkException as error:
        raise ConfigError(f"engine: Spark did not start: {error}; see its output above") from error
    return session


def _java() -> bool:
    home = os.environ.get("JAVA_HOME")
    return (Path(home) / "bin" / "java").exists() if home else shutil.which("java") is not None


def _reason(said: str) -> str:
    """The message of the original error, extracted from the nested traces of Java and Python."""
    raised = RAISED.findall(said)
    own = [message for kind, message in raised if kind.startswith("ctrloom.")]
    if own:
        return own[-1]
    first = next(iter(said.strip().splitlines()), "")
    return f"Spark failed: {raised[-1][1] if raised else first}"


def _unused(kind: str) -> str:
    return f"{kind}_{uuid4().hex}"
