import csv
import json
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ctrloom.config.base import ConfigError
from ctrloom.data import synthetic
from ctrloom.data.synthetic import Planted, SynthConfig, synthesize

SMALL = {"rows": 3000, "fields": 5, "sizes": (6, 4), "pairs": 2, "triples": 1}


def made(**config: Any) -> Planted:
    return Planted(SynthConfig(**{**SMALL, **config}))


def rows(planted: Planted) -> tuple[np.ndarray, np.ndarray]:
    values, labels = zip(*planted.chunks(), strict=True)
    return np.concatenate(values), np.concatenate(labels)


def table(planted: Planted, index: int) -> np.ndarray:
    """The planted term as a full table, entry by entry."""
    fields, term = planted.interactions[index], planted.terms[index]
    if len(term) == 1:
        return term[0]
    out = np.zeros([planted.sizes[f] for f in fields])
    for place in np.ndindex(*out.shape):
        for r in range(term[0].shape[1]):
            out[place] += np.prod([factor[i, r] for factor, i in zip(term, place, strict=True)])
    return out


@pytest.mark.parametrize("rank", [0, 1, 4])
@pytest.mark.parametrize("zipf", [0.0, 1.0])
def test_planted_terms_have_no_mean_along_any_field_and_variance_one(rank: int, zipf: float) -> None:
    planted = made(rank=rank, zipf=zipf)
    assert sorted(len(fields) for fields in planted.interactions) == [2, 2, 3]
    for index, fields in enumerate(planted.interactions):
        full = table(planted, index)
        shares = [planted.shares[f] for f in fields]
        for axis, share in enumerate(shares):
            np.testing.assert_allclose(np.tensordot(full, share, (axis, 0)), 0, atol=1e-12)
        joint = np.ones(())
        for share in shares:
            joint = np.multiply.outer(joint, share)
        assert (joint * full**2).sum() == pytest.approx(1, abs=1e-9)
    for f, effect in enumerate(planted.main):
        assert planted.shares[f] @ effect == pytest.approx(0, abs=1e-12)
        assert planted.shares[f] @ effect**2 == pytest.approx(1, abs=1e-9)


def test_the_score_is_the_sum_of_its_terms() -> None:
    planted = made(main_effects=0.7, strength=1.3)
    values, _ = rows(planted)
    tables = [table(planted, i) for i in range(3)]
    expected = [
        sum(0.7 * planted.main[f][row[f]] for f in range(5))
        + sum(
            1.3 * t[tuple(row[list(fields)])] for fields, t in zip(planted.interactions, tables, strict=True)
        )
        for row in values[:200]
    ]
    np.testing.assert_allclose(planted._score(values[:200]), expected, atol=1e-12)


def test_without_noise_the_label_is_the_score_above_the_threshold() -> None:
    planted = made(noise=0.0)
    values, labels = rows(planted)
    assert np.array_equal(labels == 1, planted._score(values) > planted.cut)


@pytest.mark.parametrize("rate", [0.05, 0.3, 0.8])
def test_the_share_of_clicks(rate: float) -> None:
    _, labels = rows(made(rows=40_000, positive_rate=rate, zipf=0.5))
    assert labels.mean() == pytest.approx(rate, abs=0.015)


def test_values_have_their_shares() -> None:
    planted = made(rows=40_000, zipf=1.0)
    values, _ = rows(planted)
    for f, size in enumerate((6, 4, 6, 4, 6)):
        counts = np.bincount(values[:, f], minlength=size)
        weights = np.array([1 / (v + 1) for v in range(size)])
        np.testing.assert_allclose(counts / 40_000, weights / weights.sum(), atol=0.015)
    assert np.ptp(made(zipf=0.0).shares[0]) == 0


def test_the_same_seed_gives_the_same_clicks() -> None:
    first, second, other = rows(made()), rows(made()), rows(made(seed=1))
    assert np.array_equal(first[0], second[0])
    assert np.array_equal(first[1], second[1])
    assert not np.array_equal(first[0], other[0])
    assert (
        made(seed=1).interactions != made(seed=0).interactions
        or made(seed=2).interactions != made().interactions
    )


