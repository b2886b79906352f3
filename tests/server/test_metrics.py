"""Metrics of the server, read by Prometheus' own parser."""

import json
from pathlib import Path

import numpy as np
from prometheus_client.parser import text_string_to_metric_families
from served import DATATYPES, Served, lines, request_of, served, version_of

from ctrloom import load_bundle


def samples(running: Served) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = running.call("/metrics")[2].decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_metrics_count_requests_rows_values_and_scores(bundle: Path, mixed_folder: Path) -> None:
    rows = lines(mixed_folder)
    with served(bundle) as running:
        for start in range(0, len(rows), 60):
            running.infer(request_of(rows[start : start + 60]))
        bad = request_of(rows[:1], outputs=[{"name": "malformed"}])
        bad["inputs"][1] |= {"datatype": "BYTES", "data": ["old"]}
        running.infer(bad)
        assert running.call(body=b"{}")[0] == 400
        running.call("/v2/models/other/infer", body=json.dumps(bad).encode())
        found = samples(running)
    predictor = load_bundle(str(bundle))
    scored = predictor.score(rows)
    whole = len(rows)
    assert found["ctrloom_requests_total", (("protocol", "http"), ("status", "200"))] == 6
    assert found["ctrloom_requests_total", (("protocol", "http"), ("status", "400"))] == 1
    assert found["ctrloom_requests_total", (("protocol", "http"), ("status", "404"))] == 1
    assert found["ctrloom_request_seconds_count", (("protocol", "http"),)] == 8
    assert found["ctrloom_rows_total", ()] == whole + 1
    assert found["ctrloom_malformed_rows_total", ()] == 1
    for field in predictor.schema.names:
        missing = sum(row[field] == "" for row in rows)
        assert found["ctrloom_missing_values_total", (("field", field),)] == missing
        assert found["ctrloom_unseen_values_total", (("field", field),)] == scored.unseen[field]
    assert sum(row["user"] == "stranger" for row in rows) == scored.unseen["user"] > 0
    assert found["ctrloom_probability_count", ()] == whole
    assert np.isclose(found["ctrloom_probability_sum", ()], scored.probability_N.sum(dtype=float))
    for name, bound in (
        (name, dict(labels)) for name, labels in found if name == "ctrloom_probability_bucket"
    ):
        below = np.count_nonzero(scored.probability_N <= float(bound["le"]))
        assert found[name, (("le", bound["le"]),)] == below
    info = (("model", "deepfm"), ("name", "champion"), ("version", version_of(bundle)))
    assert found["ctrloom_model_info", info] == 1
    assert len(DATATYPES) == len(predictor.schema.names)
