"""Time to score a request in a program, by model and number of rows, and its parts.

    python benchmarks/predictor.py [--threads 1]

Requests are lists of mappings of 39 fields, as JSON has them. `Arrow` is the way of files: casts and
vocabularies of whole columns; `Python` is that of few rows (`data.vocabulary.row_encoder`). Both give the
same bits. Ways are interleaved; the figures are medians over the requests.
"""

import argparse
import datetime
import os
import time
from collections.abc import Callable
from pathlib import Path

import criteo_bundle
import fast  # noqa: F401
import numpy as np
import torch
from machine import describe

from ctrloom.data.batches.batch import Batch
from ctrloom.data.batches.tensors import to_batch
from ctrloom.data.ingest.cast import typed, typed_schema
from ctrloom.data.sources.memory import read_memory
from ctrloom.serving.predictor import Predictor
from ctrloom.serving.scoring import logits_of
from ctrloom.training.loop import score

SIZES = {1: 200, 100: 20, 1000: 5}  # rows of a request, and requests
WARM = 3
WAYS = "arrow", "python", "loop", "direct", "predict"


def by_arrow(predictor: Predictor, request: list[criteo_bundle.Row]) -> Batch:
    """Encode a request as the rows of files are."""
    source = predictor.schema.source
    batch = typed(read_memory(request, source), source, typed_schema(source, with_label=False))
    return to_batch(predictor.schema, predictor.encoder.encode(batch.dictionary_rows)).widened()


def microseconds(work: Callable[..., object], *arguments: object) -> float:
    """Wall time of a call."""
    began = time.perf_counter()
    work(*arguments)
    return (time.perf_counter() - began) * 1e6


def measured(predictor: Predictor, size: int, requests: int) -> dict[str, np.ndarray]:
    """Microseconds of each request, by way."""
    different = min(requests, 20)
    every = criteo_bundle.rows(size * different)
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    for turn in range(-WARM, requests):
        start = turn % different * size
        request = every[start : start + size]
        rows = by_arrow(predictor, request)
        quick = predictor.row_encoder.encode(request)
        assert quick is not None
        assert np.array_equal(quick.ids_NC, rows.ids_NC.numpy())
        ids_NC = torch.from_numpy(quick.ids_NC)
        assert np.array_equal(
            score(predictor.model, rows), logits_of(predictor, ids_NC, None).astype(np.float32)
        )
        times = (
            microseconds(by_arrow, predictor, request),
            microseconds(predictor.row_encoder.encode, request),
            microseconds(score, predictor.model, rows),
            microseconds(logits_of, predictor, ids_NC, None),
            microseconds(predictor.predict, request),
        )
        if turn >= 0:
            for way, each in zip(WAYS, times, strict=True):
                found[way].append(each)
    return {way: np.array(each) for way, each in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    lines = []
    for name, title in criteo_bundle.MODELS.items():
        predictor = criteo_bundle.predictor(name)
        for size, requests in SIZES.items():
            found = measured(predictor, size, requests)
            middle = [f"{np.median(each):,.0f}" for each in found.values()]
            whole = found["predict"]
            before = np.median(found["arrow"] + found["loop"])
            cells = [title, f"{size:,}", *middle]
            cells += [f"{np.median(whole) / size:,.1f}", f"{before / np.median(whole):.1f}x"]
            lines.append("| " + " | ".join(cells) + " |")
            print(lines[-1], flush=True)
    date = datetime.date.today().isoformat()
    page = [
        "# Scoring requests in a program",
        "",
        f"`python benchmarks/predictor.py --threads {arguments.threads}`, {date}. "
        f"{describe('torch', 'pyarrow')}.",
        "",
        f"39 fields, {criteo_bundle.IDS:,} ids, embedding size 16, perceptrons 400 x 3, 741 pairs; OptInter "
        f"memorizes {criteo_bundle.MEMORIZED} pairs and factorizes {criteo_bundle.FACTORIZED}. Medians in "
        f"microseconds per request, over {', '.join(map(str, SIZES.values()))} requests of "
        f"{', '.join(f'{size:,}' for size in SIZES)} rows; `predict` is the whole call. "
        f"Load of the machine when it ended: {os.getloadavg()[1]:.0f}.",
        "",
        "| model | rows | encode, Arrow | encode, Python | model, as in training | model, direct | `predict` "
        "| per row | faster than Arrow and training's loop |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
        *lines,
        "",
    ]
    target = arguments.output / f"predictor-{date}.md"
    target.write_text("\n".join(page))
    print(target)


if __name__ == "__main__":
    main()
