"""Text in Parquet that is not UTF-8, which PyArrow does not check when it reads."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ctrloom.config import SourceConfig
from ctrloom.data.errors import DataError
from ctrloom.data.ingest.cast import read_rows
from ctrloom.data.sources.raw import python_value

SOURCE = SourceConfig.parse(
    {"format": "parquet", "columns": {"click": "label", "name": "categorical"}}, "test"
)


def test_a_value_is_shown_with_its_bytes() -> None:
    value = pa.array([b"a\xffb"]).view(pa.string())[0]
    assert python_value(value) == "a\\xffb"


def test_the_name_of_a_column_is_an_error_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"click": [0, 1], "name": ["a", "b"]}), path, store_schema=False)
    path.write_bytes(path.read_bytes().replace(b"name", b"n\x90me"))
    with pytest.raises(DataError, match=f"^{path}: is not Parquet"):
        list(read_rows(SOURCE, [str(path)]))
