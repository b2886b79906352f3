"""Compared models must have the same seeds; errors name those that do not."""

from pathlib import Path

import pytest

from ctrloom import stages
from ctrloom.config import EvaluationConfig, ModelsConfig, SelectionConfig
from ctrloom.data.dataset import Dataset
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
