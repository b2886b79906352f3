"""The colour scale of the heat map of pairs."""

import re
from html import unescape
from itertools import combinations

import pytest

from ctrloom.report.search_figures import gate_map
from ctrloom.search_trace import Candidate, SearchTrace


@pytest.mark.parametrize("scores", [(2.489, 0.1, 0.2), (2.5, 2.5, 0.1)])
def test_pairs_of_one_strength_have_a_scale_from_zero(scores: tuple[float, ...]) -> None:
    """A scale from the weakest to the strongest would say seven times the same."""
    pairs = combinations("abc", 2)
    trace = SearchTrace(
        method="residual",
        base="autofm",
        orders=(2,),
        candidates=tuple(
            Candidate(fields=pair, score=score, kept=score > 1)
            for pair, score in zip(pairs, scores, strict=True)
        ),
        seconds=1.0,
        rows_per_second=1.0,
        hyperparameters={},
    )
    scale = re.findall(r"[\d.]+–[\d.]+", unescape(str(gate_map(trace))))
    assert len(scale) == len({*scale}) == 7
    assert scale[-1].startswith("0.00–")
