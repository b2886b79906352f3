from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from data_helpers import CLICKS, HEADER, Write, clicks, data_config
from hypothesis import given
from hypothesis import strategies as st

from ctrloom import storage
from ctrloom.config import SourceConfig, VocabularyConfig
from ctrloom.config.base import ConfigError
from ctrloom.data.batches.tensors import to_batch
from ctrloom.data.dataset import Dataset
from ctrloom.data.errors import DataError
from ctrloom.data.ingest.cast import read_rows
from ctrloom.data.ingest.run import ingest
from ctrloom.data.manifest import EncodedManifest
from ctrloom.data.vocabulary.build import build_vocabulary
from ctrloom.data.vocabulary.encode import Encoder, Vocabulary
from ctrloom.schema import Field, Schema

COLUMNS = {
    "click": "label",
    "a/b": "categorical",
    "<script>": "categorical",
    "n": "numeric",
    "kept": "numeric",
    "tags": "multivalued",
    "w": "weight",
    "t": {"kind": "timestamp", "derive": ["hour"]},
}
TOP = "click,a/b,<script>,n,kept,tags,w,t\n"
TRAIN = TOP + (
    "1,x,p,1,0,red|blue,1,0\n"  #
    "0,x,,100,10,red,2,3600\n"
    "1,y,q,,,,1,7200\n"
    "0,x,p,1,5,blue|red|green,0.5,0\n"
)
VALID = TOP + "1,new,p,1,20,red|new,1,36000\n0,y,,,,blue,1,0\n"
KEPT = {"fields": {"kept": {"bucketing": {"method": "keep"}}}}


def built(write: Write, store: Path, **vocabulary: Any) -> Path:
    texts = {"train": TRAIN, "valid": VALID, "test": VALID + "\n"}  # ingest rejects a copy
    files = {split: [write(f"{split}.csv", text)] for split, text in texts.items()}
    manifest = ingest(data_config(files, COLUMNS), store)
    return build_vocabulary(manifest, VocabularyConfig.parse({**KEPT, **vocabulary}, "test"), store)


def encoded(manifest: Path, split: Any) -> dict[str, list[Any]]:
    loaded, base = EncodedManifest.load(manifest)
    (path,) = loaded.paths(base, split)
    return dict(pq.read_table(path).to_pydict())


def test_ids_are_fitted_on_the_training_split_alone(write: Write, tmp_path: Path) -> None:
    manifest = built(write, tmp_path / "store")
    assert encoded(manifest, "train") == {
        "a/b": [2, 2, 3, 2],
        "<script>": [2, 0, 3, 2],
        "n": [2, 3, 0, 2],
        "kept": [0.0, 1.0, None, 0.5],
        "tags": [[2, 3], [2], [], [3, 2, 4]],
        "t_hour": [2, 3, 4, 2],
        "label": [1, 0, 1, 0],
        "weight": [1.0, 2.0, 1.0, 0.5],
        "timestamp": [0, 3600, 7200, 0],
    }
    assert encoded(manifest, "valid") == {
        "a/b": [1, 3],
        "<script>": [2, 0],
        "n": [2, 0],
        "kept": [1.0, None],
        "tags": [[2, 1], [3]],
        "t_hour": [1, 2],
        "label": [1, 0],
        "weight": [1.0, 1.0],
        "timestamp": [36000, 0],
    }


def test_vocabulary_files_have_safe_names_and_list_all_ids(write: Write, tmp_path: Path) -> None:
    base = built(write, tmp_path / "store").parent
    names = {path.name for path in (base / "vocabulary").iterdir()}
    assert names == {f"{n}.parquet" for n in ("a%2Fb", "%3Cscript%3E", "n", "tags", "t_hour")}
    table = pq.read_table(base / "vocabulary/tags.parquet")
    assert table.to_pydict() == {"token": ["red", "blue", "green"], "id": [2, 3, 4], "count": [3, 2, 1]}
    assert pq.read_table(base / "vocabulary/n.parquet")["token"].to_pylist() == ["1", "21"]
    schema = Dataset.open(base).schema
    assert schema.names == ("a/b", "<script>", "n", "kept", "tags", "t_hour")
    assert [field.size for field in schema.fields] == [4, 4, 4, 2, 5, 5]
    assert [field.width for field in schema.fields] == [1, 1, 1, 1, 3, 1]
    assert schema.fields[-1].derived == "hour"
    assert schema.fields[3].boundaries == (0.0, 10.0)


