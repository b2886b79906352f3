"""Compared models must have the same seeds; errors name those that do not."""

from pathlib import Path

import pytest

from ctrloom import stages
from ctrloom.config import EvaluationConfig, ModelsConfig, RunConfig, SelectionConfig, Transfer
from ctrloom.config.base import ConfigError
from ctrloom.data.dataset import Dataset
from ctrloom.evaluation.results import ModelResult
from ctrloom.evaluation.seeds import require_same_seeds
from ctrloom.metrics.measure import EvaluationError

MODELS = ModelsConfig({"default": {"embedding_size": 4, "hidden": (8,), "epochs": 1}})


def test_equal_seed_sets_are_accepted_in_any_order():
    require_same_seeds({"fm": [2, 0, 1], "autofm": [0, 1, 2]}, [1, 0, 2])
    require_same_seeds({}, [0])


@pytest.mark.parametrize(
    ("trained", "wanted", "message"),
    [
        (
            {"fm": [0], "lr": [0], "autofm": [0, 1, 2]},
            None,
            "models were trained with different seeds: fm, lr with seed 0; autofm with seeds 0, 1, 2",
        ),
        ({"fm": [0], "autofm": [0]}, [0, 1, 2], "the run has seeds 0, 1, 2, but .* fm, autofm with seed 0"),
        ({"fm": []}, [0], r"fm with seeds \(none\)"),
        ({"fm": [0, 0], "lr": [0, 1]}, None, "fm: trained twice with seed 0"),
    ],
)
def test_different_seed_sets_are_rejected(trained, wanted, message):
    with pytest.raises(EvaluationError, match=message):
        require_same_seeds(trained, wanted)


@pytest.fixture
def trained(mixed: Dataset, tmp_path: Path) -> tuple[Path, Path, dict[str, Path]]:
    """A manifest, the result of a search, and folders of models with one seed and two."""
    search = {"method": "random", "keep": {2: 1}, "random_draws": 1}
    manifest, found = mixed.base / "manifest.json", tmp_path / "search"
    stages.search(manifest, SelectionConfig.parse(search, "search"), MODELS, found)
    folders = {name: tmp_path / name for name in ("retrained", "again", "fm", "ipnn")}
    stages.retrain(manifest, found, MODELS, [0], folders["retrained"], controls=[])
    stages.retrain(manifest, found, MODELS, [1], folders["again"], controls=[])
    stages.baselines(manifest, ["fm"], MODELS, [0], folders["fm"])
    stages.transfer(manifest, found, ["ipnn"], MODELS, [0], folders["ipnn"])
    return manifest, found, folders


def test_evaluation_requires_the_configured_seeds(trained, tmp_path):
    manifest, found, folders = trained

    def evaluate(names, seeds):
        given = [folders[name] for name in names]
        config = EvaluationConfig(bootstrap=50)
        return stages.evaluate(manifest, found, given, seeds, config, "test", {}, tmp_path / "out")

    with pytest.raises(EvaluationError, match=r"autofm with seeds 0, 1"):
        evaluate(("retrained", "again", "fm"), [0, 1])
    with pytest.raises(EvaluationError, match=r"the run has seeds 0, 1, but .*autofm, fm with seed 0"):
        evaluate(("retrained", "fm"), [0, 1])
    assert not (tmp_path / "out").exists()
    results = evaluate(("retrained", "fm"), [0])
    assert {len(model.seeds) for model in results.models} == {1}


def test_bundle_requires_equal_seeds(trained, tmp_path):
    manifest, _, folders = trained
    retrained = [folders["retrained"], folders["again"]]
    others = [folders["ipnn"]], [folders["fm"]], ["fm"]
    outputs = [tmp_path / name for name in ("best", "others", "bundles")]
    with pytest.raises(EvaluationError, match="ipnn-transfer, fm with seed 0; autofm with seeds 0, 1"):
        stages.bundle(manifest, retrained, *others, *outputs)
    assert not (tmp_path / "best").exists()
    stages.bundle(manifest, retrained[:1], *others, *outputs)
    assert (tmp_path / "others" / "ipnn" / "model.safetensors").is_file()


def test_seeds_in_separate_steps_share_the_draws_and_none_may_lack(mixed: Dataset, tmp_path: Path) -> None:
    search = {"method": "statistics_auc", "keep": {2: 1}, "random_draws": 3}
    manifest, found, seeds = mixed.base / "manifest.json", tmp_path / "search", [4, 5]
    stages.search(manifest, SelectionConfig.parse(search, "search"), MODELS, found)
    moved = [{"model": "fm", "of": "random"}, "ffm", {"model": "deepfm", "of": "selection"}]
    runs: list[Path] = []

    def evaluate(of: list[int]) -> dict[str, ModelResult]:
        config = EvaluationConfig(bootstrap=50)
        results = stages.evaluate(manifest, found, runs, of, config, "test", {}, tmp_path / "out")
        return {model.name: model for model in results.models}

    for seed in seeds:
        here = [tmp_path / f"{name}-{seed}" for name in ("retrained", "moved", "fm")]
        stages.retrain(manifest, found, MODELS, [seed], here[0], controls=["random"], of=seeds)
        stages.transfer(manifest, found, moved, MODELS, [seed], here[1], tmp_path / f"b-{seed}", of=seeds)  # type: ignore[arg-type]
        stages.baselines(manifest, ["fm"], MODELS, [seed], here[2])
        runs += here
        if seed == seeds[0]:
            with pytest.raises(
                EvaluationError, match="autofm-random: draw 1 of 3 was not trained; give draw_s"
            ):
                evaluate([4])
    models = evaluate(seeds)
    for name in ("autofm-random", "random-fm-transfer"):
        assert [(each.seed, each.draw) for each in models[name].seeds] == [(4, 0), (4, 2), (5, 1)]
        assert (models[name].kind, models[name].note) == ("control", "mean of 3 draws")
    assert (models["selection-deepfm-transfer"].kind, models["ffm-transfer"].note) == ("transfer", None)
    assert {path.name for path in (tmp_path / "b-4").iterdir()} == {"ffm", "selection-deepfm"}
    wrong = [Transfer(model="fm", of="unpruned-2")]
    with pytest.raises(ConfigError, match="controls: 'unpruned-2' is not a control of this search: "):
        stages.transfer(manifest, found, wrong, MODELS, [4], tmp_path / "none")


def test_a_transfer_is_written_as_it_is_given():
    run = {"name": "a", "data": {"files": "a.csv", "columns": {"y": "label", "a": "categorical"}}}
    given = ["ipnn", {"model": "fm", "of": "random"}]
    config = RunConfig.parse({**run, "transfer": given}, "run")
    assert config.model_dump(mode="json")["transfer"] == given
    assert [each.name for each in config.transfer] == ["ipnn", "random-fm"]
    with pytest.raises(
        ConfigError, match=r"transfer.0.of: must be 'found', 'selection', 'random', .*'randm'"
    ):
        RunConfig.parse({**run, "transfer": [{"model": "fm", "of": "randm"}]}, "run")
