"""Scoring with selected pairs and with all: FM, and NFM's pooling.

    python benchmarks/selected_pairs.py [--threads 1] [--turns 9]

39 fields, embedding size 20; a quarter and a tenth of the 741 pairs drawn at random, and those of two fields
with all others, which are a tenth, too. FM is also scored by the values of its pairs, as it is trained.
Initial weights; variants are interleaved, and figures are the shortest of all turns, in microseconds.
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

from ctrloom.architecture import Architecture
from ctrloom.config import MODELS, ModelsConfig
from ctrloom.models import build
from ctrloom.models.shallow import FM
from ctrloom.schema import Schema

ROWS = (1, 100, 1_000, 4_096)
REPEATS = {1: 20, 100: 5, 1_000: 1, 4_096: 1}


class ByValues(FM):
    """FM that sums the values of its pairs, as in training."""

    def interact(self, emb_BFD: Tensor, ids_BC: Tensor, factors_BC: Tensor | None) -> Tensor:
        """The sum of the values."""
        return self.interactions(emb_BFD, ids_BC, factors_BC)["2"].sum(1)


def of_two_fields(schema: Schema) -> Architecture:
    """All pairs that have the first or the second field."""
    every = Architecture.complete(schema.names)
    kept = tuple(i for i in every.interactions if {*i.fields} & {*schema.names[:2]})
    return every.model_copy(update={"interactions": kept})


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
    selections = {"all": selection(schema, 1.0)}
    selections.update({f"{share:.0%}": selection(schema, share) for share in (0.25, 0.1)})
    selections["two fields"] = of_two_fields(schema)
    models: dict[str, Any] = {}
    for kind in ("fm", "nfm"):
        hyper = ModelsConfig({kind: {**PLAIN, "embedding_size": 20, "hidden": []}}).of(kind)
        for name, chosen in selections.items():
            models[f"{MODELS[kind].title}, {name}"] = build(kind, chosen, schema, hyper).eval()
            if kind == "fm" and name != "all":
                models[f"FM by values, {name}"] = ByValues(chosen, schema, hyper).eval()
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
    lines = [f"| | {' | '.join(f'{count:,}' for count in ROWS)} |", "|---|" + "--:|" * len(ROWS)]
    for name in models:
        shortest = [min(found[count, name]) for count in ROWS]
        lines.append(f"| {name} | " + " | ".join(f"{each:,.0f}" for each in shortest) + " |")
    today = datetime.date.today()
    text = f"""# Scoring with selected pairs

`python benchmarks/selected_pairs.py --threads {arguments.threads} --turns {arguments.turns}`, {today}. \
{describe("torch")}.

Microseconds of a batch by its rows, with embeddings and linear part, the shortest of {arguments.turns} \
interleaved turns, as the machine was shared; 39 fields, embedding size 20. NFM has no hidden layer, so that \
its pooling is seen.

All 741 pairs cost 2 F = 78 vector operations a row, whatever their number (Rendle 2010, Lemma 3.1). \
Selected pairs cost one each, and one for each of the C fields that cover them: of random ones 74 + 20 for a \
tenth, 185 + 29 for a quarter. So a random selection of more than a tenth has more to compute than all pairs \
together. The fewer fields cover what a search keeps, the fewer operations it takes: see `two fields`.

"""
    path = arguments.output / f"selected-pairs-{today}.md"
    path.write_text(text + "\n".join(lines) + "\n")
    print("\n".join(lines), path, sep="\n")


if __name__ == "__main__":
    main()
