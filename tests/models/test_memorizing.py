"""Models with cross features compared with their equations as loops; bundles score raw rows."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import torch
from small import crossed, rows_of, schema_of

from ctrloom.architecture import Architecture, Function, Interaction
from ctrloom.config import DataConfig, MemorizingSettings, ModelsConfig, OptInterSettings, VocabularyConfig
from ctrloom.config.base import ConfigError
from ctrloom.data.batches.tensors import to_batch
from ctrloom.data.dataset import Dataset
from ctrloom.data.ingest.cast import read_rows
from ctrloom.data.ingest.run import ingest
from ctrloom.data.sources.files import resolve
from ctrloom.data.vocabulary.build import build_vocabulary
from ctrloom.models import build
from ctrloom.nn.cross_features import CrossEmbedding, fill_crosses
from ctrloom.schema import SchemaMismatchError
from ctrloom.serving.predict import predict
from ctrloom.training.loop import fit, score
from ctrloom.training.plans import Plan, train_runs
from ctrloom.training.runs import open_runs

SCHEMA, KEYS = crossed(
    schema_of(("categorical", 5), ("multivalued", 4, 2), ("categorical", 7), ("categorical", 3))
)
ROWS = rows_of(SCHEMA, 11)
FIELD_OF_COLUMN = (0, 1, 1, 2, 3)
HYPER = OptInterSettings(
    embedding_size=3, cross_embedding_size=2, hidden=(5, 4), dropout=0, embedding_std=0.5
)
CHOICES: dict[str, dict[tuple[str, str], Function]] = {
    "mixed": {("a", "c"): "memorize", ("a", "d"): "hadamard", ("c", "d"): "memorize", ("b", "d"): "hadamard"},
    "memorized": {("a", "c"): "memorize", ("a", "d"): "memorize"},
    "factorized": {("a", "d"): "hadamard", ("a", "b"): "hadamard"},
    "left out": {},
}


def chosen(choice: dict[tuple[str, str], Function]) -> Architecture:
    made = tuple(Interaction(fields=pair, function=function) for pair, function in choice.items())
    return Architecture(method="test", fields=SCHEMA.names, interactions=made)


def filled(name: str, architecture: Architecture, hyper: MemorizingSettings) -> torch.nn.Module:
    torch.manual_seed(2)
    model = build(name, architecture, SCHEMA, hyper)  # type: ignore[arg-type]
    fill_crosses(model, KEYS)
    for parameter in model.parameters():  # no zero bias, no scale of one
        if parameter.dim() < 2:
            torch.nn.init.uniform_(parameter, 0.1, 1.1)
    return model.double().eval()


def embedded(weight: np.ndarray, b: int, field: int) -> np.ndarray:
    assert ROWS.factors_NC is not None
    total = np.zeros(weight.shape[1])
    for column, of in enumerate(FIELD_OF_COLUMN):
        if of == field:
            total += float(ROWS.factors_NC[b, column]) * weight[int(ROWS.ids_NC[b, column])]
    return total


def memorized(layer: CrossEmbedding, b: int, pair: tuple[str, ...]) -> np.ndarray:
    """The vector of a pair's value: that of its key, or that of unseen values."""
    i, j = SCHEMA.indices(pair)
    local = [int(ROWS.ids_NC[b, FIELD_OF_COLUMN.index(f)]) - SCHEMA.offsets[f] for f in (i, j)]
    key, number = local[0] * SCHEMA.fields[j].size + local[1], layer.pairs.index(pair)
    stored = layer.keys.key_K[:-1].tolist()
    known = key in KEYS[pair].key_K.tolist()
    row = len(layer.pairs) + stored.index(key + layer.bases[number]) if known else number
    return layer.weight[row].detach().numpy()


def perceptron(state: dict[str, np.ndarray], x: np.ndarray) -> float:
    """Linear, layer norm with scale and shift, ReLU, twice; then linear."""
    for linear, norm in ((0, 1), (3, 4)):
        x = state[f"mlp.layers.{linear}.weight"] @ x + state[f"mlp.layers.{linear}.bias"]
        x = (x - x.mean()) / np.sqrt(x.var() + 1e-5)
        x = np.maximum(x * state[f"mlp.layers.{norm}.weight"] + state[f"mlp.layers.{norm}.bias"], 0)
    return float((state["mlp.layers.6.weight"] @ x + state["mlp.layers.6.bias"])[0])


@pytest.mark.parametrize("name", CHOICES)
def test_optinter_follows_its_equation(name: str) -> None:
    choice = CHOICES[name]
    model = filled("optinter", chosen(choice), HYPER)
    state = {key: tensor.numpy() for key, tensor in model.state_dict().items()}
    assert ROWS.factors_NC is not None
    logits = model(ROWS.ids_NC, ROWS.factors_NC.double())
    assert logits.shape == (11,)
    for b in range(11):
        x = [embedded(state["embedding.weight"], b, f) for f in range(4)]
        x += [memorized(model.memorized, b, pair) for pair in chosen(choice).of_order(2, "memorize")]
        for i, j in chosen(choice).indices(SCHEMA, 2, "hadamard"):
            table = state["factorized.table.weight"]
            x.append(embedded(table, b, i) * embedded(table, b, j))
        assert logits[b].item() == pytest.approx(perceptron(state, np.concatenate(x)), abs=1e-10)
    assert ("factorized.table.weight" in state) == ("hadamard" in choice.values())


