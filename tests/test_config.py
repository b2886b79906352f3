import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctrloom.config import (
    AutoFISConfig,
    DataConfig,
    Hyperparameters,
    ModelsConfig,
    RunConfig,
    SourceConfig,
    VocabularyConfig,
)
from ctrloom.config.base import ConfigError, SectionError
from ctrloom.config.files import load_run_config

COLUMNS = {"click": "label", "user": "categorical", "age": "numeric"}
CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.yaml"))


def run(**sections: Any) -> RunConfig:
    data = {"files": "clicks.csv", "columns": COLUMNS, **sections.pop("data", {})}
    return RunConfig.parse({"name": "test", "data": data, **sections}, "run.yaml")


@pytest.mark.parametrize(
    ("sections", "place", "nearest"),
    [
        ({"serach": {}}, "serach", "search"),
        ({"search": {"epoch": 3}}, "search.epoch", "epochs"),
        ({"models": {"default": {"embeding_size": 3}}}, "models.default.embeding_size", "embedding_size"),
        ({"models": {"fm": {"learningrate": 3}}}, "models.fm.learningrate", "learning_rate"),
        ({"data": {"missing": ["-"]}}, "data.missing", "missing_values"),
        ({"data": {"files": {"train": ["a"], "vald": ["b"]}}}, "data.files.vald", "valid"),
        ({"data": {"split": {"by": "random", "tset": 0.1}}}, "data.split.tset", "test"),
        (
            {"data": {"columns": {**COLUMNS, "click": {"kind": "label", "postive": "1"}}}},
            "postive",
            "positive",
        ),
        ({"vocabulary": {"mincount": 3}}, "vocabulary.mincount", "min_count"),
        ({"vocabulary": {"bucketing": {"method": "equal_width", "bucket": 9}}}, "bucket", "buckets"),
        (
            {"vocabulary": {"fields": {"user": {"max_value": 9}}}},
            "vocabulary.fields.user.max_value",
            "max_values",
        ),
        (
            {"vocabulary": {"fields": {"age": {"bucketing": {"method": "keep", "scale": "log"}}}}},
            "vocabulary.fields.age.bucketing.scale",
            "scaling",
        ),
        ({"evaluation": {"botstrap": 3}}, "evaluation.botstrap", "bootstrap"),
    ],
)
def test_an_unknown_key_names_the_nearest(sections: dict[str, Any], place: str, nearest: str) -> None:
    with pytest.raises(ConfigError, match="unknown key") as error:
        run(**sections)
    assert str(error.value).startswith("run.yaml: ")
    assert place in str(error.value)
    assert f"did you mean {nearest!r}?" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_key_without_close_match_lists_the_valid_ones() -> None:
    with pytest.raises(ConfigError, match="valid keys are base, bins, bootstrap, columns, confidence"):
        run(evaluation={"xyzzy": 1})


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"models": {"autofmm": {}}}, "models.autofmm: must be 'default', .*; did you mean 'autofm'?"),
        ({"baselines": ["lr", "deepmf"]}, r"baselines\.1: .*; did you mean 'deepfm'"),
        ({"search": {"order": 5}}, "search.order: must be 2, 3 or 4, not 5"),
        ({"search": {"epochs": 0}}, "search.epochs: .* greater than or equal to 1"),
        ({"search": {"batch_size": 1}}, "search.batch_size: .* greater than or equal to 2"),
        ({"search": {"epochs": 2.5}}, "search.epochs: must be a whole number, not 2.5"),
        ({"search": {"learning_rate": "fast"}}, "search.learning_rate"),
        ({"models": {"default": {"epochs": 0}}}, "models.default.epochs: .*greater than or equal to 1"),
        ({"data": {"max_malformed": 1.0}}, "data.max_malformed: .*less than 1"),
        (
            {"data": {"columns": {"click": "lable", "a": "numeric"}}},
            "data.columns.click.kind: .*'lable'.*'label'",
        ),
        (
            {"data": {"columns": {"user": "categorical"}}},
            "exactly one column must be of kind label, found none",
        ),
        ({"data": {"columns": {"a": "label", "b": "label", "c": "numeric"}}}, "label, found a, b"),
        (
            {"data": {"columns": {**COLUMNS, "w": "weight", "v": "weight"}}},
            "at most one .* weight, found w, v",
        ),
        ({"data": {"columns": {"click": "label", "id": "ignored"}}}, "no column is a field"),
        ({"data": {"columns": {**COLUMNS, "I3..I1": "numeric"}}}, "'I3..I1' is an empty range"),
        ({"seeds": []}, "seeds: .*at least 1 item"),
        ({"name": "My Run"}, "name: "),
        ({"search": None}, "search: "),
    ],
)
def test_values_that_do_not_fit_are_explained(sections: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"run.yaml: (data: )?.*{message}"):
        run(**{"name": "test", **sections}) if "name" not in sections else RunConfig.parse(
            {"data": {"files": "a.csv", "columns": COLUMNS}, **sections}, "run.yaml"
        )


