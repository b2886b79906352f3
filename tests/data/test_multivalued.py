"""Lists in a cell: JSON, a separator, or a list column of Parquet; the truth is Python's json module."""

import csv
import io
import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data_helpers import Write, data_config
from hypothesis import given
from hypothesis import strategies as st

from ctrloom.config import Multivalued, SourceConfig, VocabularyConfig
from ctrloom.config.base import ConfigError
from ctrloom.data.ingest.cast import TypedBatch, read_rows
from ctrloom.data.ingest.run import ingest
from ctrloom.data.ingest.token_lists import token_lists
from ctrloom.data.vocabulary.build import build_vocabulary

JSON = {"kind": "multivalued", "format": "json"}
TOKENS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)


def as_csv(cells: list[str]) -> str:
    """Rows of a label, a token and a cell, quoted as needed."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["y", "c", "tags"])
    writer.writerows([str(i % 2), f"u{i}", cell] for i, cell in enumerate(cells))
    return text.getvalue()


def read(write: Write, cells: list[str], column: Any, **keys: Any) -> TypedBatch:
    columns = {"y": "label", "c": "categorical", "tags": column}
    (batch,) = read_rows(
        SourceConfig.parse({"columns": columns, **keys}, "test"), [write("a.csv", as_csv(cells))]
    )
    return batch


@given(st.lists(st.lists(TOKENS, max_size=4), min_size=1, max_size=6), st.booleans())
def test_every_list_of_texts_is_read_back(rows: list[list[str]], ascii: bool) -> None:
    cells = pa.array([json.dumps(row, ensure_ascii=ascii) for row in rows])
    lists, faults = token_lists("tags", cells, Multivalued(format="json"), pa.array([], pa.string()))
    assert (lists.to_pylist(), faults) == (rows, [])


def test_a_list_of_parquet_and_its_json_have_the_same_tokens(tmp_path: Any) -> None:
    rows = [[1, 2], [], None, [300]], [[1.0, 0.5], [1e-7], [1e20], [None]], [[True], [False, None], None, []]
    for values in rows:
        found = []
        for cells in (pa.array(values), pa.array([json.dumps(each) for each in values])):
            pq.write_table(
                pa.table({"y": [1, 0, 1, 0], "c": ["a"] * 4, "tags": cells}), tmp_path / "a.parquet"
            )
            columns = {"y": "label", "c": "categorical", "tags": JSON}
            source = SourceConfig.parse({"columns": columns, "format": "parquet"}, "test")
            (batch,) = read_rows(source, [str(tmp_path / "a.parquet")])
            assert not batch.malformed
            found.append(batch.table["tags"].to_pylist())
        assert found[0] == found[1]


def test_json_lists_in_csv(write: Write) -> None:
    cells = ['["a0", "b0"]', "[]", "", '["x, y", null, "", "z"]', "null", "[1, 2.50, true, NaN]", "?"]
    batch = read(write, cells, JSON, missing_values=["", "?"])
    assert batch.table["tags"].to_pylist() == [
        ["a0", "b0"],
        [],
        [],
        ["x, y", "z"],
        [],
        ["1", "2.5", "true"],
        [],
    ]
    assert not batch.malformed


@pytest.mark.parametrize(
    "cell",
    [
        '["a", ["b"]]',
        '[{"a": 1}]',
        '{"a": 1}',
        '"a"',
        "5",
        "true",
        "a|b",
        '["a"',
        "['a', 'b']",
        '["a"] x',
        "[" * 100_000,
        r'["\ud800"]',
        f"[{'9' * 5000}e]",
    ],
)
def test_other_cells_are_malformed(write: Write, cell: str) -> None:
    batch = read(write, ['["a"]', cell, '["b"]'], JSON)
    assert batch.table["tags"].to_pylist() == [["a"], ["b"]]
    (row,) = batch.malformed
    assert row.line == 3
    assert row.reason.startswith("tags is not a JSON list of values: ")


def test_a_separator_has_no_meaning_in_json() -> None:
    with pytest.raises(ConfigError, match="separator: has no meaning in JSON lists"):
        Multivalued.parse({"format": "json", "separator": ";"}, "test")
    assert Multivalued.parse(Multivalued(format="json").model_dump(), "test").format == "json"


@pytest.mark.parametrize(
    ("column", "cells", "warned"),
    [
        ({"kind": "multivalued", "separator": ","}, ['["a0", "b0"]', '["c0"]'], "look like JSON lists"),
        (
            "multivalued",
            ["['a0', 'b0']", "['c0']"],
            "look like JSON lists; set {kind: multivalued, format: json}",
        ),
        ("categorical", ['["a0", "b0"]', '["c0"]'], "look like JSON lists"),
        ("multivalued", ["a,b", "c,d", "a"], "no cell has the separator '|', but most have ','; set"),
        ("multivalued", ["a;b", "c;d", "a"], "but most have ';'"),
        ({"kind": "multivalued", "separator": ","}, ["a b", "c d", "a"], "but most have ' '"),
        (JSON, ['["a0", "b0"]', '["c0"]'], None),
        ("multivalued", ["a|b", "c", "x,y"], None),
        ("multivalued", ["a", "b", ""], None),
        ("categorical", ["a,b", "[x]", "c;d", "e"], None),
    ],
)
def test_cells_that_look_like_other_lists_are_reported(
    write: Write, tmp_path: Any, capsys: Any, column: Any, cells: list[str], warned: str | None
) -> None:
    columns = {"y": "label", "c": "categorical", "tags": column}
    split = {"valid": 0, "test": 0}
    manifest = ingest(
        data_config(write("a.csv", as_csv(cells * 4)), columns, split=split), tmp_path / "store"
    )
    build_vocabulary(manifest, VocabularyConfig(), tmp_path / "store")
    warnings = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert len(warnings) == bool(warned)
    assert not warned or (warnings[0].startswith("- warning: tags: ") and warned in warnings[0])
