"""Stopping on SIGTERM, SIGINT and SIGHUP: at once, or after the checkpoint of a loop that asks for it.

A process belongs to its caller: only commands, components and worker processes call `install`. Without it,
signals have Python's default effect, and no stop is ever requested.

A process passes the signal to its children and waits for them. Each child also watches a pipe that its parent
keeps open, and ends when the parent has died: so no signal, not even SIGKILL, leaves a process behind.
"""

from ctrloom.interruption.children import PARENT, child_process, starting
from ctrloom.interruption.handlers import SIGNALS, advise, install, stoppable
from ctrloom.interruption.stop import Stop, Stopped, check, deferred

__all__ = [
    "PARENT",
    "SIGNALS",
    "Stop",
    "Stopped",
    "advise",
    "check",
    "child_process",
    "deferred",
    "install",
    "starting",
    "stoppable",
]