def test_all_problems_are_reported_at_once() -> None:
    with pytest.raises(ConfigError) as error:
        run(search={"epoch": 3, "mu": 0}, evaluation={"bins": 0})
    assert [line.split(": ")[1] for line in str(error.value).splitlines()] == [
        "evaluation.bins",
        "search.mu",
        "search.epoch",
    ]


def source(**columns: Any) -> SourceConfig:
    return SourceConfig.parse({"columns": {"click": "label", **columns}}, "test")


@pytest.mark.parametrize(
    ("name", "expanded"),
    [
        ("I1..I13", [f"I{i}" for i in range(1, 14)]),
        ("f_00..f_12", [f"f_{i:02}" for i in range(13)]),
        ("field_08..field_11", ["field_08", "field_09", "field_10", "field_11"]),
        ("c7..c7", ["c7"]),
        ("0..3", ["0", "1", "2", "3"]),
        ("a..b", ["a..b"]),
        ("I1..J3", ["I1..J3"]),
        ("x.y", ["x.y"]),
    ],
)
def test_ranges_of_columns(name: str, expanded: list[str]) -> None:
    assert source(**{name: "numeric"}).named("numeric") == expanded


def test_a_kind_is_shorthand_for_a_column_with_defaults() -> None:
    assert source(tags="multivalued") == source(tags={"kind": "multivalued", "separator": "|"})
    assert source(tags={"kind": "multivalued", "separator": ";"}) != source(tags="multivalued")
    assert source(**{"I1..I2": {"kind": "numeric"}}) == source(I1="numeric", I2="numeric")


def test_columns_keep_their_order_through_json_that_sorts_keys() -> None:
    config = source(zebra="categorical", apple="numeric", mango={"kind": "multivalued", "separator": " "})
    sorted_json = json.dumps(config.model_dump(mode="json"), sort_keys=True)
    back = SourceConfig.parse(json.loads(sorted_json), "test")
    assert back == config
    assert list(back.columns) == ["click", "zebra", "apple", "mango"]


@pytest.mark.parametrize("files", ["a.csv", ["a.csv"], {"train": ["a.csv"]}, {"train": "a.csv"}])
def test_one_name_or_a_list_is_taken_as_the_training_files(files: Any) -> None:
    config = DataConfig.parse({"files": files, "columns": COLUMNS}, "test")
    assert (config.files.train, config.files.valid) == (("a.csv",), ())


def test_source_is_the_part_that_predictions_need() -> None:
    config = run(data={"format": "tsv", "missing_values": ["-"], "max_malformed": 0.5}).data
    assert config.source == SourceConfig.parse(
        {"format": "tsv", "missing_values": ["-"], "columns": COLUMNS}, "test"
    )


