"""Paired tests of models on the test rows; a pair is tested once, in whichever direction it is needed."""

from collections.abc import Mapping, Sequence

from numpy.typing import NDArray

from ctrloom.config import EvaluationConfig
from ctrloom.evaluation.bootstrap import LoglossBootstrap
from ctrloom.evaluation.results import Versus
from ctrloom.evaluation.significance import Difference, adjusted, delong_difference
from ctrloom.metrics.measure import with_weight

Pair = tuple[str, str]  # model, and the base that it is tested against


class PairedTests:
    """Tests of AUC and logloss between models, given the test logits (seeds, rows) of each.

    Models may have different numbers of seeds. Rows of weight 0 count for nothing.
    """

    def __init__(
        self,
        logits: Mapping[str, NDArray],
        label_N: NDArray,
        weight_N: NDArray | None,
        evaluation: EvaluationConfig,
    ) -> None:
        self.logits, self.label_N, self.weight_N = logits, label_N, weight_N
        self.rows = len(label_N[with_weight(weight_N)])
        self.confidence, self.names = evaluation.confidence, list(logits)
        self.losses = LoglossBootstrap(
            [*logits.values()], label_N, weight_N, evaluation.bootstrap, evaluation.seed
        )
        self.done: dict[Pair, Difference] = {}

    def of(self, pairs: Sequence[Pair]) -> tuple[Versus, ...]:
        """The differences of all pairs; p-values and intervals are adjusted over them, per metric."""
        aucs = adjusted([self._auc(pair) for pair in pairs])
        losses = adjusted([self._logloss(pair) for pair in pairs])
        return tuple(
            Versus(model=model, base=base, rows=self.rows, auc=auc, logloss=loss)
            for (model, base), auc, loss in zip(pairs, aucs, losses, strict=True)
        )

    def _auc(self, pair: Pair) -> Difference:
        model, base = pair
        if (base, model) in self.done:
            return self.done[base, model].swapped()
        if pair not in self.done:
            scores = self.logits[model], self.logits[base]
            self.done[pair] = delong_difference(*scores, self.label_N, self.weight_N, self.confidence)
        return self.done[pair]

    def _logloss(self, pair: Pair) -> Difference:
        model, base = map(self.names.index, pair)
        return self.losses.difference(model, base, self.confidence)
