"""Properties of every model in the registry."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import test_beyond_pairs
import test_models
import test_pairwise
import test_peers
import torch
from oracle import OWN, PAIRS, ROWS, SCHEMA, SELECTIONS, SMALL, chosen, hyper_of
from small import categorical_schema, planting, rows_of

from ctrloom.architecture import Architecture
from ctrloom.config import MODELS, EmbeddingOptimizer, Hyperparameters, ModelName, ModelsConfig
from ctrloom.config.base import ConfigError
from ctrloom.config.tuning import TuningConfig
from ctrloom.models import build
from ctrloom.models.shallow import EmbeddingModel
from ctrloom.schema import SchemaMismatchError
from ctrloom.training.loop import adam, fit, seed_everything
from ctrloom.training.step import loss_of

# Need more than pairs, or special training; tested elsewhere.
ELSEWHERE = {"poly2", "gbdt", "gbdtlr", "gbdtpoly2", "aim", "optinter", "autopi"}
NAMES = [name for name in MODELS if name not in ELSEWHERE]


def test_every_model_has_a_unique_title_and_its_settings() -> None:
    titles = [MODELS[name].title for name in MODELS]
    assert all(titles)
    assert len(set(titles)) == len(titles)
    for name in MODELS:
        assert type(ModelsConfig().of(name)) is MODELS[name].settings


def test_every_model_is_tested_against_its_equation() -> None:
    equations = {
        *test_models.EQUATIONS,
        *test_pairwise.EQUATIONS,
        *test_beyond_pairs.EQUATIONS,
        *test_peers.EQUATIONS,
    }
    assert set(NAMES) - equations == {"autoint", "autointplus"}, "the others have oracles of their own"


def test_every_model_is_described_with_its_settings() -> None:
    """In docs/models.md: | `name` | equation | ... | its settings, or as `other` | ..."""
    text = (Path(__file__).parents[2] / "docs" / "models.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    for name in MODELS:
        (row,) = (row for row in rows if row.startswith(f"| `{name}` "))
        own = MODELS[name].settings.model_fields.keys() - Hyperparameters.model_fields.keys()
        same = re.search(r"\| as `(\w+)` \|", row)
        if same:
            assert MODELS[same[1]].settings is MODELS[name].settings
        else:
            assert [setting for setting in sorted(own) if f"`{setting}`" not in row] == [], name


@pytest.mark.parametrize("name", NAMES)
def test_architecture_changes_only_models_that_select(name: ModelName) -> None:
    def logits(selection: str) -> torch.Tensor:
        torch.manual_seed(0)
        model = build(name, chosen(*SELECTIONS[selection]), SCHEMA, hyper_of(name))
        return model(ROWS.ids_NC, ROWS.factors_NC)

    assert torch.equal(logits("complete"), logits("some pairs")) is not MODELS[name].selects


@pytest.mark.parametrize("name", NAMES)
def test_categorical_fields_need_no_factors(name: ModelName) -> None:
    schema = categorical_schema(4)
    rows, model = (
        rows_of(schema, 6),
        build(name, chosen(*PAIRS, schema=schema), schema, hyper_of(name)).eval(),
    )
    assert rows.factors_NC is None
    ones = torch.ones(rows.ids_NC.shape)
    torch.testing.assert_close(model(rows.ids_NC), model(rows.ids_NC, ones), rtol=0, atol=1e-6)


@pytest.mark.parametrize("selection", SELECTIONS)
@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_gets_a_gradient(name: ModelName, selection: str) -> None:
    torch.manual_seed(1)
    model = build(name, chosen(*SELECTIONS[selection]), SCHEMA, hyper_of(name))
    model(ROWS.ids_NC, ROWS.factors_NC).square().sum().backward()
    idle = [key for key, p in model.named_parameters() if p.numel() and (p.grad is None or not p.grad.any())]
    if any(len(t) == 2 for t in SELECTIONS[selection]) or not MODELS[name].selects:
        assert idle == []
        return
    # Without pairs only the linear part is used.
    without_pairs = {
        "afm": ("embedding.weight", "pooling", "out"),
        "nfm": ("embedding.weight", "mlp.layers.0"),
    }
    unused = without_pairs.get(name, ("embedding.weight",) if isinstance(model, EmbeddingModel) else ())
    assert {key for key in idle if not key.startswith(unused)} == set()


@pytest.mark.parametrize("name", NAMES)
def test_architecture_with_different_fields_is_refused(name: ModelName) -> None:
    with pytest.raises(SchemaMismatchError, match="a, b, c, x, but the data has a, b, c, d"):
        build(name, Architecture.complete(("a", "b", "c", "x")), SCHEMA, hyper_of(name))
    with pytest.raises(SchemaMismatchError):
        build(name, Architecture.complete(("b", "a", "c", "d")), SCHEMA, hyper_of(name))


def with_default(name: ModelName, **settings: Any) -> torch.nn.Module:
    """A model with settings for all models, in training."""
    hyper = ModelsConfig.parse({"default": {**SMALL, **settings}, name: OWN.get(name, {})}).of(name)
    torch.manual_seed(2)
    return build(name, chosen(*SELECTIONS["complete"]), SCHEMA, hyper)


@pytest.mark.parametrize("name", NAMES)
def test_settings_that_a_model_lacks_are_those_without_effect(name: ModelName) -> None:
    def noisy(model: torch.nn.Module) -> bool:
        once, again = (model(ROWS.ids_NC, ROWS.factors_NC) for _ in range(2))
        return not torch.equal(once, again)

    def keys(**settings: Any) -> list[str]:
        return [
            f"{key} {type(module).__name__}"
            for key, module in with_default(name, batch_norm=False, **settings).named_modules()
        ]

    lacks = MODELS[name].lacks
    assert not noisy(with_default(name))
    assert noisy(with_default(name, embedding_dropout=0.5)) is ("embedding_dropout" not in lacks)
    plain, before = keys(layer_norm=False), keys(layer_norm=True)
    after = keys(layer_norm=True, layer_norm_after_relu=True)
    assert (plain != before) is ("layer_norm" not in lacks)
    assert (before != after) is ("layer_norm_after_relu" not in lacks)
    for key, own in (
        ("embedding_dropout", {}),
        ("layer_norm", {}),
        ("layer_norm_after_relu", {"layer_norm": True}),
    ):
        value = 0.5 if key == "embedding_dropout" else True
        if key in lacks:
            with pytest.raises(ConfigError, match=f"{name}.{key}: has no effect on .*; leave it out"):
                ModelsConfig.parse({"default": own, name: {"batch_norm": False, key: value}})
            with pytest.raises(ConfigError, match=f"spaces.{name}.{key}: has no effect"):
                TuningConfig.parse({"spaces": {name: {key: [value]}}}, "tuning")
        else:
            ModelsConfig.parse({"default": own, name: {"batch_norm": False, key: value}})


CLICKS = {"rows": 10_000, "fields": 5, "sizes": (8,), "pairs": 3, "strength": 1.5, "main_effects": 0.3}
LEARNING = {"embedding_size": 6, "hidden": (32,), "epochs": 6, "batch_size": 250, "learning_rate": 0.01}
LIGHT: dict[str, dict[str, Any]] = {
    "pin": {"subnet_hidden": (10, 5)},
    "cin": {"cin_layers": (8, 8)},
    "xdeepfm": {"cin_layers": (8, 8)},
    "afn": {"logarithmic_neurons": 30},
    "finalmlp": {"second_hidden": (16,)},
    "autoint": {"attention_layers": 2, "head_size": 8},
    "autointplus": {"attention_layers": 1, "head_size": 8},
}


@pytest.fixture(scope="module")
def learned() -> Callable[[ModelName], float]:
    """Validation AUC of a model with all pairs after a few passes over planted clicks."""
    made = planting(**CLICKS)

    def auc(name: ModelName) -> float:
        hyper = ModelsConfig({name: {**LEARNING, **LIGHT.get(name, {})}}).of(name)
        seed_everything(0)
        model = build(name, Architecture.complete(made.schema.names), made.schema, hyper)
        return fit(model, made.rows[:8000], made.rows[8000:], hyper, 0, name).best_epoch.valid_auc

    return auc


@pytest.fixture(scope="module")
def linear(learned: Callable[[ModelName], float]) -> float:
    return learned("lr")


@pytest.mark.parametrize("name", [name for name in NAMES if name != "lr"])
def test_interactions_are_learned(
    name: ModelName, learned: Callable[[ModelName], float], linear: float
) -> None:
    assert 0.55 < linear < 0.75
    assert learned(name) > linear + 0.1


@pytest.mark.parametrize("name", NAMES)
def test_first_step_of_lazy_adam_matches_dense_adam(name: ModelName) -> None:
    """Without moments and L2 neither changes unused rows, so first steps agree in every model."""

    def after_a_step(tables: EmbeddingOptimizer) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        model = build(name, chosen(*SELECTIONS["complete"]), SCHEMA, hyper_of(name))
        optimizer = adam(model, 0.01, tables=tables)
        loss_of(model, ROWS).backward()
        optimizer.step()
        return model.state_dict()

    dense, lazy = after_a_step("adam"), after_a_step("lazy_adam")
    for key, value in dense.items():
        torch.testing.assert_close(lazy[key], value, rtol=0, atol=2e-5, msg=key)