def as_floats(value: Any) -> Any:
    """What a JSON parser without integers does."""
    if isinstance(value, dict):
        return {k: as_floats(v) for k, v in value.items()}
    if isinstance(value, list):
        return [as_floats(v) for v in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


@pytest.mark.parametrize(
    "section",
    [
        AutoFISConfig(order=3, epochs=40, seed=7),
        Hyperparameters(hidden=(64, 32), embedding_size=8),
        VocabularyConfig.parse({"min_count": 2, "bucketing": {"method": "equal_width", "buckets": 9}}, "t"),
        run(seeds=[3, 4], data={"split": {"by": "random", "seed": 5}}),
    ],
    ids=lambda section: type(section).__name__,
)
def test_whole_numbers_may_come_as_floats(section: Any) -> None:
    dumped = as_floats(section.model_dump(mode="json", exclude_none=True))
    back = type(section).parse(dumped, "test")
    assert back == section
    assert json.dumps(back.model_dump(mode="json")) == json.dumps(section.model_dump(mode="json"))


@settings(deadline=None, max_examples=30)
@given(
    default=st.fixed_dictionaries(
        {}, optional={"epochs": st.integers(1, 9), "batch_size": st.integers(2, 9)}
    ),
    special=st.fixed_dictionaries(
        {}, optional={"epochs": st.integers(1, 9), "embedding_size": st.integers(1, 9)}
    ),
)
def test_hyperparameters_of_a_model_override_the_default(default: dict, special: dict) -> None:
    hyper = ModelsConfig({"default": default, "fm": special, "lr": {"epochs": 77}}).of("fm")
    for name, plain in Hyperparameters().model_dump().items():
        assert getattr(hyper, name) == special.get(name, default.get(name, plain))


def write(folder: Path, text: str) -> Path:
    (folder / "run.yaml").write_text(text)
    return folder / "run.yaml"


HEAD = "name: test\ndata:\n  columns: {click: label, user: categorical}\n"


def test_relative_paths_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "configs").mkdir()
    files = "{train: [../data/a.csv, 'gs://bucket/b*.csv', https://host/c.csv], test: [/abs/d.csv]}"
    truth = "evaluation: {truth: ../data/truth.json}\n"
    path = write(tmp_path / "configs", HEAD + f"  files: {files}\n{truth}")
    monkeypatch.chdir(tmp_path)
    for given_path in (path, path.relative_to(tmp_path)):
        config = load_run_config(given_path)
        assert config.data.files.train == (
            str(tmp_path / "data/a.csv"),
            "gs://bucket/b*.csv",
            "https://host/c.csv",
        )
        assert config.data.files.test == ("/abs/d.csv",)
        assert config.evaluation.truth == str(tmp_path / "data/truth.json")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "is not YAML"),
        ("- a\n- b\n", "must contain the sections of a run .*list"),
        ("", "must contain the sections of a run"),
        (HEAD, r"data\.files: Field required"),
        (HEAD + "  files: a.csv\nbaseline: [lr]\n", "did you mean 'baselines'"),
    ],
)
def test_an_invalid_run_file_is_explained(text: str, message: str, tmp_path: Path) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError, match=message) as error:
        load_run_config(path)
    assert str(error.value).startswith(str(path))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read: No such file"):
        load_run_config(tmp_path / "none.yaml")


def test_single_keys_can_be_overridden(tmp_path: Path) -> None:
    path = write(tmp_path, HEAD + "  files: a.csv\nsearch: {epochs: 9}\n")
    config = load_run_config(path, [("search.epochs", "3"), ("models.fm.hidden", "[8, 4]"), ("seeds", "[5]")])
    assert (config.search.epochs, config.seeds) == (3, (5,))
    assert config.models.of("fm").hidden == (8, 4)
    with pytest.raises(ConfigError, match="did you mean 'epochs'"):
        load_run_config(path, [("search.epoch", "3")])
    with pytest.raises(ConfigError, match="'name' is not a section"):
        load_run_config(path, [("name.epoch", "3")])


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_shipped_configurations_are_valid(path: Path) -> None:
    config = load_run_config(path)
    assert RunConfig.parse(json.loads(json.dumps(config.model_dump(mode="json"))), "again") == config


