import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data_helpers import CLICKS, HEADER, Write, clicks, data_config
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ctrloom import storage
from ctrloom.config import VocabularyConfig
from ctrloom.data.errors import DataError
from ctrloom.data.ingest import run
from ctrloom.data.ingest.run import ingest
from ctrloom.data.manifest import EncodedManifest, IngestedManifest
from ctrloom.data.parquet import writer
from ctrloom.data.sources import blocks
from ctrloom.data.vocabulary.build import build_vocabulary


def table(manifest: Path, *splits: str) -> pd.DataFrame:
    loaded, base = IngestedManifest.load(manifest)
    paths = [path for split in splits or ("train", "valid", "test") for path in loaded.paths(base, split)]  # type: ignore[arg-type]
    return pd.concat([pq.read_table(path).to_pandas() for path in paths], ignore_index=True)


def rows(manifest: Path) -> dict[str, int]:
    return dict(IngestedManifest.load(manifest)[0].rows)


def test_clean_rows_are_written_with_manifest_and_profile(write: Write, tmp_path: Path) -> None:
    path = write("a.csv.gz", HEADER + clicks(1000))
    manifest = ingest(data_config(path, CLICKS), tmp_path / "store")
    loaded, base = IngestedManifest.load(manifest)
    assert sum(loaded.rows.values()) == len(table(manifest)) == 1000
    assert (loaded.quarantined, loaded.dropped) == (0, 0)
    assert base.name == f"ingested-{loaded.data_fingerprint[:16]}"
    assert [(s.split, s.path, s.sha256) for s in loaded.sources] == [("train", path, storage.sha256(path))]
    for part in (part for each in loaded.files.values() for part in each):
        assert (part.bytes, part.sha256) == (
            (base / part.path).stat().st_size,
            storage.sha256(base / part.path),
        )
    assert pq.read_metadata(base / "quarantine.parquet").num_rows == 0
    profile = json.loads((base / "profile.json").read_text())
    assert sum(split["positives"] for split in profile["splits"].values()) == 334
    assert profile["fields"]["user"] | {"top": []} == {
        "kind": "categorical",
        "missing": 0,
        "distinct": 7,
        "top": [],
    }
    assert profile["fields"]["user"]["top"][0] == {"value": "u0", "count": 143, "label_rate": 48 / 143}
    assert profile["fields"]["age"]["quantiles"]["0.5"] == 24.0
    assert {path.name for path in (tmp_path / "store").iterdir()} == {base.name}


def test_the_same_input_is_reused(write: Write, tmp_path: Path) -> None:
    config = data_config(write("a.csv", HEADER + clicks(200)), CLICKS)
    first = ingest(config, tmp_path / "store")
    before = first.stat().st_mtime_ns
    assert ingest(config, tmp_path / "store") == first
    copied = data_config(write("elsewhere/b.csv", HEADER + clicks(200)), CLICKS)
    assert ingest(copied, tmp_path / "store") == first
    assert first.stat().st_mtime_ns == before
    assert ingest(config.model_copy(update={"missing_values": ("", "?")}), tmp_path / "store") != first


def test_output_does_not_depend_on_the_batch_size(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = data_config(write("a.csv", HEADER + clicks(2000)), CLICKS)
    whole = ingest(config, tmp_path / "whole")
    monkeypatch.setattr(blocks.read_blocks, "__defaults__", (500,))
    monkeypatch.setattr(writer, "GROUP_ROWS", 64)
    monkeypatch.setattr(writer, "PART_ROWS", 640)
    pieces = ingest(config, tmp_path / "pieces")
    assert len(IngestedManifest.load(pieces)[0].files["train"]) == 3
    for split in ("train", "valid", "test"):
        pd.testing.assert_frame_equal(table(whole, split), table(pieces, split))


CELLS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    frame=st.lists(
        st.tuples(CELLS, st.one_of(st.none(), st.floats(-1e9, 1e9)), CELLS), min_size=4, max_size=30
    )
)
def test_csv_to_parquet_equals_what_pandas_reads(
    tmp_path_factory: pytest.TempPathFactory, frame: Any
) -> None:
    folder = tmp_path_factory.mktemp("csv")
    written = pd.DataFrame(frame, columns=["a", "n", "b"])
    written.insert(0, "y", np.arange(len(written)) % 2)
    text = written.to_csv(index=False)
    (folder / "a.csv").write_text(text, encoding="utf-8", newline="")
    columns = {"y": "label", "a": "categorical", "n": "numeric", "b": "categorical"}
    config = data_config(str(folder / "a.csv"), columns, split={"by": "random", "valid": 0, "test": 0})
    found = table(ingest(config, folder / "store"), "train")
    dtypes = {"a": str, "b": str, "y": "int8", "n": float}
    kept = {"keep_default_na": False, "na_values": {"n": [""]}, "float_precision": "round_trip"}
    expected = pd.read_csv(io.StringIO(text), dtype=dtypes, **kept)  # type: ignore[call-overload]
    expected[["a", "b"]] = expected[["a", "b"]].astype(object).replace({"": None})
    expected = expected.rename(columns={"y": "label"})[["a", "n", "b", "label"]]
    pd.testing.assert_frame_equal(found, expected)


