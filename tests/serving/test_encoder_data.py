"""The exported encoder: a second reader of it encodes rows as ctrloom does.

`encoder_vectors/` holds an exported encoder and rows with their encoding, made by
`python tests/serving/test_encoder_data.py`.
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

import numpy as np
import pytest
from encoder_reader import MalformedError, Reader

from ctrloom.config import DataConfig, VocabularyConfig
from ctrloom.data.batches.tensors import to_batch
from ctrloom.data.dataset import Dataset
from ctrloom.data.ingest.cast import typed, typed_schema
from ctrloom.data.ingest.run import ingest
from ctrloom.data.sources.memory import read_memory
from ctrloom.data.vocabulary.build import build_vocabulary
from ctrloom.data.vocabulary.encode import Encoder
from ctrloom.serving.export.encoder_data import write_encoder

FOLDER = Path(__file__).parent / "encoder_vectors"
COLUMNS: dict[str, Any] = {
    "click": "label",
    "user": "categorical",
    "size": "numeric",
    "price": {"kind": "numeric", "decimal": ",", "thousands": ".", "symbol": "€"},
    "count": "numeric",
    "age": "numeric",
    "low": "numeric",
    "raw": "numeric",
    "log": "numeric",
    "squared": "numeric",
    "tags": "multivalued",
    "words": "multivalued",
    "list": {"kind": "multivalued", "format": "json"},
    "when": {
        "kind": "timestamp",
        "format": "%d/%b/%Y:%H:%M:%S %z",
        "timezone": "America/New_York",
        "derive": ["hour", "weekday", "day", "month"],
    },
}
BUCKETS: dict[str, Any] = {
    "size": {"method": "log_squared"},
    "price": {"method": "boundaries", "values": [-1, 0.5, 10, 1234.5]},
    "count": {"method": "equal_frequency", "buckets": 4},
    "age": {"method": "equal_width", "buckets": 3},
    "low": {"method": "keep", "scaling": "min_max"},
    "raw": {"method": "keep", "scaling": "none"},
    "log": {"method": "keep", "scaling": "log"},
    "squared": {"method": "keep", "scaling": "log_squared", "missing": "zero"},
}
POOLING = {"words": {"pooling": "sum"}}
PLAIN: dict[str, Any] = {
    **{"user": "u1", "size": "9", "price": "3,5", "count": "2", "age": "30", "low": "0.5", "raw": "1.5"},
    **{
        "log": "7",
        "squared": "50",
        "tags": "t1|t2",
        "words": "w1|w2",
        "list": '["x", 7]',
        "when": "06/Mar/2024:23:30:00 -0500",
    },
}
# Values of single columns, in rows that are plain otherwise; the rest of the file says what is malformed.
VARIED: dict[str, list[Any]] = {
    "user": [
        "",
        None,
        "NA",
        "u2",
        " u1",
        "stranger",
        "7",
        7,
        7.0,
        7.5,
        True,
        "true",
        "ü 1",
        1e-7,
        1.5e11,
        -0.0,
        ["u1"],
        {"u1": 1},
    ],
    "size": [
        "",
        "2",
        "2.0",
        "3",
        "1e3",
        "-4",
        "7.38905609893065",
        " 9 ",
        20,
        1e300,
        "inf",
        "x",
        "NaN",
        "999",
    ],
    "price": ["", "1.234,5", "€ 10", "-€ 2", "0,5", ",5", "1234,5", "1.23,5", "3.5", "5 €", "+7", "abc", 0.5],
    "count": ["0", "1", "3", "100", "-5", "-999", "-999.0", None, 2, True, "-0", -0.0, [2], []],
    "age": ["20", "36.6", "53.3", "53.4", "70", "1000", "0x10", "1e400", ".5", "5.", "+5", "--5", "nan"],
    "low": ["0", "1", "-3", "0.3", "1e308", "-1e308", None, "NA"],
    "raw": ["0", "-2.25", "1e39", "-1e300", "0.1", None, 123456789, "1e-46"],
    "log": ["0", "-9", "0.1", "1e300", None, "3"],
    "squared": ["0", "-9.5", "1.5", "2", "2.5", "3", "1000", "1e300", "-1e300", None, "NA", 7, "x"],
    "words": ["", "w1", "w2|w2", "w1|w9|w2|w3|w1", None, ["w1", "w2"]],
    "tags": [
        "",
        None,
        "t1",
        "t9|t1",
        "t1|t2|t3|t4|t5",
        "|t1||",
        "NA|t2",
        "t1|t1",
        ["t2", None, "t1"],
        [],
        [7, 7.5],
        [["t1"]],
        [{"t1": 1}],
        {"t1": 1},
    ],
    "list": [
        "[]",
        "null",
        "",
        '["x", null, "y"]',
        "[7.0, 7, true]",
        "[1e-7, 2.50]",
        "[[1]]",
        "{}",
        "[1",
        ["x", "y"],
    ],
    "when": [
        *[
            "06/Mar/2024:23:30:00 +0000",
            "29/Feb/2024:00:00:00 Z",
            "29/Feb/2023:00:00:00 Z",
            "1/mar/2024:7:05:09 +09:30",
        ],
        *[
            "31/Apr/2024:00:00:00 Z",
            "06/Mar/2024:24:00:00 Z",
            "06/Mar/2024:23:60:00 Z",
            "06/Mar/2024:23:59:60 Z",
            "",
        ],
        *[
            "06/March/2024:23:30:00 +0000",
            "06/Mar/2024 23:30:00 +0000",
            "06/Mar/2024:23:30:00",
            None,
            "10/Mar/2024:07:00:00 Z",
        ],
        *[
            "06/Mar/2024:23:30:00 +2400",
            "06/Mar/2024:23:30:00+0000",
            "06/Mar/0999:23:30:00 Z",
            "00/Mar/2024:23:30:00 Z",
        ],
    ],
}
TIMES: dict[str, tuple[dict[str, Any], list[Any]]] = {
    "numbers": (
        {"unit": "milliseconds"},
        ["1709767800000", 1709767800999, "1709767800000.5", "x", None, "1e18", -1],
    ),
    "zone": (
        {"format": "%Y-%m-%d %H:%M", "timezone": "America/New_York"},
        [
            "2024-03-10 03:30",
            "2024-03-10 02:30",
            "2024-11-03 01:30",
            "2024-03-10 03:00",
            "2024-3-9  5:07",
            "2024-13-01 00:00",
            "24-03-10 02:30",
        ],
    ),
    "half days": (
        {"format": "%y%j %I%p", "timezone": "Asia/Tokyo"},
        [
            "24060 12AM",
            "24366 12pm",
            "23366 1AM",
            "69001 5PM",
            "68001 5PM",
            "24060 13AM",
            "24060 0AM",
            "24000 1AM",
        ],
    ),
    "fractions": (
        {"format": "%FT%T.%fZ"},
        ["2024-03-06T23:30:00.123456789Z", "2024-03-06T23:30:00.Z", "1969-12-31T23:59:59.5Z"],
    ),
}


def rows() -> list[dict[str, Any]]:
    """The plain row, and it with one value changed; the last lacks columns."""
    changed = [{**PLAIN, name: value} for name, values in VARIED.items() for value in values]
    return [PLAIN, *changed, {"user": "u1", "when": PLAIN["when"]}]


def fitted(
    folder: Path,
    columns: dict[str, Any],
    lines: list[list[str]],
    fields: dict[str, Any],
    more_missing: tuple[str, ...] = (),
) -> Encoder:
    """An encoder fitted on tab-separated lines."""
    text = "\n".join("\t".join(cells) for cells in [list(columns), *lines]) + "\n"
    (folder / "train.tsv").write_text(text)
    config = DataConfig.parse(
        {
            "format": "tsv",
            "quoting": False,
            "files": [str(folder / "train.tsv")],
            "missing_values": ["", "NA", "-999", *more_missing],
            "columns": columns,
            "split": {"by": "random", "valid": 0.1, "test": 0.1},
        },
        "test",
    )
    vocabulary = VocabularyConfig.parse({"min_count": 1, "fields": fields}, "test")
    made = build_vocabulary(ingest(config, folder / "store"), vocabulary, folder / "store")
    return Encoder.load(Dataset.open(made).base)


def mixed_encoder(folder: Path) -> Encoder:
    """An encoder of every kind of field."""
    lines = []
    for n in range(400):
        values = {
            "click": str((n % 3 == 0 and 1) or 0),
            "user": ["u1", "u2", "7", "7.5", "true", "ü 1"][n % 6],
            "size": str(n % 37),
            "price": f"{n % 1300},5" if n % 2 else f"-{n % 5}",
            "count": str(n % 7),
            "age": str(20 + n % 51),
            "low": str(-1 + (n % 9) / 4),
            "raw": str(n % 5),
            "log": str(n % 11),
            "squared": str(n % 13),
            "words": ["w1|w2|w3", "w2", "", "w3|w1"][n % 4],
            "tags": ["t1|t2|t3|t4", "t2", "7|7.5", ""][n % 4],
            "list": ['["x", 7]', '["y", "1e-7"]', "[true, 2.5]", "[]"][n % 4],
            "when": f"{1 + n % 28:02}/Mar/2024:{n % 24:02}:00:00 +0000",
        }
        lines.append([values[name] for name in COLUMNS])
    bucketing = {name: {"bucketing": each} for name, each in BUCKETS.items()}
    return fitted(folder, COLUMNS, lines, bucketing | POOLING)


def encoded(encoder: Encoder, given: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each row with its ids and factors by ctrloom, or that it is malformed."""
    source, found = encoder.schema.source, []
    for row in given:
        batch = typed(read_memory([row], source), source, typed_schema(source, with_label=False))
        if batch.malformed:
            found.append({"row": row, "malformed": batch.malformed[0].reason})
            continue
        made = to_batch(encoder.schema, encoder.encode(batch.dictionary_rows)).widened()
        factors = [1.0] * made.ids_NC.shape[1] if made.factors_NC is None else made.factors_NC[0].tolist()
        found.append({"row": row, "ids": made.ids_NC[0].tolist(), "factors": factors})
    return found