def test_manifest_names_every_file_and_both_fingerprints(write: Write, tmp_path: Path) -> None:
    manifest = built(write, tmp_path / "store")
    loaded, base = EncodedManifest.load(manifest)
    assert loaded.schema_fingerprint == Dataset.open(manifest).schema.fingerprint
    assert base.name == f"encoded-{loaded.data_fingerprint[:16]}"
    named = [part for parts in (*loaded.files.values(), loaded.encoder) for part in parts]
    assert {part.path for part in named} | {"manifest.json"} == {
        str(path.relative_to(base)) for path in base.rglob("*") if path.is_file()
    }
    assert all(part.sha256 == storage.sha256(base / part.path) for part in named)
    before = manifest.stat().st_mtime_ns
    assert built(write, tmp_path / "store") == manifest
    assert manifest.stat().st_mtime_ns == before
    other = built(write, tmp_path / "store", min_count=2)
    assert EncodedManifest.load(other)[0].data_fingerprint != loaded.data_fingerprint


@pytest.mark.parametrize("shares", [{"valid": 0, "test": 0}, {"valid": 0.2, "test": 0}])
def test_a_split_without_rows_is_encoded_too(write: Write, tmp_path: Path, shares: dict[str, float]) -> None:
    config = data_config(write("a.csv", HEADER + clicks(300)), CLICKS, split={"by": "random", **shares})
    path = build_vocabulary(ingest(config, tmp_path), VocabularyConfig(), tmp_path)
    manifest, base = EncodedManifest.load(path)
    assert manifest.rows["test"] == 0
    for split, rows in manifest.rows.items():
        table = pa.concat_tables(map(pq.read_table, manifest.paths(base, split)))
        assert len(table) == rows
        assert table.schema.names == ["user", "age", "label"]


def test_rare_tokens_share_an_id(write: Write, tmp_path: Path) -> None:
    fields = {**KEPT["fields"], "tags": {"min_count": 1, "max_values": 2}, "tag": {"min_count": 9}}
    with pytest.raises(ConfigError, match="'tag' is not a field; did you mean 'tags'"):
        built(write, tmp_path / "store", fields=fields)
    del fields["tag"]
    columns = encoded(built(write, tmp_path / "store", min_count=2, fields=fields), "train")
    assert columns["a/b"] == [2, 2, 1, 2]
    assert columns["tags"] == [[2, 3], [2], [], [3, 2]]


