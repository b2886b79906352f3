"""Worker process for a case of FuxiCTR: `python fuxictr.py '<case>' <its repository>`; see worker.py.

The repository's model zoo; the package of that name on PyPI is another code base.
"""

import json
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
ZOO = {"fm": "FM", "deepfm": "DeepFM/DeepFM_torch", "ipnn": "PNN", "autoint": "AutoInt"}
CLASSES = {"fm": "FM", "deepfm": "DeepFM", "ipnn": "PNN", "autoint": "AutoInt"}
case, clone = json.loads(sys.argv[1]), Path(sys.argv[2])
folder = clone / "model_zoo" / ZOO[case["model"]]
sys.path[:0] = [str(HERE.parent), str(folder), str(clone)]

import numpy as np  # noqa: E402
import torch  # noqa: E402
from fuxictr.features import FeatureMap  # noqa: E402
from fuxictr.pytorch.dataloaders import RankDataLoader  # noqa: E402
from worker import serve  # noqa: E402

import src  # noqa: E402  # the model's

torch.set_num_threads(case["threads"])
sizes, home = case["sizes"], Path(tempfile.mkdtemp())
names = [f"f{i}" for i in range(len(sizes))]
parameters = dict(
    embedding_dim=case["embedding"], batch_size=case["batch"], hidden_units=case["hidden"],
    learning_rate=1e-3, optimizer="adam", loss="binary_crossentropy", task="binary_classification",
    metrics=["AUC"], monitor="AUC",
    monitor_mode="max", early_stop_patience=2, gpu=-1, verbose=0, seed=1, model_root=str(home), model_id="x",
    dataset_id="x", hidden_activations="relu", net_dropout=0, batch_norm=False, product_type="inner",
)  # fmt: skip
if case["model"] == "fm":
    parameters["regularizer"] = 0
else:
    parameters.update(embedding_regularizer=0, net_regularizer=0)
if case["model"] == "autoint":
    parameters.update(
        attention_layers=6, num_heads=4, attention_dim=128, use_residual=True, use_scale=False,
        layer_norm=False, use_wide=False, dnn_hidden_units=[], dnn_activations="relu",
    )  # fmt: skip
column = dict(source="", type="categorical", padding_idx=0)
specification = dict(
    dataset_id="x", num_fields=len(sizes), total_features=sum(sizes), input_length=len(sizes),
    labels=["label"],
    features=[{name: column | {"vocab_size": size}} for name, size in zip(names, sizes, strict=True)],
)  # fmt: skip
(home / "map.json").write_text(json.dumps(specification))
features = FeatureMap("x", str(home))
features.load(str(home / "map.json"), parameters)
model = getattr(src, CLASSES[case["model"]])(features, **parameters)
model._max_gradient_norm = 10.0

tokens = np.load(case["data"])
columns = {name: tokens["ids"][:, i] for i, name in enumerate(names)}
np.savez(home / "train.npz", **columns, label=tokens["label"])
loader, _ = RankDataLoader(
    features,
    stage="train",
    train_data=str(home / "train.npz"),
    batch_size=case["batch"],
    shuffle=True,
    num_workers=0,
).make_iterator()
batch, count = case["batch"], min(case["steps"], len(tokens["label"]) // case["batch"])
batches = [
    {name: torch.from_numpy(column[i * batch : (i + 1) * batch]) for name, column in columns.items()}
    | {"label": torch.from_numpy(tokens["label"][i * batch : (i + 1) * batch])}
    for i in range(count)
]


def step() -> None:
    """Steps on prepared batches."""
    model.train()
    for each in batches:
        model.train_step(each)


def loop() -> None:
    """A pass as in its `train_epoch`, without validation."""
    model.train()
    total = 0.0
    for each in loader:
        total += model.train_step(each).item()


def forward() -> None:
    """Scores of prepared batches."""
    model.eval()
    with torch.no_grad():
        for each in batches:
            model.forward(each)


rows = {"step": count * batch, "loop": len(tokens["label"]), "forward": count * batch}
serve(
    rows,
    {"step": step, "loop": loop, "forward": forward},
    parameters=sum(p.numel() for p in model.parameters()),
)
