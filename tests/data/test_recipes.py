import hashlib
import zipfile
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from data_helpers import Write

from ctrloom.config import Files
from ctrloom.config.files import load_run_config
from ctrloom.data import recipes
from ctrloom.data.errors import DataError
from ctrloom.data.ingest.run import ingest
from ctrloom.data.recipes import RECIPES, get
from ctrloom.data.recipes.recipe import Layout, Original

CONFIGS = Path(__file__).parents[2] / "configs"
COLUMNS = ["user", "item", "rating", "timestamp", "age", "gender", "occupation", "zip_code", "release_year"]


def without_checksums(monkeypatch: pytest.MonkeyPatch, name: str, address: str | None = None) -> None:
    """The same recipe for other original files."""

    def bare(original: Original) -> Original:
        return Original(original.name, f"{address}/{original.name}" if address else original.url)

    layouts = [Layout(tuple(map(bare, layout.originals)), layout.prepare) for layout in RECIPES[name].layouts]
    monkeypatch.setitem(recipes.RECIPES, name, replace(RECIPES[name], layouts=tuple(layouts)))


def libfm(write: Write, folder: str) -> None:
    for split, count in (("train", 60), ("validation", 30), ("test", 31)):
        tail = " ".join(f"{100 + f}:1" for f in range(8))
        lines = [f"{1 if i % 3 == 0 else -1} {i}:1 {50 + i}:1 {tail}" for i in range(count)]
        write(f"{folder}/frappe.{split}.libfm", "\n".join(lines) + "\n")


def test_frappe_from_the_published_files(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, served: str
) -> None:
    libfm(write, "published")
    without_checksums(monkeypatch, "frappe", f"{served}/published")
    said: list[str] = []
    files = get("frappe", tmp_path / "to", say=said.append)
    assert [path.name for path in files] == ["train.csv.gz", "valid.csv.gz", "test.csv.gz"]
    assert sorted(path.name for path in (tmp_path / "to").iterdir()) == sorted(path.name for path in files)
    rows = pd.read_csv(files[0])
    assert list(rows)[:3] == ["label", "user", "item"]
    assert rows.iloc[1].tolist() == [0, 1, 51, 100, 101, 102, 103, 104, 105, 106, 107]
    assert "research only" in said[0]
    assert "not verified" in said[1]
    again = get("frappe", tmp_path / "again", tmp_path / "to", say=said.append)
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in files]

    run = load_run_config(CONFIGS / "frappe.yaml")
    splits = {split: (str(tmp_path / f"to/{split}.csv.gz"),) for split in ("train", "valid", "test")}
    config = run.data.model_copy(update={"files": Files(**splits)})
    assert ingest(config, tmp_path / "store").exists()


GROUPLENS = {
    "u.data": "1\t1\t5\t881250949\n2\t1\t3\t881250950\n2\t2\t1\t881250951\n",
    "u.user": "1|24|M|technician|85711\n2|53|F|other|94043\n",
    "u.item": "1|Toy Story (1995)|01-Jan-1995||http://x|" + "0|0|0|1|1|1" + "|0" * 13 + "\n"
    "2|Caf\xe9|||http://x|1" + "|0" * 18 + "\n",
}
RECBOLE = {
    "ml-100k.inter": "user_id:token\titem_id:token\trating:float\ttimestamp:float\n" + GROUPLENS["u.data"],
    "ml-100k.user": "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token\n"
    + GROUPLENS["u.user"].replace("|", "\t"),
    "ml-100k.item": "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
    "1\tToy Story\t1995\tAnimation Children's Comedy\n2\tCaf\xe9\t\tunknown\n",
}


def test_movielens_from_every_layout(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_checksums(monkeypatch, "movielens-100k")
    with zipfile.ZipFile(tmp_path / "ml-100k.zip", "w") as archive:
        for name, content in GROUPLENS.items():
            write(f"grouplens/{name}", content.encode("latin-1"))
            archive.writestr(f"ml-100k/{name}", content.encode("latin-1"))
    for name, content in RECBOLE.items():
        write(f"recbole/{name}", content)
    texts = []
    for folder in (tmp_path, tmp_path / "grouplens", tmp_path / "recbole"):
        (file,) = get("movielens-100k", tmp_path / "to", folder, say=lambda line: None)
        texts.append(file.read_text())
    assert len(set(texts)) == 1
    rows = pd.read_csv(tmp_path / "to/movielens-100k.tsv", sep="\t", dtype=str, keep_default_na=False)
    assert list(rows) == [*COLUMNS, "genres"]
    assert rows["release_year"].tolist() == ["1995", "1995", ""]
    assert rows["genres"].tolist() == ["Animation|Children's|Comedy"] * 2 + ["unknown"]
    assert rows["age"].tolist() == ["24", "53", "53"]
    columns = load_run_config(CONFIGS / "movielens-100k.yaml").data.columns
    assert list(columns) == list(rows)


def test_another_file_than_the_published_one_is_refused(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("in/train_examples.txt", "1\t2\n")
    with pytest.raises(DataError, match="is not the published train_examples"):
        get("criteo-sample", tmp_path / "to", tmp_path / "in", say=lambda line: None)
    assert list((tmp_path / "to").iterdir()) == []


def test_checksums(write: Write, tmp_path: Path) -> None:
    path = Path(write("a.txt", "hello\n"))
    said: list[str] = []
    Original("a.txt", sha256=hashlib.sha256(b"hello\n").hexdigest()).check(path, said.append)
    Original("a.txt", git_blob="ce013625030ba8dba906f756967f9e9ca394464a").check(path, said.append)
    assert said == ["a.txt: checksum verified"] * 2
    with pytest.raises(DataError, match="not the published"):
        Original("a.txt", git_blob="0" * 40).check(path, said.append)


def test_data_sets_not_available(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, served: str) -> None:
    with pytest.raises(DataError, match="did you mean 'frappe'"):
        get("frape", tmp_path / "to")
    with pytest.raises(DataError, match=r"does not contain .* files of frappe: frappe\.train\.libfm"):
        get("frappe", tmp_path / "to", tmp_path, say=lambda line: None)
    with pytest.raises(DataError, match=r"cannot be downloaded automatically: get track2\.zip .* --from"):
        get("kdd2012-track2", tmp_path / "to", say=lambda line: None)
    without_checksums(monkeypatch, "frappe", served)
    with pytest.raises(DataError, match="cannot be read"):
        get("frappe", tmp_path / "to", say=lambda line: None)
    assert list((tmp_path / "to").iterdir()) == []


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_every_recipe_has_terms_and_citation(recipe: recipes.Recipe) -> None:
    assert recipe.terms in recipe.notice
    assert recipe.citation in recipe.notice
    for original in recipe.layouts[0].originals:
        assert recipe.by_hand or original.url is not None
        assert recipe.by_hand or original.sha256 or original.git_blob
