"""Models with crosses of rare values score the same in a program, from a file, and as an export."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from encoder_reader import Reader
from predictor_bundles import command, written

import ctrloom
from ctrloom.architecture import Architecture
from ctrloom.config import DataConfig, ModelName, ModelsConfig, VocabularyConfig
from ctrloom.data.dataset import Dataset
from ctrloom.data.ingest.run import ingest
from ctrloom.data.vocabulary.build import build_vocabulary
from ctrloom.models import build
from ctrloom.models.bundle import Bundle, ModelCard, save_bundle
from ctrloom.nn.cross_features import fill_crosses
from ctrloom.serving import predictor as predictors

COLUMNS = {"click": "label", "user": "categorical", "item": "categorical", "age": "numeric"}
SETTINGS: dict[str, Any] = {"embedding_size": 3, "cross_hiding": 0.0, "embedding_std": 0.5}


def raw_rows(count: int, seed: int) -> list[dict[str, str]]:
    rng = np.random.default_rng(seed)
    return [
        {
            "click": str(n % 2),
            "user": f"u{rng.zipf(1.4) % 50}",
            "item": f"i{rng.zipf(1.4) % 50}",
            "age": str(rng.integers(99)),
        }
        for n in range(count)
    ]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("tokens")
    (folder / "train.csv").write_text(written(raw_rows(800, 0), [*COLUMNS]))
    data = DataConfig.parse({"files": str(folder / "train.csv"), "columns": COLUMNS}, "test")
    crosses = {"min_count": 1, "counted": "tokens"}
    vocabulary = VocabularyConfig.parse({"min_count": 20, "crosses": crosses}, "test")
    made = Dataset.open(build_vocabulary(ingest(data, folder / "store"), vocabulary, folder / "store"))
    assert all(field.rare for field in made.schema.fields[:2])
    return made


def bundle_of(dataset: Dataset, name: ModelName, folder: Path) -> Path:
    settings = {
        key: value for key, value in SETTINGS.items() if name == "optinter" or key != "embedding_size"
    }
    hyper = ModelsConfig.parse({name: settings}).of(name)
    architecture = Architecture.complete(dataset.schema.names)
    if name == "optinter":
        functions = ("memorize", "hadamard", "memorize")
        pairs = zip(architecture.interactions, functions, strict=True)
        kept = tuple(pair.model_copy(update={"function": function}) for pair, function in pairs)
        architecture = architecture.model_copy(update={"interactions": kept})
    card = ModelCard.model_validate(
        {
            "title": name,
            "model": name,
            "hyperparameters": hyper.model_dump(),
            "seed": 1,
            "data_fingerprint": dataset.data_fingerprint,
            "schema_fingerprint": dataset.schema.fingerprint,
            "architecture_fingerprint": architecture.fingerprint,
            "code_version": "test",
        }
    )
    torch.manual_seed(1)
    model = build(name, architecture, dataset.schema, card.hyperparameters)
    fill_crosses(model, dataset.crosses())
    save_bundle(Bundle(card, architecture, dataset.schema, model), dataset.directory, folder / "bundle")
    return folder / "bundle"


@pytest.mark.parametrize("name", ["poly2", "optinter"])
def test_every_way_to_score_agrees(
    dataset: Dataset, name: ModelName, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = bundle_of(dataset, name, tmp_path)
    rows = [{k: v for k, v in row.items() if k != "click"} for row in raw_rows(300, 7)]
    rows.append({"user": "stranger", "item": "", "age": ""})
    (tmp_path / "rows.csv").write_text(written(rows, [*rows[0]]))
    expected, _ = command(bundle, tmp_path / "rows.csv")
    predictor = ctrloom.load_bundle(bundle)
    assert predictor.row_encoder.encode(rows) is not None
    assert predictor.predict(rows).tobytes() == expected.tobytes()
    monkeypatch.setattr(predictors, "FEW", -1)
    assert predictor.predict(rows).tobytes() == expected.tobytes()

    ctrloom.export(bundle, tmp_path / "out", "torch")
    program = torch.export.load(tmp_path / "out" / "model.pt2").module()
    ids = [Reader(tmp_path / "out").encode(row)[0] for row in rows]
    _, probability = program(torch.tensor(ids, dtype=torch.int32))
    np.testing.assert_allclose(probability.detach().numpy(), expected, rtol=0, atol=1e-6)

    rare = dataset.schema.fields[0].size
    found = [row for row, own in zip(rows, ids, strict=True) if rare <= own[0] < dataset.schema.fields[0].ids]
    assert len({predictor.predict([{**row, "item": "i1", "age": "7"}])[0] for row in found}) > 3
