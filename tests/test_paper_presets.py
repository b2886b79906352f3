"""The comparisons of papers have the papers' settings, row by row: see fixtures/paper_facts.yaml."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ctrloom.config import CompareConfig
from ctrloom.config.compare import Entry
from ctrloom.config.files import load_compare_config
from ctrloom.config.timestamp import Timestamp

ROOT = Path(__file__).parents[1]
FACTS: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "tests/fixtures/paper_facts.yaml").read_text())
NOTES = {"rows", "source", "not_given"}
TRAINING = {"embedding_size", "hidden", "learning_rate", "batch_size", "epochs"}
GATES = {"batch_size", "epochs", "learning_rate", "c", "mu", "gate_learning_rate", "gate_decay", "order"}
SEARCH = {
    "autofis": GATES | {"base"},
    "aim": GATES | {"functions", "search_embeddings", "embedding_c"},
    "autopi": {"strategy", "nodes", "epochs", "batch_size", "optimizer", "learning_rate"},
    "optinter": GATES - {"c", "mu", "gate_decay", "order"} | {"temperature_decay", "bi_level"},
}

papers = pytest.mark.parametrize("name", FACTS)


def preset(name: str) -> CompareConfig:
    return load_compare_config(ROOT / f"configs/compare/{name}.yaml")


def facts_of(name: str, section: str, row: str) -> dict[str, Any]:
    """All that the facts say of a row; None for what is not given."""
    about = [fact for fact in FACTS[name][section] if fact["rows"] == "all" or row in fact["rows"]]
    assert all(fact["source"] for fact in about)
    given = {key: value for fact in about for key, value in fact.items() if key not in NOTES}
    return given | {key: None for fact in about for key in fact.get("not_given", ())}


def compare(given: dict[str, Any], configured: dict[str, Any], where: str) -> None:
    known = {key: value for key, value in given.items() if value is not None}
    assert {key: configured.get(key) for key in known} == known, where


def searched(name: str) -> Iterator[Entry]:
    return (entry for entry in preset(name).entries if entry.search)


def test_every_comparison_of_a_paper_has_facts() -> None:
    names = {path.stem for path in (ROOT / "configs/compare").glob("*.yaml")}
    assert names - set(FACTS) == {
        "frappe",
        "frappe-aim-transfers",
        "frappe-tuned",
        "fast-frappe",
        "fast-gpu",
        "fast-planted",
        "ablations-frappe",
        "ablations-planted",
    }


@papers
def test_models_are_trained_as_in_the_paper(name: str) -> None:
    config = preset(name)
    for entry in config.entries:
        given = facts_of(name, "settings", entry.name)
        assert set(given) >= TRAINING, f"{name}: {entry.name}: a fact is missing"
        settings = entry.models(config.models).of(entry.trained).model_dump(mode="json")
        compare(given, settings | {"model": entry.trained, "orders": list(entry.orders)}, entry.name)


@papers
def test_methods_search_as_in_the_paper(name: str) -> None:
    for entry in searched(name):
        assert entry.search
        given = facts_of(name, "searches", entry.name)
        assert set(given) >= SEARCH[entry.search.method], f"{name}: {entry.name}: a fact is missing"
        compare(given, entry.search.model_dump(mode="json"), entry.name)


@papers
def test_facts_are_about_rows_of_the_table(name: str) -> None:
    names = {entry.name for entry in preset(name).entries}
    for section in ("settings", "searches"):
        rows = [fact["rows"] for fact in FACTS[name].get(section, ()) if fact["rows"] != "all"]
        assert names >= {row for each in rows for row in each}


@papers
def test_published_figures_are_those_of_the_paper(name: str) -> None:
    shown = {
        row: each.model_dump(mode="json", exclude={"split"}, exclude_none=True)
        for entry in preset(name).entries
        for row, each in entry.figures().items()
    }
    table = dict(FACTS[name]["published"])
    assert table.pop("source")
    given = {}
    for row, (auc, logloss, *others) in table.items():
        (other,) = others or [{}]
        given[row] = {"auc": auc, **({} if logloss is None else {"logloss": logloss}), **other}
    assert shown == given


@pytest.mark.parametrize("name", ["autofis-avazu", "autofis-criteo-terabyte"])
def test_random_selections_of_autofis_are_ten_of_fm(name: str) -> None:
    config = preset(name)
    (entry,) = (entry for entry in config.entries if entry.has_random)
    assert sum(config.draws_of(entry, seed) for seed in config.seeds) == 10
    assert [(each.model, each.of) for each in entry.transfer if each.is_control] == [("fm", "random")]


@papers
def test_data_have_the_sizes_and_the_split_of_the_paper(name: str) -> None:
    config, given = preset(name), FACTS[name]["data"]
    expected = config.expected
    assert expected is not None
    assert len(config.seeds) == FACTS[name].get("seeds", len(config.seeds))
    assert (expected.fields, expected.features) == (given["fields"], given["features"])
    columns = config.data.columns.values()
    fields = sum(each.kind in ("categorical", "numeric", "multivalued") for each in columns)
    derived = sum(len(each.derive) for each in columns if isinstance(each, Timestamp))
    assert fields + derived == given["fields"]
    rows = given["rows"]
    assert expected.rows.get("all", sum(expected.rows.values())) == sum(rows.values())
    assert all(count == rows[split] for split, count in expected.rows.items() if split != "all")
    compare(given["vocabulary"], config.vocabulary.model_dump(mode="json", exclude_none=True), name)
    compare(given.get("split", {}), config.data.split.model_dump(mode="json"), name)
    if negatives := given.get("negatives"):
        assert config.data.negatives
        compare(negatives, config.data.negatives.model_dump(mode="json"), name)
    for split, days in given.get("days", {}).items():
        files = getattr(config.data.files, split)
        assert [int(re.findall(r"day_(\d+)", file)[0]) for file in files] == days


def test_rows_of_equal_parameters_on_criteo_have_those_of_optinter() -> None:
    """Within 3 % of 100 million (OptInter, Table V), with the sizes in its code and 5 layers of 700."""
    config, tokens, crosses = preset("optinter-criteo"), 514_758 + 40, 21_037_178 + 326
    rows = {entry.name: entry for entry in config.entries if entry.name.endswith("-equal")}
    for name, entry in rows.items():
        settings: Any = entry.models(config.models).of(entry.trained)
        size, pairs = settings.embedding_size, 26 * 25 // 2
        tables, inputs = tokens * size, 39 * size
        if name == "ipnn-equal":
            inputs += 39 * 38 // 2
        if entry.search:
            of_pairs = settings.cross_embedding_size
            inputs += pairs * of_pairs
            tables += {"m": crosses, "f": tokens}[name.split("-")[1]] * of_pairs
        total = tables + (inputs + 1) * 700 + 4 * 701 * 700 + 701
        assert total == pytest.approx(100e6, rel=0.03), name
    assert set(rows) == {"fnn-equal", "ipnn-equal", "optinter-m-equal", "optinter-f-equal"}
