"""The bundled comparisons load, and have the published figures."""

from pathlib import Path

import pytest

from ctrloom.config.files import load_compare_config

FILES = sorted((Path(__file__).parents[1] / "configs" / "compare").glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_preset_loads(path: Path) -> None:
    config = load_compare_config(path)
    assert config.name == path.stem
    assert f"configs/compare/{path.name}" in path.read_text(), "the header has the command"
    crossed = any(entry.search and entry.search.method == "optinter" for entry in config.entries)
    assert not crossed or config.vocabulary.crosses, "OptInter needs crosses"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_comparison_does_not_depend_on_the_defaults(path: Path) -> None:
    given = load_compare_config(path).models.raw("default")
    assert {"hidden", "dropout", "learning_rate", "embedding_l2", "decays", "monitor"} <= set(given)