def test_malformed_rows_go_to_quarantine(write: Write, tmp_path: Path, served: str, capsys: Any) -> None:
    lines = (HEADER + clicks(500)).splitlines()
    lines[7], lines[300], lines[400] = "1,u1,old", "0,u2", "1,u3,old"
    write("a.csv", "\n".join(lines))
    manifest = ingest(data_config([f"{served}/a.csv"], CLICKS, max_malformed=0.1), tmp_path / "store")
    found = pq.read_table(manifest.parent / "quarantine.parquet").to_pylist()
    assert found == [
        {"file": f"{served}/a.csv", "line": 8, "reason": "age is not a number: 'old'", "text": "1,u1,old"},
        {"file": f"{served}/a.csv", "line": 301, "reason": "has 2 columns instead of 3", "text": "0,u2"},
        {"file": f"{served}/a.csv", "line": 401, "reason": "age is not a number: 'old'", "text": "1,u3,old"},
    ]
    assert IngestedManifest.load(manifest)[0].quarantined == 3
    assert "- warning: 3 of " in (reported := capsys.readouterr().err)
    assert f"all are in {manifest.parent / 'quarantine.parquet'}" in reported
    profile = json.loads((manifest.parent / "profile.json").read_text())
    assert profile["quarantined"] == {"age is not a number": 2, "has 2 columns instead of 3": 1}
    assert sum(rows(manifest).values()) == 497


def test_too_many_malformed_rows_stop_ingest_and_leave_only_the_list(write: Write, tmp_path: Path) -> None:
    path = write("a.csv", HEADER + clicks(100) + "1,u1,old\n" * 5)
    with pytest.raises(
        DataError, match=r"5 of 105 rows .* line 102: age is not a number: 'old'; .*max_malformed"
    ):
        ingest(data_config(path, CLICKS), tmp_path / "store")
    (left,) = (tmp_path / "store").iterdir()
    assert left.name.startswith("quarantine-")
    assert pq.read_table(left)["line"].to_pylist() == [102, 103, 104, 105, 106]


@pytest.mark.parametrize("rate", [0.04, 0.05])  # 5 of 105 rows: 4.8 %
def test_data_of_a_more_tolerant_ingest_are_checked_before_reuse(
    write: Write, tmp_path: Path, rate: float
) -> None:
    path = write("a.csv", HEADER + clicks(60) + "1,u1,old\n" * 5 + "2,u1,3\n" * 10 + clicks(30))
    columns = {**CLICKS, "click": {"kind": "label", "positive": "== 1", "drop": "== 2"}}
    how = {"negatives": {"keep": 0.5}, "split": {"by": "random", "valid": 0, "test": 0}}

    def outcome(store: Path, share: float) -> str:
        try:
            return ingest(data_config(path, columns, max_malformed=share, **how), store).parent.name
        except DataError as error:
            return str(error).partition(" rows are malformed")[0]

    tolerant = outcome(tmp_path / "store", 0.5)
    assert outcome(tmp_path / "store", rate) == outcome(tmp_path / "fresh", rate)
    assert outcome(tmp_path / "store", 0.5) == tolerant
    with pytest.raises(DataError, match=f"{tolerant}/quarantine.parquet.*raise max_malformed"):
        ingest(data_config(path, columns, max_malformed=0.01, **how), tmp_path / "store")


