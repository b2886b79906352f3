"""Worker process for DeepCTR-Torch's DeepFM: `python deepctr.py '<case>'`; see worker.py."""

import json
import sys
from pathlib import Path

case = json.loads(sys.argv[1])
sys.path.insert(0, str(Path(__file__).parent.parent))

import numpy as np  # noqa: E402
import torch  # noqa: E402
from deepctr_torch.inputs import SparseFeat  # noqa: E402
from deepctr_torch.models import DeepFM  # noqa: E402
from worker import serve  # noqa: E402

torch.set_num_threads(case["threads"])
data = np.load(case["data"])
columns = [
    SparseFeat(f"f{i}", vocabulary_size=size, embedding_dim=case["embedding"])
    for i, size in enumerate(case["sizes"])
]
model = DeepFM(
    columns,
    columns,
    dnn_hidden_units=tuple(case["hidden"]),
    l2_reg_linear=0,
    l2_reg_embedding=0,
    device="cpu",
)
model.compile(torch.optim.Adam(model.parameters(), lr=1e-3), "binary_crossentropy", metrics=[])
inputs = {f"f{i}": data["ids"][:, i] for i in range(len(case["sizes"]))}


def loop() -> None:
    """Its own training loop, one epoch."""
    model.fit(inputs, data["label"], batch_size=case["batch"], epochs=1, verbose=0, shuffle=True)


serve({"loop": len(data["label"])}, {"loop": loop}, parameters=sum(p.numel() for p in model.parameters()))
