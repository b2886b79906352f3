"""FM over selected pairs: scoring by one matrix product or by the values of pairs, and FM over all pairs.

    python benchmarks/selected_pairs.py [--threads 1] [--turns 9]

39 fields, embedding size 20, and a quarter and a tenth of the 741 pairs, drawn at random. Initial weights;
variants are interleaved, and figures are the shortest of all turns, in microseconds.
"""

import argparse
import datetime
import time
from pathlib import Path
from typing import Any

import fast  # noqa: F401
import torch
from inference import selection
from machine import describe
from plain import PLAIN
from torch import Tensor
from training.shapes import encoded, sizes_of

from ctrloom.config import ModelsConfig
from ctrloom.models import build
from ctrloom.models.shallow import FM

ROWS = (1, 100, 1_000)
REPEATS = {1: 20, 100: 5, 1_000: 1}


class ByValues(FM):
    """FM that sums the values of its pairs, as training does."""

    def interact(self, emb_BFD: Tensor, ids_BC: Tensor, factors_BC: Tensor | None) -> Tensor:
        """The sum of the values."""
        return self.interactions(emb_BFD, ids_BC, factors_BC)["2"].sum(1)


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    schema, rows = encoded(sizes_of("criteo", 100_000), max(ROWS))
    hyper = ModelsConfig({"fm": {**PLAIN, "embedding_size": 20}}).of("fm")
    models: dict[str, Any] = {"all pairs": build("fm", selection(schema, 1.0), schema, hyper).eval()}
    for share in (0.25, 0.1):
        chosen = selection(schema, share)
        models[f"{share:.0%}, product"] = build("fm", chosen, schema, hyper).eval()
        models[f"{share:.0%}, values"] = ByValues(chosen, schema, hyper).eval()
    found: dict[tuple[int, str], list[float]] = {}
    for turn in range(arguments.turns + 1):
        for count in ROWS:
            batch = next(rows.batches(count))
            for name, model in models.items():
                began = time.perf_counter()
                for _ in range(REPEATS[count]):
                    model(batch.ids_NC, batch.factors_NC)
                if turn:  # the first turn allocates
                    taken = (time.perf_counter() - began) / REPEATS[count] * 1e6
                    found.setdefault((count, name), []).append(taken)
    lines = [f"| rows | {' | '.join(models)} |", "|--:|" + "--:|" * len(models)]
    for count in ROWS:
        shortest = [min(found[count, name]) for name in models]
        lines.append(f"| {count:,} | " + " | ".join(f"{each:,.0f}" for each in shortest) + " |")
    today = datetime.date.today()
    text = f"""# FM over selected pairs

`python benchmarks/selected_pairs.py --threads {arguments.threads} --turns {arguments.turns}`, {today}. \
{describe("torch")}.

Microseconds of a batch, with embeddings and linear part, the shortest of {arguments.turns} interleaved \
turns, as the machine was shared; 39 fields, embedding size 20. `product` is how FM scores; `values` takes \
the value of every pair, as FM did before and as training does. A random selection is the worst case for \
`product`: the fewer fields cover all pairs, the less it computes.

"""
    path = arguments.output / f"selected-pairs-{today}.md"
    path.write_text(text + "\n".join(lines) + "\n")
    print("\n".join(lines), path, sep="\n")


if __name__ == "__main__":
    main()
