"""Worker process for OptInter's published search step: `python optinter.py '<case>' <its repository>`.

Its model class and the optimizers of its `CriteoSearch.py`, over random batches with the ids of crosses
given: its script reads TFRecords of the full data. See worker.py.
"""

import importlib.util
import json
import sys
from itertools import combinations
from pathlib import Path

case, clone = json.loads(sys.argv[1]), Path(sys.argv[2])
sys.path.insert(0, str(Path(__file__).parent.parent))

import numpy as np  # noqa: E402
import torch  # noqa: E402
from worker import serve  # noqa: E402

torch.set_num_threads(case["threads"])
spec = importlib.util.spec_from_file_location("search", clone / "learn/model/model_search.py")
search = importlib.util.module_from_spec(spec)
spec.loader.exec_module(search)

NUMBERS, TOKENS, IDS = 13, 26, 514_758 + 13 + 26 + 1
pairs, rng = list(combinations(range(TOKENS), 2)), np.random.default_rng(0)
model = search.DNN_cart_search(
    NUMBERS, TOKENS, len(pairs), IDS, case["ids"] + len(pairs) + 1, torch.nn.BCELoss(), pairs,
    orig_embedding_dim=case["embedding"], comb_embedding_dim=10, hidden_dims=case["hidden"],
)  # fmt: skip
decayed = [*model.comb_embeddings_table.parameters(), *model.addition_embedding_table.parameters()]
others = [
    *model.orig_embeddings_table.parameters(), *model.fc_layers.parameters(), *model.output_layer.parameters()
]  # fmt: skip
optimizer = torch.optim.Adam(
    [{"params": others, "lr": 1e-4}, {"params": decayed, "lr": 1e-4, "weight_decay": 3e-8}]
)
gates = torch.optim.Adam([model.arch_parameters], lr=1e-3)
batch, steps = case["batch"], case["rows"] // case["batch"]


def log_uniform(sizes: np.ndarray) -> torch.Tensor:
    """Ids of one batch."""
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    drawn = np.exp(rng.random((batch, len(sizes))) * np.log(sizes + 1)).astype(np.int64) - 1
    return torch.from_numpy(np.clip(drawn, 0, sizes - 1) + starts)


tokens = np.maximum(
    3, np.geomspace(4, 100_000, TOKENS) * (IDS - 60) / np.geomspace(4, 100_000, TOKENS).sum()
).astype(int)
crosses = np.full(len(pairs), case["ids"] // len(pairs))
batches = [
    (
        torch.rand(batch, NUMBERS),
        log_uniform(tokens),
        log_uniform(crosses),
        (torch.rand(batch, 1) < 0.25).float(),
    )
    for _ in range(steps)
]


def loop() -> None:
    """Steps over prepared batches."""
    for *features, target in batches:
        optimizer.zero_grad()
        gates.zero_grad()
        model._loss(features, target).backward()
        optimizer.step()
        gates.step()


serve({"loop": steps * batch}, {"loop": loop}, parameters=sum(p.numel() for p in model.parameters()))