def test_poly2_follows_its_equation() -> None:
    model = filled("poly2", Architecture.complete(SCHEMA.names), MemorizingSettings(embedding_std=0.5))
    layer = model.crosses
    assert layer.pairs == (("a", "c"), ("a", "d"), ("c", "d"))
    assert ROWS.factors_NC is not None
    logits = model(ROWS.ids_NC, ROWS.factors_NC.double())
    weight = model.linear.weights.weight.detach().numpy()
    for b in range(11):
        expected = model.bias.item() + sum(embedded(weight, b, f)[0] for f in range(4))
        expected += sum(memorized(layer, b, pair)[0] for pair in layer.pairs)
        assert logits[b].item() == pytest.approx(expected, abs=1e-10)


def test_poly2_is_initially_a_linear_model() -> None:
    model = build("poly2", Architecture.complete(SCHEMA.names), SCHEMA, MemorizingSettings())
    assert not model.crosses.weight.any()


@pytest.mark.parametrize("name", ["poly2", "optinter"])
def test_data_without_cross_features_is_refused(name: str) -> None:
    bare = SCHEMA.model_copy(update={"crosses": ()})
    hyper = HYPER if name == "optinter" else MemorizingSettings()
    with pytest.raises(SchemaMismatchError, match=r"no cross features of a and c.*set vocabulary\.crosses"):
        build(name, chosen(CHOICES["mixed"]), bare, hyper)  # type: ignore[arg-type]


def test_two_norms_are_refused() -> None:
    with pytest.raises(ConfigError, match="exclude each other"):
        OptInterSettings.parse({"batch_norm": True}, "models.optinter")
    with pytest.raises(ConfigError, match="exclude each other"):
        ModelsConfig.parse({"default": {"layer_norm": True}, "ipnn": {"batch_norm": True}})
    OptInterSettings.parse({"batch_norm": True, "layer_norm": False}, "models.optinter")


def test_cross_table_has_its_own_l2_and_learning_rate() -> None:
    settings = HYPER.model_copy(update={"cross_l2": 0.5, "cross_learning_rate": 1e-5, "epochs": 1})
    model = filled("optinter", chosen(CHOICES["mixed"]), settings).float()
    table = model.memorized.weight
    before = table.detach().clone()
    fit(model, ROWS, ROWS, settings, 0, "test")
    assert 0 < (table.detach() - before).abs().max() < 2e-5
    assert model.memorized.l2 == 0.5


@pytest.fixture(scope="module")
def clicks(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Clicks that depend on one joint value of two fields."""
    folder = tmp_path_factory.mktemp("clicks")
    rng = np.random.default_rng(0)
    columns = {name: [f"{name}{v}" for v in rng.integers(0, 8, 3000)] for name in ("x", "y", "z")}
    coin = {(f"x{i}", f"y{j}"): rng.integers(2) for i in range(8) for j in range(8)}
    noise = rng.random(3000) < 0.1
    label = [int(coin[x, y] ^ flip) for x, y, flip in zip(columns["x"], columns["y"], noise, strict=True)]
    pyarrow.csv.write_csv(pa.table({"click": label, **columns}), folder / "clicks.csv")
    data = {
        "files": str(folder / "clicks.csv"),
        "columns": {"click": "label", **dict.fromkeys("xyz", "categorical")},
    }
    ingested = ingest(DataConfig.parse(data, "test"), folder)
    config = VocabularyConfig.parse({"crosses": {"min_count": 2}}, "vocabulary")
    return Dataset.open(build_vocabulary(ingested, config, folder))


@pytest.mark.parametrize("name", ["poly2", "optinter"])
def test_bundle_scores_raw_rows_like_the_trained_model(clicks: Dataset, name: str, tmp_path: Path) -> None:
    found = Architecture.complete(clicks.schema.names, functions=("memorize",))
    common = {"epochs": 6, "batch_size": 100, "learning_rate": 0.02, "hidden": (8,)}
    if name == "poly2":
        common["cross_learning_rate"] = 0.1
    plan = Plan(name, name, "retrained", name, (found,))  # type: ignore[arg-type]
    train_runs(clicks, [plan], ModelsConfig({name: common}), [0], tmp_path / "runs")
    run = open_runs(tmp_path / "runs")[0]
    assert run.record.seeds[0].history.best_epoch.valid_auc > 0.85
    run.export(clicks, tmp_path / "bundle")
    assert not (tmp_path / "bundle" / "crosses").exists()
    raw = tmp_path / "raw.csv"
    raw.write_text("x,y,z\nx1,y2,z3\nx7,y7,z7\nnew,y1,z1\n,y2,z1\n")
    predict(tmp_path / "bundle", [str(raw)], tmp_path / "out.parquet")
    model = next(run.trained(clicks)).model
    table = read_rows(clicks.schema.source, resolve([str(raw)]), with_label=False)
    rows = to_batch(clicks.schema, clicks.encoder().encode(next(iter(table)).table))
    expected = 1 / (1 + np.exp(-score(model, rows).astype(np.float64)))
    predicted = pq.read_table(tmp_path / "out.parquet")["probability"].to_numpy()
    np.testing.assert_allclose(predicted, expected, rtol=0, atol=1e-6)