@pytest.mark.parametrize(
    ("field", "settings", "message"),
    [
        ("a/b", {"bucketing": {"method": "keep"}}, "bucketing applies to numeric fields"),
        ("n", {"max_values": 3}, "max_values applies to multivalued fields"),
        ("n", {"bucketing": {"method": "boundaries", "values": [2, 1]}}, "must be strictly ascending"),
        ("zzz", {"min_count": 3}, "the fields are a/b, <script>"),
    ],
)
def test_settings_a_field_cannot_have(
    write: Write, tmp_path: Path, field: str, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        built(write, tmp_path / "store", fields={field: settings})


def test_rows_hold_ids_of_the_fused_table_and_factors(write: Write, tmp_path: Path) -> None:
    dataset = Dataset.open(built(write, tmp_path / "store"))
    rows = dataset.rows("train")
    assert (len(rows), dataset.rows_in("train")) == (4, 4)
    assert rows.ids_NC.dtype == torch.int16
    assert rows.ids_NC.tolist() == [
        [2, 6, 10, 13, 16, 17, 14, 21],
        [2, 4, 11, 13, 16, 14, 14, 22],
        [3, 7, 8, 12, 14, 14, 14, 23],
        [2, 6, 10, 13, 17, 16, 18, 21],
    ]
    assert rows.factors_NC is not None
    third = pytest.approx(1 / 3)
    assert rows.factors_NC.tolist() == [
        [1, 1, 1, 0, 0.5, 0.5, 0, 1],
        [1, 1, 1, 1, 1, 0, 0, 1],
        [1, 1, 1, 1, 1, 0, 0, 1],
        [1, 1, 1, 0.5, third, third, third, 1],
    ]
    assert rows.label_N.tolist() == [1, 0, 1, 0]
    assert rows.weight_N is not None
    assert rows.weight_N.tolist() == [1, 2, 1, 0.5]


def test_scored_rows_are_the_rows_of_the_data_set(write: Write, tmp_path: Path) -> None:
    dataset = Dataset.open(built(write, tmp_path / "store"))
    dataset.encoder().save(tmp_path / "bundle")
    encoder = Encoder.load(tmp_path / "bundle")
    lines = [line.split(",")[1:] for line in VALID.splitlines()]
    bare = [",".join([*line[:5], line[6]]) for line in lines]
    path = write("score.csv", "\n".join([*bare[:2], "x,p,many,1,red,0", bare[2], ""]))
    (batch,) = read_rows(encoder.schema.source, [path], with_label=False)
    rows, expected = to_batch(encoder.schema, encoder.encode(batch.table)), dataset.rows("valid")
    assert torch.equal(rows.ids_NC, expected.ids_NC)
    assert rows.factors_NC is not None
    assert expected.factors_NC is not None
    assert torch.equal(rows.factors_NC, expected.factors_NC)
    assert rows.label_N.isnan().all()
    assert (batch.positions.tolist(), [row.position for row in batch.malformed]) == ([0, 2], [1])


def test_data_without_weights_and_lists_have_no_factors(write: Write, tmp_path: Path) -> None:
    config = data_config(write("a.csv", HEADER + clicks(300)), CLICKS)
    manifest = ingest(config, tmp_path / "store")
    rows = Dataset.open(build_vocabulary(manifest, VocabularyConfig(), tmp_path / "store")).rows("train")
    assert rows.factors_NC is None
    assert rows.weight_N is None


def test_a_damaged_vocabulary_is_an_error_that_names_the_field(write: Write, tmp_path: Path) -> None:
    base = built(write, tmp_path / "store").parent
    file = base / "vocabulary/a%2Fb.parquet"
    pq.write_table(pa.table({"token": ["x", "z"], "id": [2, 3], "count": [3, 1]}), file)
    with pytest.raises(DataError, match="'a/b' is not the one in schema"):
        Encoder.load(base)
    file.unlink()
    with pytest.raises(DataError, match="'a/b' cannot be read"):
        Encoder.load(base)


def test_a_moved_data_set_still_opens(write: Write, tmp_path: Path) -> None:
    manifest = built(write, tmp_path / "store")
    before = Dataset.open(manifest).rows("train").ids_NC
    moved = manifest.parent.rename(tmp_path / "moved")
    assert torch.equal(Dataset.open(moved / "manifest.json").rows("train").ids_NC, before)
    schema = storage.read_record(moved / "schema.json", Schema)
    storage.write_record(moved / "schema.json", schema.model_copy(update={"fields": ()}))
    with pytest.raises(DataError, match="is not the schema"):
        Dataset.open(moved)


def test_many_parts_give_the_rows_of_one(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ctrloom.data.parquet import writer

    config = data_config(write("a.csv", HEADER + clicks(1000)), CLICKS)
    whole = build_vocabulary(ingest(config, tmp_path / "a"), VocabularyConfig(), tmp_path / "a")
    monkeypatch.setattr(writer, "GROUP_ROWS", 50)
    monkeypatch.setattr(writer, "PART_ROWS", 100)
    pieces = build_vocabulary(ingest(config, tmp_path / "b"), VocabularyConfig(), tmp_path / "b")
    assert len(list((pieces.parent / "train").iterdir())) > 5
    for split in ("train", "valid", "test"):
        one, many = (Dataset.open(manifest).rows(split) for manifest in (whole, pieces))  # type: ignore[arg-type]
        assert torch.equal(one.ids_NC, many.ids_NC)
        assert torch.equal(one.label_N, many.label_N)


ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@given(st.lists(ANY_TEXT, unique=True, max_size=20), st.lists(st.one_of(st.none(), ANY_TEXT), max_size=20))
def test_any_text_has_an_id_and_known_tokens_come_back(known: list[str], asked: list[str | None]) -> None:
    vocabulary = Vocabulary(pa.array(known, pa.string()), pa.array([1] * len(known), pa.int64()))
    field = Field(name="f", kind="categorical", size=2 + len(known), column="f")
    source = SourceConfig.parse({"columns": {"f": "categorical", "y": "label"}}, "test")
    encoder = Encoder(Schema(fields=(field,), source=source), {"f": vocabulary})
    values = pa.array([*known, *asked], pa.string())
    ids = encoder.encode(pa.RecordBatch.from_arrays([values], names=["f"]))["f"]
    assert ids.null_count == 0
    assert ids.to_pylist()[: len(known)] == list(range(2, 2 + len(known)))
    back = vocabulary.decode(ids).to_pylist()
    for value, id_, token in zip(values.to_pylist(), ids.to_pylist(), back, strict=True):
        assert id_ == (0 if value is None else known.index(value) + 2 if value in known else 1)
        assert token == (value if value in known else None)


@given(st.lists(st.lists(ANY_TEXT, max_size=5), max_size=10), st.integers(1, 4))
def test_lists_keep_their_first_values(lists: list[list[str]], width: int) -> None:
    tokens = sorted({token for values in lists for token in values})
    vocabulary = Vocabulary(pa.array(tokens, pa.string()), pa.array([1] * len(tokens), pa.int64()))
    field = Field(name="f", kind="multivalued", size=2 + len(tokens), width=width, column="f")
    source = SourceConfig.parse({"columns": {"f": "multivalued", "y": "label"}}, "test")
    encoder = Encoder(Schema(fields=(field,), source=source), {"f": vocabulary})
    # A slice starts at an offset into the values of its parent, which must not shift the ids.
    values = pa.array([["first"], *lists], pa.list_(pa.string())).slice(1)
    batch = encoder.encode(pa.RecordBatch.from_arrays([values], names=["f"]))
    assert batch["f"].to_pylist() == [[tokens.index(t) + 2 for t in row[:width]] for row in lists]
    rows = to_batch(encoder.schema, batch)
    assert rows.factors_NC is not None
    np.testing.assert_allclose(rows.factors_NC.sum(1), np.ones(len(lists)), rtol=1e-6)


def test_held_out_values_that_training_does_not_have_are_reported(
    write: Write, tmp_path: Path, capsys: Any
) -> None:
    def rows(prefix: str, count: int) -> str:
        return HEADER + "".join(f"{i % 2},{prefix}{i % 5}{'.0' * (prefix == '')},{i}\n" for i in range(count))

    files = {"train": write("train.csv", HEADER + clicks(60, 1)), "test": write("test.csv", rows("u", 20))}
    config = data_config(files, CLICKS, split={"valid": 0.2})
    build_vocabulary(ingest(config, tmp_path / "store"), VocabularyConfig(), tmp_path / "store")
    assert "warning" not in capsys.readouterr().err
    files["test"] = write("other.csv", rows("", 30))
    config = data_config(files, CLICKS, split={"valid": 0.2})
    build_vocabulary(ingest(config, tmp_path / "store"), VocabularyConfig(), tmp_path / "store")
    valid = Dataset.open(next((tmp_path / "store").glob("encoded-*"))).rows_in("valid")
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert (
        f"user: {30 / (30 + valid):.1%} of the values of validation and test rows are unseen (0.0% in" in line
    )
