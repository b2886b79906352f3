"""Kills of a server while it logs: its log can be read, has what was answered, and is continued."""

import csv
import http.client
import os
import random
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from outcome import Outcome, Tally
from program import kill_group, members
from traffic import Request, label, sample, send, served, start
from workspace import Workspace

LONGEST = 1.0  # seconds after which it is killed
KEPT = "request_id", "row", "probability"


def serving_kills(workspace: Workspace, count: int, rng: random.Random) -> Iterator[Tally]:
    """Kill a server `count` times."""
    tally = Tally("kill", "serve")
    for number in range(count):
        folder = workspace.folder / "killed" / f"serve-{number}"
        folder.mkdir(parents=True)
        tally.add(*killed(workspace, folder, rng.random() * LONGEST))
        shutil.rmtree(folder)
    yield tally


def killed(workspace: Workspace, folder: Path, after: float) -> tuple[Outcome, str]:
    """Kill a server, start another one with its log, and join the rows of both with labels."""
    log, told = folder / "log", f"serve killed after {after:.2f} s"
    running, port = start(workspace.folder, log)
    timer = threading.Timer(after, os.kill, (running.pid, signal.SIGKILL))
    timer.start()
    before = _answered(port, sample(workspace.folder, "before") * 100)
    timer.join()
    running.wait()
    remaining = members(running.pid)
    kill_group(running.pid)
    running.communicate()
    if remaining:
        return Outcome.LOST, f"{told}: still running: {remaining[0]}"
    with served(workspace.folder, log) as port:
        later = _answered(port, sample(workspace.folder, "later"))
    requests = [*sample(workspace.folder, "before"), *sample(workspace.folder, "later")]
    label(folder / "labels.csv", requests)
    keep = [part for name in KEPT for part in ("--keep", name)]
    command = ["join-labels", "--log", str(log), "--labels", str(folder / "labels.csv"), *keep]
    done = workspace.program.run([*command, "--output", str(folder / "joined.csv")], workspace.folder)
    if done.failure or done.status != 0:
        return done.failure or Outcome.LOST, f"{told}: {done.message}"
    with (folder / "joined.csv").open() as file:
        joined = list(csv.DictReader(file))
    clicks = {(each.id, at): row["click"] for each in requests for at, row in enumerate(each.rows)}
    for row in joined:
        key = row["request_id"], int(row["row"])
        expected = (before | later).get(key)
        if expected is not None and np.float32(row["probability"]) != np.float32(expected):
            return Outcome.SILENT, f"{told}: {key} has {row['probability']} instead of {expected}"
        if row["click"] != clicks[key]:
            return Outcome.SILENT, f"{told}: {key} has another label"
    if lost := later.keys() - {(row["request_id"], int(row["row"])) for row in joined}:
        return Outcome.LOST, f"{told}: {len(lost)} rows after the kill are not in the log"
    return Outcome.HARMLESS, told


def _answered(port: int, requests: list[Request]) -> dict[tuple[str, int], float]:
    """The probabilities by id and row, until the server is gone."""
    found = dict[tuple[str, int], float]()
    for request in requests:
        try:
            answer = send(port, request)
        except (OSError, ValueError, http.client.HTTPException):
            break
        found |= {(request.id, at): probability for at, probability in enumerate(answer)}
    return found
