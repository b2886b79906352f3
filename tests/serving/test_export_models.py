"""Every model of the zoo is exported with any number of rows, and keeps its scores."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from scipy.special import expit

from benchmarks.zoo import Specimen, schema_and_keys, specimens
from ctrloom.config import METHODS, MODELS
from ctrloom.models.bundle import Bundle
from ctrloom.models.trees import GBDT
from ctrloom.nn.compressed_tables import Int8Table
from ctrloom.nn.cross_features import KeyTable
from ctrloom.serving.export.check import Written, write_checked
from ctrloom.serving.export.formats import Format
from ctrloom.serving.export.program import inputs
from ctrloom.serving.export.rows import batches, random_rows
from ctrloom.training.loop import score

ZOO = specimens()
SCHEMA, KEYS = schema_and_keys()
ROWS = random_rows(SCHEMA)


def bundle_of(specimen: Specimen) -> Bundle:
    card: Any = None
    return Bundle(card, specimen.architecture, SCHEMA, specimen.build(SCHEMA, KEYS))


def written(title: str, format: Format, folder: Path) -> Written:
    return write_checked(bundle_of(ZOO[title]), format, None, ROWS, folder, title)


def test_the_zoo_has_every_model_and_the_architectures_of_every_method() -> None:
    assert {specimen.name for specimen in ZOO.values()} == set(MODELS)
    methods = {specimen.architecture.method for specimen in ZOO.values()}
    assert set(METHODS) - methods == {  # find inner products of selected fields, as "some pairs" does
        "autofis",
        "residual",
        "random",
        "statistics_auc",
        "mutual_information",
    }


def _fast(titles: Iterable[str]) -> list[Any]:
    return [title if title in titles else pytest.param(title, marks=pytest.mark.slow) for title in ZOO]


FAST_TORCH = [  # every model, and some of those whose interactions have functions
    title for title in ZOO if "functions" not in title or title.startswith(("aim", "deepfm", "fwfm"))
]


@pytest.mark.parametrize("title", _fast(FAST_TORCH))
def test_torch_program_scores_as_the_bundle(title: str, tmp_path: Path) -> None:
    expected = score(bundle_of(ZOO[title]).model, ROWS).astype(float) + np.log(0.5)
    made = written(title, "torch", tmp_path)
    module = torch.export.load(tmp_path / "model.pt2").module()
    logit, probability = module(*inputs(ROWS))  # all at once: another size than those that were checked
    np.testing.assert_allclose(logit.numpy(), expected, rtol=0, atol=2e-5)
    np.testing.assert_allclose(probability.numpy(), expit(expected), rtol=0, atol=1e-5)
    assert np.ptp(expected) > 0.05, "scores differ between rows"
    assert made.parity.probability < 1e-5


FAST_ONNX = {  # the others are slow; a runtime is as exact for all of a family
    "poly2, some crosses",
    "fm, third order",
    "ffm, some pairs",
    "afn",
    "gbdt",
    "aim, short tables",
    "optinter, both",
}


@pytest.mark.parametrize("title", _fast(FAST_ONNX))
def test_onnx_model_scores_as_the_bundle(title: str, tmp_path: Path) -> None:
    made = written(title, "onnx", tmp_path)
    assert made.parity.probability < 1e-5
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    given = dict(zip(("ids", "factors"), (each.numpy() for each in inputs(ROWS)), strict=True))
    (logit,) = session.run(["logit"], given)
    np.testing.assert_allclose(logit, made.bundle_N, rtol=0, atol=2e-5)


@pytest.mark.slow  # half a minute of compilation for each
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # of torch's own modules
@pytest.mark.parametrize("title", ZOO)
def test_compiled_program_scores_as_the_bundle(title: str, tmp_path: Path) -> None:
    made = written(title, "torch", tmp_path)
    program = torch.export.load(tmp_path / "model.pt2")
    package = torch._inductor.aoti_compile_and_package(program, package_path=str(tmp_path / "compiled.pt2"))
    compiled = torch._inductor.aoti_load_package(package)
    for batch in batches(ROWS):
        logit, _ = compiled(*inputs(batch))
        place = next(n for n in range(len(ROWS)) if torch.equal(ROWS.ids_NC[n], batch.ids_NC[0]))
        expected = made.bundle_N[place : place + len(batch)]
        np.testing.assert_allclose(logit.numpy(), expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("tables", ["int8", "bf16"])
@pytest.mark.parametrize("title", ["fm, third order", "aim, short tables", "optinter, both"])
def test_compressed_tables_are_near_and_small(title: str, tables: Any, tmp_path: Path) -> None:
    made = write_checked(bundle_of(ZOO[title]), "torch", tables, ROWS, tmp_path, title)
    assert made.parity.probability < 1e-5
    assert 1e-4 < np.abs(made.exported_N - made.bundle_N).max() < 0.1
    program = torch.export.load(tmp_path / "model.pt2")
    kept = {name: tensor for name, tensor in program.state_dict.items() if tensor.numel() > 200}
    wide = [name for name, tensor in kept.items() if tensor.dim() > 1 and tensor.dtype == torch.float32]
    assert not [
        name for name in wide if name.endswith("weight") and kept[name].shape[-1] > 1 and "mlp" not in name
    ]


def test_int8_rows_are_within_half_a_step() -> None:
    weight = (
        torch.randn(30, 5, generator=torch.Generator().manual_seed(0)) * torch.logspace(-6, 3, 30)[:, None]
    )
    weight[7] = 0
    row = torch.tensor([[3, 7], [29, 0]])
    found = Int8Table(weight)(row, row)
    assert found.shape == (2, 2, 5)
    for place in ((0, 0), (0, 1), (1, 0), (1, 1)):
        own = weight[row[place]]
        step = float(own.abs().max()) / 127
        assert float((found[place] - own).abs().max()) <= step * 0.5001
    flat = Int8Table(weight.flatten(), torch.arange(30).repeat_interleave(5), 30)
    torch.testing.assert_close(
        flat(torch.arange(150), torch.arange(30).repeat_interleave(5)),
        Int8Table(weight)(torch.arange(30), torch.arange(30)).flatten(),
        rtol=0,
        atol=0,
    )


@pytest.mark.parametrize("text", ["categorical and numeric", "stumps"])
def test_tree_tensors_find_lightgbms_leaves(text: str) -> None:
    specimen = ZOO["gbdt"]
    settings = {"trees": 60, "leaves": 40 if text == "categorical and numeric" else 2}
    model = Specimen("gbdt", "gbdt", specimen.architecture, settings).build(SCHEMA, KEYS)
    assert isinstance(model, GBDT)
    rows = random_rows(SCHEMA, 3000, seed=5)
    expected = model.leaves(*inputs(rows))
    told = re.findall(r"^decision_type=(.*)$", bytes(model.text.numpy()).decode(), re.M)
    kinds = {int(kind) for tree in told for kind in tree.split()}
    model.without_lightgbm()
    assert torch.equal(model.leaves(*inputs(rows)), expected.long())
    assert text == "stumps" or {1, 8, 10} <= kinds, "splits on categories; missing numbers to either side"


def test_probing_a_fixed_number_of_times_finds_what_the_loop_finds() -> None:
    table, rng = KeyTable(5000), np.random.default_rng(0)
    keys = np.unique(rng.integers(2**62, size=6000))[:5000]
    table.fill(torch.from_numpy(rng.permutation(keys)))
    given = torch.from_numpy(np.concatenate([keys, keys + 1, rng.integers(2**62, size=5000)]))
    table.check()
    probed = table._probed(given, table.start_X.index_select(0, table._bucket(given)))
    assert torch.equal(probed, table(given).to(probed.dtype))
    assert (probed[:5000] >= 0).all()
    assert table.longest > 2