def agree(folder: Path, vectors: list[dict[str, Any]]) -> list[str]:
    """Where the second reader differs."""
    reader, differences = Reader(folder), []
    for vector in vectors:
        try:
            ids, factors = reader.encode(vector["row"])
        except MalformedError:
            if "malformed" not in vector:
                differences.append(f"{vector['row']}: malformed for the reader")
            continue
        if ids != vector.get("ids") or not np.allclose(factors, vector["factors"], rtol=2e-7, atol=0):
            differences.append(f"{vector['row']}: {ids} {factors} instead of {vector}")
    return differences


def make() -> None:
    """Write the vectors."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    with tempfile.TemporaryDirectory() as scratch:
        encoder = mixed_encoder(Path(scratch))
        write_encoder(FOLDER, encoder)
        vectors = encoded(encoder, rows())
    lines = ",\n".join(json.dumps(vector, ensure_ascii=False) for vector in vectors)
    (FOLDER / "vectors.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")


@pytest.fixture(scope="module")
def stored() -> list[dict[str, Any]]:
    return json.loads((FOLDER / "vectors.json").read_text(encoding="utf-8"))


def test_second_reader_passes_the_vectors(stored: list[dict[str, Any]]) -> None:
    assert agree(FOLDER, stored) == []
    assert sum("malformed" in vector for vector in stored) > 20
    assert len(stored) > 120


def test_ctrloom_passes_the_vectors(stored: list[dict[str, Any]], tmp_path: Path) -> None:
    encoder = mixed_encoder(tmp_path)
    assert encoded(encoder, rows()) == stored
    write_encoder(tmp_path, encoder)
    for path in (*FOLDER.glob("tokens/*"), FOLDER / "encoder.json"):
        assert (tmp_path / path.relative_to(FOLDER)).read_text() == path.read_text()


@pytest.mark.parametrize("case", TIMES)
def test_second_reader_parses_times(case: str, tmp_path: Path) -> None:
    settings, values = TIMES[case]
    column = {"kind": "timestamp", "derive": ["hour", "weekday", "day", "month"], **settings}
    well_formed = [str(value) for value in values if case != "numbers" or str(value).isdigit()]
    columns = {"click": "label", "when": column, "user": "categorical"}
    lines = [[str(n % 2), well_formed[0], f"u{n}"] for n in range(60)]
    encoder = fitted(tmp_path, columns, lines, {})
    write_encoder(tmp_path, encoder)
    vectors = encoded(encoder, [{"when": value, "user": "u1"} for value in values])
    assert agree(tmp_path, vectors) == []
    assert {"malformed" in vector for vector in vectors} == {True, False}


def test_second_reader_finds_buckets_of_any_number_of_rows(tmp_path: Path) -> None:
    lines = [[str(n % 2), str(n % 30), f"u{n % 5}"] for n in range(600)]
    columns = {"click": "label", "count": "numeric", "user": "categorical"}
    method = {"method": "rows_per_bucket", "rows": 40}
    encoder = fitted(tmp_path, columns, lines, {"count": {"bucketing": method}})
    write_encoder(tmp_path, encoder)
    vectors = encoded(encoder, [{"count": str(n / 2), "user": "u1"} for n in range(-2, 64)])
    assert agree(tmp_path, vectors) == []
    assert len({vector["ids"][0] for vector in vectors}) == len(encoder.schema.fields[0].boundaries) + 1 >= 8


@pytest.mark.parametrize("zero", ["0", "-0.0"])
def test_both_zeros_are_missing_if_one_is(zero: str, tmp_path: Path) -> None:
    lines = [[str(n % 2), str(n % 7), f"u{n % 5}"] for n in range(60)]
    columns = {"click": "label", "count": "numeric", "user": "categorical"}
    bucketing = {"bucketing": {"method": "boundaries", "values": [-1, 3]}}
    encoder = fitted(tmp_path, columns, lines, {"count": bucketing}, (zero,))
    write_encoder(tmp_path, encoder)
    zeros = ["0", "-0", "0.0", "-0.0", " -0e5 ", 0, -0.0, 0.0]
    vectors = encoded(encoder, [{"count": value, "user": "u1"} for value in zeros])
    assert agree(tmp_path, vectors) == []
    assert {vector["ids"][0] for vector in vectors} == {0}


def test_the_reader_is_small_and_independent() -> None:
    text = (Path(__file__).parent / "encoder_reader.py").read_text()
    assert sum(bool(line.strip()) for line in text.splitlines()) < 200
    modules = {line.split()[1] for line in text.splitlines() if line.startswith(("import", "from"))}
    assert modules <= set(sys.stdlib_module_names) | {"collections.abc"}


if __name__ == "__main__":
    make()
