"""The process that calls the trackers: `python -m ctrloom.tracking REQUEST`.

A tracker that fails does not stop the others; each failure is one line of output that begins with MARK.
"""

import json
import os
import sys
from collections.abc import Callable

from ctrloom import interruption
from ctrloom.config.errors import UserError
from ctrloom.config.extras import install
from ctrloom.config.tracking import TrackingConfig
from ctrloom.config.url_secrets import redacted
from ctrloom.progress import MARK
from ctrloom.storage import one_line
from ctrloom.tracking.places import Places


def main(request: str) -> int:
    """Track one run; the exit status is 1 if a tracker failed."""
    given, name, texts = json.loads(request)
    config = TrackingConfig.parse(given, "tracking")
    from ctrloom.tracking import records

    tracked = records.read(name, Places.parse(texts))

    def tensorboard() -> None:
        from ctrloom.tracking import events

        assert config.tensorboard
        events.write(tracked, config.tensorboard)

    def mlflow() -> None:
        from ctrloom.tracking import mlflow_runs

        assert config.mlflow
        mlflow_runs.write(tracked, config.mlflow)

    wanted = {
        "TensorBoard": tensorboard if config.tensorboard else None,
        "MLflow": mlflow if config.mlflow else None,
    }
    failed = [_attempt(title, write) for title, write in wanted.items() if write]
    return int(any(failed))


def _attempt(title: str, write: Callable[[], None]) -> bool:
    """Call a tracker; True if it failed."""
    try:
        write()
    except ModuleNotFoundError as error:
        needed = {"MLflow": "mlflow", "TensorBoard": "tensorboard"}[title]
        _report(f"{title}: {error.name} is not installed: {install(needed)}")
    except Exception as error:
        if os.environ.get("CTRLOOM_DEBUG") == "1":
            raise
        _report(f"{title}: {error if isinstance(error, UserError) else one_line(error)}")
    else:
        return False
    return True


def _report(text: str) -> None:
    print(f"{MARK}{redacted(text)}", flush=True)


if __name__ == "__main__":
    interruption.install()
    try:
        status = main(sys.argv[1])
    except (UserError, OSError) as problem:
        _report(str(problem))
        status = 1
    sys.exit(status)
