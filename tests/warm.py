"""Python processes that start at once, as forks of a process that has imported torch and ctrloom already.

Starting Python and importing both takes seconds, which is most of the time of a short command. Here a
program takes the place of `python` in `python -m <module> ...` and `python <file> ...`: it hands its
arguments, folder, environment, input and outputs to a server, which forks. Apart from the imports, the fork
is a process like any other, and has the program as its `sys.executable`, so that the processes it starts
are forks too. It joins the process group of the program, and is killed when the program is.

`python warm.py <folder>` is the server; it writes the program to the folder and prints its path.
"""

import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PROGRAM = """#!{python} -IS
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    asked = {{"argv": sys.argv[1:], "cwd": os.getcwd(), "environment": dict(os.environ)}}
    asked["group"] = os.getpgrp()
    socket.send_fds(server, [b"x"], [0, 1, 2])
    server.sendall(json.dumps(asked).encode())
    server.shutdown(socket.SHUT_WR)
    status = server.recv(4)
sys.exit(int(status or b"70"))  # 70: the process was killed
"""
IMPORTED = (
    "ctrloom.api",
    "ctrloom.cli.results",
    "ctrloom.data.engines.embedded",
    "ctrloom.report.render",
    "ctrloom.runners.local",
    "ctrloom.stages.aim",
    "ctrloom.stages.comparison",
    "ctrloom.stages.drift_report",
    "ctrloom.stages.evaluation",
    "ctrloom.stages.promotion_gate",
    "ctrloom.stages.refreshed_model",
    "ctrloom.stages.regression_check",
    "ctrloom.stages.tuning",
    "kfp.components",
    "kfp.dsl.executor",
    "kfp.local",
    "optuna",
    "torch._dynamo",  # imported by the first optimizer
    "torch.distributed.launcher.api",
)


@contextmanager
def warm_python(folder: Path) -> Iterator[str]:
    """Start a server; yields the path of the program."""
    running = subprocess.Popen([sys.executable, __file__, str(folder)], stdout=subprocess.PIPE, text=True)
    assert running.stdout is not None
    try:
        yield running.stdout.readline().strip()
    finally:
        running.terminate()
        running.wait()
        running.stdout.close()


def serve(folder: Path) -> None:
    """Fork a process per connection."""
    for name in IMPORTED:
        __import__(name)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(folder / "socket"))
    listening.listen()
    program = folder / "warm-python"
    program.write_text(PROGRAM.format(python=sys.executable, address=str(folder / "socket")))
    program.chmod(0o755)
    print(program, flush=True)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no zombies
    while True:
        connection, _ = listening.accept()
        if os.fork() == 0:
            listening.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _run(connection, str(program))
        connection.close()


def _run(connection: socket.socket, program: str) -> None:
    _, files, _, _ = socket.recv_fds(connection, 1, 3)
    try:
        asked = json.loads(b"".join(iter(lambda: connection.recv(1 << 16), b"")))
    except ValueError:  # the program was killed before it had asked
        os._exit(1)
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    with suppress(PermissionError):  # the program is in another session, or was killed
        os.setpgid(0, asked["group"])
    if _is_gone(connection, 0):
        os._exit(1)
    threading.Thread(target=_die_with, args=[connection], daemon=True).start()
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    given = [argument for argument in asked["argv"] if argument != "-u"]
    module = given[0] == "-m"
    sys.argv, sys.executable = given[module:], program
    sys.path[0] = asked["cwd"] if module else str(Path(given[0]).parent)
    sys.path[1:1] = [folder for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder]
    status = 0
    try:
        if module:
            runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1 if end.code else 0
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    connection.sendall(str(status).encode())
    os._exit(status)


def _die_with(connection: socket.socket) -> None:
    _is_gone(connection)
    os.kill(os.getpid(), signal.SIGKILL)


def _is_gone(connection: socket.socket, milliseconds: int | None = None) -> bool:
    """Whether the program has ended; waits for that."""
    waiting = select.poll()
    waiting.register(connection, 0)  # POLLHUP: both ends are closed
    return bool(waiting.poll(milliseconds))


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
