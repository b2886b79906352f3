"""Prometheus metrics of the server. N rows of a request, K bins."""

import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from ctrloom.serving.predictor import Scored
from ctrloom.serving.server.models import Models

SECONDS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
BOUNDS_K = np.array([0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])


class Metrics:
    """Counts of requests, rows and values since the start; safe in several threads.

    Plain numbers, which become metrics when they are read: a request adds to up to a hundred of them.
    """

    def __init__(self, models: Models) -> None:
        self.models = models
        self.lock = threading.Lock()
        self.requests = Counter[tuple[str, str]]()  # by protocol and status
        self.rows = self.malformed = 0
        self.missing, self.unseen = Counter[str](), Counter[str]()
        self.scores_K = np.zeros(len(BOUNDS_K), dtype=np.int64)
        self.score_total = 0.0
        self.log = Counter[str]()  # rows written or lost
        self.registry = CollectorRegistry()
        self.seconds = Histogram(
            "ctrloom_request_seconds",
            "From the headers of a request to its answer",
            ["protocol"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.of_protocol = {each: self.seconds.labels(each) for each in ("http", "grpc")}
        self.registry.register(self)

    def answered(self, protocol: str, status: str, began: float) -> None:
        """Count an answer to a request for probabilities that began at this `time.perf_counter`."""
        self.of_protocol[protocol].observe(time.perf_counter() - began)
        with self.lock:
            self.requests[protocol, status] += 1

    def scored(self, scored: Scored) -> None:
        """Count rows, their scores and their missing and unseen values."""
        score_N = scored.probability_N
        if scored.malformed:
            score_N = score_N[~np.isnan(score_N)]
        count_K = np.bincount(np.searchsorted(BOUNDS_K, score_N), minlength=len(BOUNDS_K))
        total = float(score_N.sum(dtype=np.float64))
        with self.lock:
            self.rows += len(scored.probability_N)
            self.malformed += len(scored.malformed)
            self.scores_K += count_K
            self.score_total += total
            for name, count in scored.missing.items():
                if count:
                    self.missing[name] += count
            for name, count in scored.unseen.items():
                if count:
                    self.unseen[name] += count

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)

    def collect(self) -> Iterator[Metric]:
        """Called by the registry of metrics."""
        with self.lock:
            yield _counter(
                "ctrloom_requests", "Requests for probabilities", self.requests, "protocol", "status"
            )
            yield _counter("ctrloom_rows", "Rows of requests, with malformed ones", {(): self.rows})
            yield _counter("ctrloom_malformed_rows", "Malformed rows", {(): self.malformed})
            fields = self._fields()
            for name, counts in (("missing", self.missing), ("unseen", self.unseen)):
                by_field = {(field,): counts[field] for field in fields}
                yield _counter(f"ctrloom_{name}_values", f"Rows with a {name} value", by_field, "field")
            yield self._scores()
            log = {(kind,): self.log[kind] for kind in ("written", "lost")}
            yield _counter("ctrloom_log_rows", "Rows of the traffic log", log, "result")
        reloads = {(result,): count for result, count in self.models.reloads.items()}
        yield _counter("ctrloom_reloads", "Champions of the registry that were tried", reloads, "result")
        info = GaugeMetricFamily(
            "ctrloom_model_info", "The served model", labels=["name", "version", "model"]
        )
        if served := self.models.current:
            info.add_metric([self.models.name, served.version, served.predictor.card.model], 1)
        yield info

    def _fields(self) -> list[str]:
        served = self.models.current
        return list(
            dict.fromkeys([*(served.predictor.schema.names if served else ()), *self.missing, *self.unseen])
        )

    def _scores(self) -> Metric:
        reached = np.cumsum(self.scores_K).tolist()
        buckets = [(str(bound), count) for bound, count in zip(BOUNDS_K[:-1], reached[:-1], strict=True)]
        scores = HistogramMetricFamily("ctrloom_probability", "Probabilities of rows")
        scores.add_metric([], [*buckets, ("1.0", reached[-1]), ("+Inf", reached[-1])], self.score_total)
        return scores


def _counter(name: str, text: str, counts: Mapping[Any, int], *labels: str) -> Metric:
    """A counter of several values of its labels."""
    family = CounterMetricFamily(name, text, labels=labels)
    for values, count in counts.items():
        family.add_metric(list(values), count)
    return family