@pytest.mark.parametrize("chunk", [1, 7, 1000, 2999])
def test_the_size_of_a_chunk_does_not_matter(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = rows(made())
    monkeypatch.setattr(synthetic, "CHUNK", chunk)
    parts = rows(made())
    assert np.array_equal(whole[0], parts[0])
    assert np.array_equal(whole[1], parts[1])


def test_fewer_rows_are_the_first_ones_of_more() -> None:
    few, many = rows(made(rows=500)), rows(made(rows=3000))
    assert np.array_equal(few[0], many[0][:500])
    assert np.array_equal(few[1], many[1][:500])


def test_interactions_are_distinct_and_as_many_as_configured() -> None:
    planted = made(fields=6, pairs=15, triples=20)
    counts = Counter(planted.interactions)
    assert Counter(len(t) for t in counts) == {2: 15, 3: 20}
    assert max(counts.values()) == 1
    assert all(a < b for t in counts for a, b in pairwise(t))


def test_too_large_a_table_is_an_error_and_factors_are_not() -> None:
    big = {"fields": 3, "sizes": (3000,), "pairs": 0, "triples": 1}
    with pytest.raises(ValueError, match="3000 x 3000 x 3000 values is too large: set rank"):
        made(**big, rank=0)
    assert [factor.shape for factor in made(**big, rank=4).terms[0]] == [(3000, 4)] * 3


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"fields": 3, "pairs": 4, "triples": 0}, "pairs: 4 requested, but 3 fields have only 3"),
        ({"fields": 3, "pairs": 0, "triples": 2}, "triples: 2 requested, but 3 fields have only 1"),
        ({"positive_rate": 1.0}, "positive_rate"),
        ({"sizes": [1]}, "sizes"),
        ({"row": 5}, "did you mean 'rows'"),
    ],
)
def test_impossible_configurations(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SynthConfig.parse(config, "synth")


def test_files(tmp_path: Path) -> None:
    config = SynthConfig(**{**SMALL, "rows": 300})
    path = synthesize(config, tmp_path / "demo")
    with open(path, newline="") as stream:
        read = list(csv.DictReader(stream))
    planted = Planted(config)
    values, labels = rows(planted)
    assert list(read[0]) == ["click", *planted.names]
    assert [int(line["click"]) for line in read] == labels.tolist()
    tokens = [[f"{f}v{v}" for f, v in enumerate(row)] for row in values]
    assert [[line[name] for name in planted.names] for line in read] == tokens
    truth = json.loads((tmp_path / "demo" / "truth.json").read_text())
    assert truth["interactions"] == [[planted.names[f] for f in t] for t in planted.interactions]
    assert SynthConfig.parse(truth["config"], "truth") == config
    assert {p.name for p in (tmp_path / "demo").iterdir()} == {"clicks.csv", "truth.json"}


def test_days_replace_values(tmp_path: Path) -> None:
    config = SynthConfig(rows=600, fields=3, sizes=(10,), pairs=1, days=3, renewed=0.2, zipf=0.0)
    assert synthesize(config, tmp_path).name == "clicks-{date}.csv"
    days = [pd.read_csv(tmp_path / f"clicks-2026-01-0{day}.csv") for day in (1, 2, 3)]
    for number, day in enumerate(days):
        at = pd.to_datetime(day["time"], unit="s")
        assert at.is_monotonic_increasing
        assert set(at.dt.date.astype(str)) == {f"2026-01-0{number + 1}"}
    for before, after in pairwise(days):
        for field in ("field_00", "field_01", "field_02"):
            assert len(set(after[field]) - set(before[field])) == 2
    whole = SynthConfig(rows=600, fields=3, sizes=(10,), pairs=1, zipf=0.0)
    first = pd.read_csv(synthesize(whole, tmp_path / "one"))
    pd.testing.assert_frame_equal(days[0].drop(columns="time"), first)
