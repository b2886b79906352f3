"""Writes the results as a dated table, as JSON and as a chart."""

import argparse
import datetime
import json
import sys
from pathlib import Path
from typing import Any

import machine as hardware
import matplotlib.pyplot as plt
from limits import Machine, describe


def write(lines: list[dict[str, Any]], machine: Machine, arguments: argparse.Namespace) -> None:
    """`training-<date>.md`, `.json` and `.svg` in the output folder."""
    date = datetime.date.today().isoformat()
    stem = arguments.output / f"training-{machine.device}-{date}"
    arguments.output.mkdir(parents=True, exist_ok=True)
    facts = {"machine": describe(machine), "threads": arguments.threads, "lines": lines}
    stem.with_suffix(".json").write_text(json.dumps(facts, indent=1) + "\n")
    stem.with_suffix(".md").write_text(_page(lines, machine, arguments, date, stem))
    _chart(lines, stem.with_suffix(".svg"))


def _page(
    lines: list[dict[str, Any]], machine: Machine, arguments: argparse.Namespace, date: str, stem: Path
) -> str:
    command = "python benchmarks/training " + " ".join(a for a in sys.argv[1:] if not a.startswith("/"))
    text = [
        "# Speed of training and searching",
        "",
        f"`{command}`, {date}, {hardware.on(machine.device)}. {hardware.describe('torch', 'numpy')}; "
        f"{arguments.threads} thread(s). "
        f"Median of {arguments.rounds} turns of {arguments.steps} steps; ours and the peer's in turn.",
        "",
        f"Measured at the start: {machine.copy_bytes / 1e9:.0f} GB/s copied (read and written), "
        f"{machine.gathered_rows / 1e6:.0f} million rows of 20 floats gathered a second, "
        + ", ".join(f"{rate / 1e9:,.0f} GFLOP/s in {name}" for name, rate in machine.flops.items())
        + _launches(machine)
        + ".",
        "",
        "`step`: batches at hand; `loop`: a whole pass with shuffling (of the peers: with their loader, "
        "where they have one). The limit is of memory, arithmetic or launches, whichever is least (see "
        "`limits.py`), measured in every turn: its median is shown, and the median share of it.",
        "",
        "| work | rows/s, step | rows/s, loop | peer, step | peer, loop | ratio, step | ratio, loop "
        "| to reach | limit | step of it | loop of it | MiB |",
        "|---|--:|--:|--:|--:|--:|--:|--:|---|--:|--:|--:|",
    ]
    for line in lines:
        case, calls, bound = line["case"], line["calls"], line["limit"]
        step, loop = calls.get("step", {}), calls["loop"]
        goal = f">= {case['least']:g}x" if case["least"] else ""
        goal = f">= {case['rows_per_second']:,.0f}" if case["rows_per_second"] else goal
        cells = [
            case["name"],
            *(_rate(call.get(who)) for who in ("ours", "peer") for call in (step, loop)),
            *(f"{call['ratio']:.1f}x" if "ratio" in call else "" for call in (step, loop)),
            goal,
            f"{bound['binding']}, {bound['rows_per_second']:,.0f}" + _kernels(line),
            *(f"{call['of_limit']:.0%}" if call else "" for call in (step, loop)),
            f"{line['peak_mib']['ours']:,}",
        ]
        text.append("| " + " | ".join(cells) + " |")
    if any("ratio" in line["calls"]["loop"] for line in lines):
        text += ["", f"![ratio to peers]({stem.name}.svg)"]
    return "\n".join([*text, ""])


def _launches(machine: Machine) -> str:
    if machine.launch_seconds is None or machine.graph_seconds is None:
        return ""
    return (
        f", {machine.launch_seconds * 1e6:.2f} us a kernel, {machine.graph_seconds * 1e6:.2f} us in a graph"
    )


def _kernels(line: dict[str, Any]) -> str:
    return f" ({line['kernels']} kernels a step)" if line.get("kernels") else ""


def _rate(rate: float | None) -> str:
    return f"{rate:,.0f}" if rate else ""


def _chart(lines: list[dict[str, Any]], path: Path) -> None:
    shown = [
        (line["case"]["name"], line["calls"]["loop"].get("ratio"), line["case"]["least"]) for line in lines
    ]
    shown = [entry for entry in shown if entry[1]][::-1]
    if not shown:
        return
    figure, axes = plt.subplots(figsize=(8, 0.6 + 0.32 * len(shown)))
    places = range(len(shown))
    axes.barh(places, [ratio for _, ratio, _ in shown], color="#3b6ea8")
    axes.plot([least or float("nan") for _, _, least in shown], places, "k|", markersize=12, label="to reach")
    axes.axvline(1, color="#888888", linewidth=0.8)
    axes.set_yticks(places, [name for name, _, _ in shown], fontsize=8)
    axes.set_xscale("log")
    axes.set_xlabel("times as fast as the peer, whole loop")
    axes.legend(loc="lower right", fontsize=8)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
