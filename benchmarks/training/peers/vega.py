"""Worker process for Vega's AutoGate step: `python vega.py '<case>' <its repository>`; see worker.py.

Its layers and its gRDA, put together as its `AutoGateModel` does: linear part, gated FM, perceptron with
layer norm; Adam for the weights. Only the two files with
them are loaded: the package has dependencies on cluster tools.
"""

import importlib.util
import json
import sys
import warnings
from pathlib import Path

case, clone = json.loads(sys.argv[1]), Path(sys.argv[2])
sys.path.insert(0, str(Path(__file__).parent.parent))

import numpy as np  # noqa: E402
import torch  # noqa: E402
from worker import serve  # noqa: E402

warnings.simplefilter("ignore")
torch.set_num_threads(case["threads"])


def load(name: str, path: str) -> object:
    """One file of the repository as a module."""
    spec = importlib.util.spec_from_file_location(name, clone / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


layers = load("layers", "vega/networks/pytorch/customs/fis/layers.py")
grda = load("grda", "vega/algorithms/nas/fis/grda.py")


class AutoGate(torch.nn.Module):
    """As its `DeepFactorizationMachineModel` with the gated FM in place of FM."""

    def __init__(self, ids: int, fields: int, size: int, hidden: list[int]) -> None:
        super().__init__()
        self.linear = layers.LinearLayer(ids)
        self.embedding = layers.EmbeddingLayer(ids, size)
        self.fm = layers.NormalizedWeightedFMLayer(fields)
        self.mlp = layers.MultiLayerPerceptron(fields * size, hidden, 0.0, layer_norm=True)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Logits."""
        emb = self.embedding(ids)
        score = self.linear(ids) + self.fm(emb) + self.mlp(emb.view(len(emb), -1))
        return score.squeeze(1)


data = np.load(case["data"])
starts = np.concatenate([[0], np.cumsum(case["sizes"])[:-1]])
ids, label = torch.from_numpy(data["ids"] + starts), torch.from_numpy(data["label"])
model = AutoGate(sum(case["sizes"]), len(case["sizes"]), case["embedding"], case["hidden"])
gate = model.fm._alpha
weights = torch.optim.Adam([p for p in model.parameters() if p is not gate], lr=1e-3)
gates = grda.gRDA([gate], lr=1.0, c=5e-4, mu=0.8)
loss = torch.nn.BCEWithLogitsLoss()


def loop() -> None:
    """Steps over prepared batches, without its loader."""
    for batch, target in zip(ids.split(case["batch"]), label.split(case["batch"]), strict=True):
        weights.zero_grad()
        gates.zero_grad()
        loss(model(batch), target).backward()
        weights.step()
        gates.step()


serve({"loop": len(ids)}, {"loop": loop}, parameters=sum(p.numel() for p in model.parameters()))
