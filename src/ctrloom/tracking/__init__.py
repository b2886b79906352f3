"""Shows runs in MLflow and TensorBoard, after they have finished, from the records that their stages wrote.

Training knows nothing of it. The trackers are called in another process, which has a limit of time, so that a
server that is down, slow or wrong costs a run nothing but a warning.
"""

import json
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from subprocess import Popen

from ctrloom import interruption
from ctrloom.config.extras import install
from ctrloom.config.tracking import TrackingConfig
from ctrloom.config.url_secrets import redacted
from ctrloom.progress import MARK, warn
from ctrloom.storage import Place
from ctrloom.tracking.places import Places

__all__ = ["Places", "TrackingConfig", "track", "tracked"]

# MLflow tries again for minutes and reports its use to its makers, unless the user wants that.
SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "GIT_PYTHON_REFRESH": "quiet",
}


@contextmanager
def tracked(
    config: TrackingConfig | None, name: str, output: Path, dataset: str | Place | None = None
) -> Iterator[None]:
    """Track what the block writes to the folder `output`, when it has finished.

    Warns at once if a tracker is not installed. `dataset` is the manifest of a data set that is not in
    `output`.
    """
    if config and config.is_on:
        _warn_of_missing(config)
    yield
    if config and config.is_on:
        places = Places.of(output, str(dataset) if dataset else None)
        track(config, name, places, again=f"; later: ctrloom track {output}")


def track(config: TrackingConfig, name: str, places: Places, again: str = "") -> bool:
    """Show a finished run in the configured trackers; False if one of them failed, of which a line warns.

    `name` is that of a tuning or retraining; `again` ends the warning.
    """
    request = json.dumps([config.model_dump(mode="json"), name, places.texts()])
    late = threading.Event()
    last, failed = "", False
    try:
        command = [sys.executable, "-m", "ctrloom.tracking", request]
        chosen = {key: value for key, value in SETTINGS.items() if key not in os.environ}
        with interruption.child_process(command, chosen) as process:
            timer = threading.Timer(config.seconds, partial(_stop, process, late))
            timer.start()
            try:
                for line in process.stdout or ():
                    if line.startswith(MARK):
                        failed = True
                        warn(f"tracking: {redacted(line.removeprefix(MARK).strip())}{again}")
                    last = line.strip() or last
                status = process.wait()
            finally:
                timer.cancel()
    except Exception as error:  # such as too many processes: a run never fails because of its trackers
        warn(f"tracking: {redacted(str(error))}{again}")
        return False
    if late.is_set():
        warn(f"tracking: stopped after {config.seconds:g} seconds (tracking.seconds){again}")
    elif status and not failed:
        warn(f"tracking: {redacted(last) or f'its process ended with status {status}'}{again}")
    return not (late.is_set() or status or failed)


def _stop(process: Popen[str], late: threading.Event) -> None:
    late.set()
    process.kill()


def _warn_of_missing(config: TrackingConfig) -> None:
    for extra, wanted in (("mlflow", config.mlflow), ("tensorboard", config.tensorboard)):
        if wanted and find_spec(extra) is None:
            warn(f"tracking: {extra} is not installed, so that nothing will be shown there: {install(extra)}")
