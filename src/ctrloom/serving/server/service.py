"""What the server does, whatever the protocol."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from typing import TypeVar

from ctrloom.serving.server.errors import NotReadyError, OverloadedError
from ctrloom.serving.server.metrics import Metrics
from ctrloom.serving.server.models import Models, ServedModel
from ctrloom.serving.server.options import ServerOptions
from ctrloom.serving.server.question import MALFORMED, PROBABILITY, Answer, Question, answered
from ctrloom.serving.server.traffic_log import TrafficLog

SERVER = {"name": "ctrloom", "version": version("ctrloom"), "extensions": ["binary_tensor_data"]}
INLINE_BYTES = 64 << 10  # larger requests are scored by a pool, so that they do not block small ones
Result = TypeVar("Result")


class Service:
    """The current model, limits, metrics, and whether the server is stopping."""

    def __init__(self, models: Models, options: ServerOptions) -> None:
        self.models, self.options, self.limits = models, options, options.limits
        self.metrics = Metrics(models)
        self.pool = ThreadPoolExecutor(options.threads, "score")
        self.log = _log(options, self.metrics)
        self.unanswered = 0  # HTTP requests
        self.stopping = False

    @property
    def ready(self) -> bool:
        """True if there is a model and the server is not stopping."""
        return self.models.current is not None and not self.stopping

    def require_ready(self, name: str, version: str = "") -> ServedModel:
        """The current model.

        Raises:
            NotFoundError: it has another name or version.
            NotReadyError: there is none, or the server is stopping.
        """
        model = self.models.get(name, version)
        if self.stopping:
            raise NotReadyError("the server is stopping")
        return model

    def admit(self) -> None:
        """Let a whole request in.

        Raises:
            OverloadedError: too many others have no answer yet.
        """
        if self.unanswered > self.limits.concurrency:
            raise OverloadedError(f"more than {self.limits.concurrency} requests are in progress; try again")

    def answer(self, question: Question, model: ServedModel) -> Answer:
        """Score the rows of a question, and count them.

        Raises:
            RequestError: a row is malformed, and the question does not ask for reasons.
        """
        answer = answered(question, model)
        self.metrics.scored(answer.scored)
        if self.log is not None:
            self.log.add(answer)
        return answer

    async def run(self, work: Callable[[], Result], size: int) -> Result:
        """Do the work of a request with this many bytes, at once or in the pool."""
        if size <= INLINE_BYTES:
            return work()
        return await asyncio.get_running_loop().run_in_executor(self.pool, work)

    def close(self) -> None:
        """Wait for requests that are being scored, and write the rest of the log."""
        self.pool.shutdown()
        if self.log is not None:
            self.log.close()

    def metadata(self, model: ServedModel) -> dict[str, object]:
        """The model's metadata in the protocol's JSON."""
        inputs = [{"name": name, "datatype": kind, "shape": [-1]} for name, kind in model.columns.items()]
        outputs = [
            {"name": PROBABILITY, "datatype": "FP32", "shape": [-1]},
            {"name": MALFORMED, "datatype": "BYTES", "shape": [-1]},
        ]
        return {
            "name": self.models.name,
            "versions": [model.version],
            "platform": f"ctrloom_{model.predictor.card.model}",
            "inputs": inputs,
            "outputs": outputs,
        }


def _log(options: ServerOptions, metrics: Metrics) -> TrafficLog | None:
    if options.log_to is None:
        return None
    return TrafficLog(options.log_to, options.log_share, options.log_seconds, options.log_rows, metrics.log)