def test_malformed_input_stops_early(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks.read_blocks, "__defaults__", (20_000,))
    path = write("a.csv", HEADER + "1,u1,old\n" * 100_000)
    with pytest.raises(DataError, match=r"of 2,\d\d\d rows are malformed"):
        ingest(data_config(path, CLICKS), tmp_path / "store")


def test_a_failed_ingest_leaves_no_files(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[Any] = []

    def fail(self: Any, batch: pa.RecordBatch) -> None:
        written.append(batch)
        if len(written) > 5:
            raise OSError(28, "No space left on device", str(self.folder))

    monkeypatch.setattr(writer.PartWriter, "write", fail)
    monkeypatch.setattr(blocks.read_blocks, "__defaults__", (200,))
    with pytest.raises(storage.StorageError, match="No space left"):
        ingest(data_config(write("a.csv", HEADER + clicks(500)), CLICKS), tmp_path / "store")
    assert list((tmp_path / "store").iterdir()) == []


def test_dropped_rows_are_counted(write: Write, tmp_path: Path) -> None:
    content = "stars,user\n" + "".join(f"{1 + i % 5},u{i % 9}\n" for i in range(300))
    label = {"kind": "label", "positive": "> 3", "drop": "== 3"}
    config = data_config(write("a.csv", content), {"stars": label, "user": "categorical"})
    manifest = ingest(config, tmp_path / "store")
    assert IngestedManifest.load(manifest)[0].dropped == 60
    assert sum(rows(manifest).values()) == 240


def timed(times: list[int]) -> str:
    return "click,user,t\n" + "".join(f"{i % 2},u{i % 5},{t}\n" for i, t in enumerate(times))


TIMED = {"click": "label", "user": "categorical", "t": "timestamp"}


def test_a_split_by_time_holds_out_the_newest_rows(write: Write, tmp_path: Path) -> None:
    times = np.random.default_rng(0).integers(0, 100, 2000)
    config = data_config(write("a.csv", timed(times.tolist())), TIMED, split={"by": "time", "valid": 0.2})
    manifest = ingest(config, tmp_path / "store")
    train, valid, test = (table(manifest, split)["timestamp"] for split in ("train", "valid", "test"))
    assert train.max() < valid.min() <= valid.max() < test.min()
    assert abs(len(valid) - 400) < 25
    assert abs(len(test) - 200) < 25
    assert not (manifest.parent / "unsplit").exists()


def test_a_split_by_given_timestamps(write: Write, tmp_path: Path) -> None:
    split = {"by": "time", "valid_from": "1970-01-01T00:01:00", "test_from": "1970-01-01T00:01:20"}
    config = data_config(write("a.csv", timed(list(range(100)))), TIMED, split=split)
    assert rows(ingest(config, tmp_path / "store")) == {"train": 60, "valid": 20, "test": 20}


def test_a_split_by_time_with_given_test_files(write: Write, tmp_path: Path) -> None:
    files = {"train": [write("a.csv", timed(list(range(100))))], "test": [write("b.csv", timed([5, 500]))]}
    manifest = ingest(data_config(files, TIMED, split={"by": "time"}), tmp_path / "store")
    assert rows(manifest) == {"train": 90, "valid": 10, "test": 2}
    assert table(manifest, "valid")["timestamp"].min() == 90


def test_rows_with_equal_timestamps_cannot_be_split_by_time(write: Write, tmp_path: Path) -> None:
    config = data_config(write("a.csv", timed([7] * 100)), TIMED, split={"by": "time"})
    with pytest.raises(DataError, match="more than one distinct timestamp"):
        ingest(config, tmp_path / "store")


def test_given_files_are_kept_as_they_are(write: Write, tmp_path: Path) -> None:
    files = {s: [write(f"{s}.csv", HEADER + clicks(n))] for s, n in (("train", 300), ("valid", 30))}
    manifest = ingest(data_config(files, CLICKS, split={"by": "random", "test": 0.2}), tmp_path / "store")
    counts = rows(manifest)
    assert counts["valid"] == 30
    assert counts["train"] + counts["test"] == 300
    assert 40 < counts["test"] < 80


def test_many_files_in_one_run(write: Write, tmp_path: Path) -> None:
    for i in range(3):
        write(f"in/part-{i}.csv", HEADER + clicks(100, 100 * i))
    split = {"by": "random", "valid": 0, "test": 0}
    manifest = ingest(data_config(str(tmp_path / "in/*.csv"), CLICKS, split=split), tmp_path / "store")
    expected = pd.read_csv(io.StringIO(HEADER + clicks(300)))["user"]
    assert table(manifest, "train")["user"].tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (HEADER, "the train split is empty"),
        (HEADER + "1,u1,3\n" * 100, "rows of the train split have the label 1"),
        (HEADER + clicks(3), r"the (valid|test) split (is empty|have)"),
    ],
)
def test_empty_or_single_class_splits(write: Write, tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        ingest(data_config(write("a.csv", content), CLICKS), tmp_path / "store")
    assert list((tmp_path / "store").iterdir()) == []


def test_a_manifest_finds_its_files(write: Write, tmp_path: Path) -> None:
    manifest = ingest(data_config(write("a.csv", HEADER + clicks(100)), CLICKS), tmp_path / "store")
    copy = tmp_path / "copy.json"
    copy.write_bytes(manifest.read_bytes())
    assert IngestedManifest.load(copy)[1] == manifest.parent
    moved = manifest.parent.rename(tmp_path / "moved")
    assert IngestedManifest.load(moved / "manifest.json")[1] == moved
    with pytest.raises(DataError, match="neither in"):
        IngestedManifest.load(copy)
    with pytest.raises(DataError, match="is not a manifest of encoded data"):
        EncodedManifest.load(moved)


def test_weights_and_lists_are_profiled(write: Write, tmp_path: Path) -> None:
    content = "y,w,tags\n" + "".join(f"{i % 2},{i % 4},{'|'.join('abc'[: i % 4])}\n" for i in range(200))
    columns = {"y": "label", "w": "weight", "tags": "multivalued"}
    manifest = ingest(data_config(write("a.csv", content), columns), tmp_path / "store")
    profile = json.loads((manifest.parent / "profile.json").read_text())
    assert profile["weight"] == {"min": 0.0, "max": 3.0, "sum": 300.0}
    tags = profile["fields"]["tags"]
    assert (tags["missing"], tags["distinct"], tags["most_values"]) == (50, 3, 3)
    assert [(t["value"], t["count"]) for t in tags["top"]] == [("a", 150), ("b", 100), ("c", 50)]


def test_a_field_may_be_named_as_a_kind(write: Write, tmp_path: Path) -> None:
    content = "y,timestamp,weight\n" + "".join(f"{i % 2},t{i % 3},{i}\n" for i in range(100))
    columns = {"y": "label", "timestamp": "categorical", "weight": "numeric"}
    split = {"by": "random", "valid": 0, "test": 0}
    manifest = ingest(data_config(write("a.csv", content), columns, split=split), tmp_path / "store")
    assert list(table(manifest, "train")) == ["timestamp", "weight", "label"]


def test_progress_bars_follow_one_another(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stderr", Terminal())
    columns = {**TIMED, "n": "numeric"}
    content = "click,user,t,n\n" + "".join(f"{i % 2},u{i % 5},{i},{i}\n" for i in range(200))
    config = data_config(write("a.csv", content), columns, split={"by": "time"})
    manifest = build_vocabulary(ingest(config, tmp_path / "store"), VocabularyConfig(), tmp_path / "store")
    assert manifest.is_file()


@pytest.mark.parametrize("name", ["a.csv", "b.csv"])
def test_a_file_that_changes_while_it_is_read_is_named(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Its rows would not be those of the recorded checksum."""
    write("a.csv", HEADER + clicks(50))
    write("b.csv", HEADER + clicks(60))
    shares = run.shares_kept

    def append(*given: Any) -> Any:
        with open(tmp_path / name, "a") as file:
            file.write(clicks(1))
        return shares(*given)

    monkeypatch.setattr(run, "shares_kept", append)
    with pytest.raises(DataError, match=rf"{name}: was changed while it was being read"):
        ingest(data_config(str(tmp_path / "*.csv"), CLICKS), tmp_path / "store")
    assert not list((tmp_path / "store").glob("ingested-*"))
