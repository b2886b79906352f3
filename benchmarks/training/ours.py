"""Worker process for a case of ctrloom: `python ours.py '<case as JSON>'`; see worker.py."""

import json
import sys
from collections.abc import Callable
from typing import Any

import fast  # noqa: F401
import torch
from plain import PLAIN
from shapes import encoded
from torch.profiler import ProfilerActivity, profile
from worker import serve

from ctrloom.architecture import Architecture
from ctrloom.config import AutoFISConfig, Hyperparameters, ModelsConfig, OptInterConfig
from ctrloom.data.batches.batch import Batch
from ctrloom.methods import optinter
from ctrloom.methods.gates import GateSearch, GateVector, Schedule
from ctrloom.methods.interface import SearchData
from ctrloom.models import build
from ctrloom.schema import CrossKeys, Schema
from ctrloom.training.checkpoints import Loop
from ctrloom.training.loop import adam, pick_device, seed_everything
from ctrloom.training.passes import Passes, run_epoch
from ctrloom.training.step import Step, matmul_precision

VALID = 1000  # validation rows of a search, not counted


def main() -> None:
    """Prepare the case and serve calls."""
    case = json.loads(sys.argv[1])
    torch.set_num_threads(case["threads"])
    torch.zeros((), device=pick_device("auto"))  # loads the GPU's libraries
    sys.stdin.readline()
    prepare = search if case["search"] else train
    rows, calls, parameters = prepare(case)
    if pick_device("auto").type == "cuda":
        kernels = launched(calls.get("step", calls["loop"])) // case["steps"]
        serve(rows, calls, on_gpu, parameters=parameters, kernels=kernels)
    else:
        serve(rows, calls, parameters=parameters)


def launched(call: Callable[[], object]) -> int:
    """Kernels and copies that the second call launches."""
    call()
    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        call()
        torch.cuda.synchronize()
    return sum(event.device_type == torch.autograd.DeviceType.CUDA for event in seen.events() or ())


def on_gpu() -> int:
    """Peak GPU memory of tensors, in MiB."""
    return torch.cuda.max_memory_allocated() // 2**20


def settings(case: dict[str, Any]) -> Hyperparameters:
    """Hyper-parameters of the case."""
    own = {
        **PLAIN,
        "embedding_size": case["embedding"],
        "hidden": case["hidden"],
        "precision": case["precision"],
        "embedding_optimizer": case["optimizer"],
        **case["settings"],
    }
    return ModelsConfig({case["model"]: own}).of(case["model"])


Prepared = tuple[dict[str, int], dict[str, Callable[[], object]], int]


def train(case: dict[str, Any]) -> Prepared:
    """Steps on prepared batches, and a pass over shuffled rows."""
    generator, hyper = seed_everything(0), settings(case)
    schema, rows = encoded(case["sizes"], case["rows"])
    device = pick_device("auto")
    model, rows = build(case["model"], Architecture.complete(schema.names), schema, hyper), rows.to(device)
    model.to(device)
    optimizer = adam(model, hyper.learning_rate, tables=hyper.embedding_optimizer)
    step = Step(model, optimizer.step, [optimizer])
    passes = Passes(rows, case["batch"], generator)

    def batches() -> list[Batch]:
        # new ones each time: a batch caches what is derived from it
        return list(rows.batches(case["batch"]))[: case["steps"]]

    def steps() -> None:
        model.train()
        with matmul_precision(hyper.precision, device):
            for batch in batches():
                step(batch)
        wait(device)

    def loop() -> None:
        with matmul_precision(hyper.precision, device):
            run_epoch(step, passes, Loop("benchmark"), lambda *_: None)

    @torch.no_grad()
    def forward() -> None:
        model.eval()
        for batch in batches():
            model(batch.ids_NC)
        wait(device)

    rows_in = {"step": sum(map(len, batches())), "loop": len(rows), "forward": sum(map(len, batches()))}
    return (
        rows_in,
        {"step": steps, "loop": loop, "forward": forward},
        sum(p.numel() for p in model.parameters()),
    )


def search(case: dict[str, Any]) -> Prepared:
    """A pass of the search, which trains weights and gates in the same steps."""
    hyper = settings(case)
    if case["search"] == "optinter":
        schema, rows, crosses = with_crosses(case)
        config = OptInterConfig(epochs=1, batch_size=case["batch"], random_draws=0)
        course = optinter.OptInterSearch(
            SearchData(rows[VALID:], rows[:VALID], schema, crosses), config, hyper
        )
        count = sum(p.numel() for p in course.model.parameters())

        def one_pass() -> None:
            course.one_pass(course.searching, Loop("benchmark"), lambda *_: None)

        return {"loop": case["rows"]}, {"loop": one_pass}, count
    schema, rows = encoded(case["sizes"], case["rows"])
    whole = Architecture.complete(schema.names, case["orders"])
    generator, device = seed_everything(0), pick_device("auto")
    model = build(case["model"], whole, schema, hyper).to(device)
    groups = [
        GateVector(model.get_parameter(f"gates.{order}.gate_P"), whole.of_order(order))
        for order in case["orders"]
    ]
    alone = {"warm_up": 0, "gate_warm_up": 0, "permuted": 0, "embedding_l2": 0.0}
    auto = AutoFISConfig(epochs=1, batch_size=case["batch"], **alone)
    schedule = Schedule.of(auto, hyper, SearchData(rows, rows, schema), max(case["orders"]))
    gate_search = GateSearch(model, groups, rows, schedule, generator)

    def loop() -> float:
        gate_search.run("search")
        return gate_search.seconds

    return {"loop": case["rows"]}, {"loop": loop}, sum(p.numel() for p in model.parameters())


def with_crosses(case: dict[str, Any]) -> tuple[Schema, Batch, CrossKeys]:
    """OptInter's Criteo: 13 numbers, 26 fields of tokens, 325 crosses."""
    import cross_lookup  # the benchmark in the parent folder has the shape

    schema, crosses = cross_lookup.crossed(cross_lookup.schema(), case["ids"])
    return schema, cross_lookup.draw(schema, VALID + case["rows"], seed=3), crosses


def wait(device: torch.device) -> None:
    """Synchronize with the GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