def test_configuration_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        AutoFISConfig().epochs = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    "columns",
    [
        {"y": "label", "I1..I3": "numeric", "I2": "categorical"},
        [{"name": "y", "kind": "label"}, {"name": "a", "kind": "numeric"}, {"name": "a", "kind": "numeric"}],
    ],
)
def test_duplicate_column_is_refused(columns):
    with pytest.raises(ConfigError, match="duplicate column"):
        SourceConfig.parse({"columns": columns}, "data")


def test_duplicate_key_in_a_file_is_refused(tmp_path):
    (tmp_path / "twice.yaml").write_text("name: a\nseeds: [0]\nseeds: [1]\n")
    with pytest.raises(ConfigError, match="duplicate key 'seeds'"):
        load_run_config(tmp_path / "twice.yaml")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"evaluation": {"base": "fn"}}, "evaluation.base: 'fn' is not trained"),
        ({"baselines": ["lr"]}, "evaluation.base: 'fm' is not trained"),
        ({"seeds": [1, 1]}, "duplicate seed 1; each seed must be unique"),
        ({"data": {"split": {"valid": 0}}}, "a run needs valid rows"),
        ({"data": {"split": {"by": "time"}}}, "needs a column of kind timestamp"),
        ({"bundles": ["fm", "afm"]}, "bundles: 'afm' is not trained; choose from lr, fm, .*autofm-random"),
        ({"bundles": ["fm", "fm"]}, "bundles: duplicate 'fm'"),
        ({"evaluation": {"group": "user"}}, "evaluation.group: no row has a value of 'user'; choose from a,"),
        ({"evaluation": {"segments": ["day"]}}, "evaluation.segments: .*'day'.* kind context"),
        ({"evaluation": {"segments": ["a", "a"]}}, "evaluation.segments: duplicate 'a'"),
        (
            {
                "data": {"columns": {"y": "label", "row": "categorical"}},
                "evaluation": {"columns": ["row"]},
            },
            "predictions.parquet has a column 'row' already",
        ),
        ({"evaluation": {"columns": ["y"]}}, "evaluation.columns: no row has a value of 'y'"),
    ],
)
def test_errors_of_late_stages_are_raised_at_load(change, message):
    data = {"files": "a.csv", "columns": {"y": "label", "a": "categorical"}, **change.get("data", {})}
    with pytest.raises(ConfigError, match=message):
        RunConfig.parse({"name": "x", **change, "data": data}, "x.yaml")


def test_evaluation_takes_columns_that_have_values() -> None:
    columns = {
        "y": "label",
        "a": "categorical",
        "n": "numeric",
        "kept": "numeric",
        "t": {"kind": "timestamp", "derive": ["hour"]},
        "user": "context",
    }
    given = {
        "name": "x",
        "data": {"files": "a.csv", "columns": columns},
        "vocabulary": {"fields": {"kept": {"bucketing": {"method": "keep"}}}},
    }
    named = {"group": "user", "segments": ["a", "n", "t_hour", "day"], "columns": ["user", "day"]}
    assert RunConfig.parse({**given, "evaluation": named}, "x.yaml").evaluation.group == "user"
    with pytest.raises(
        ConfigError, match="no row has a value of 'kept'; choose from a, n, t_hour, user, day"
    ):
        RunConfig.parse({**given, "evaluation": {"segments": ["kept"]}}, "x.yaml")


def test_errors_survive_the_way_from_another_process() -> None:
    error = SectionError([("fm.epochs", "must be positive"), ("", "too many models")])
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.problems) == (str(error), error.problems)
    assert str(error) == "fm.epochs: must be positive\ntoo many models"
    with pytest.raises(ConfigError, match=r"^models\.mlp: |model: must be "):
        ModelsConfig().of("mlp")
