"""Confirmation: what a search keeps must also be significant by the residual test."""

from collections.abc import Sequence

import torch
from scipy.stats import norm

from ctrloom.architecture import Interaction
from ctrloom.config.search import ConfirmedConfig
from ctrloom.methods.interface import SearchData
from ctrloom.methods.statistics.cell_models import product_over_table
from ctrloom.methods.statistics.evidence import Evidence, Fields, discoveries, p_values, random_blocks
from ctrloom.methods.statistics.field_codes import CodedRows, Coder
from ctrloom.search_trace import SearchTrace

BLOCKS = 8  # of training rows; the validation rows are one more


class Confirmation:
    """Tests interactions by the residuals of training and validation rows (see `statistics.residual_test`).

    The search has seen the training rows. So p values are adjusted for all of its candidates, not only for
    those that it keeps: whatever it chose, and why, false ones are confirmed no more often than the false
    discovery rate allows. Interactions of one order are tested one by one, not given each other: which of two
    that share an effect a model needs is the choice of the search.
    """

    def __init__(self, data: SearchData, config: ConfirmedConfig, device: torch.device) -> None:
        self.data, self.config, self.device = data, config, device
        self.evidence: Evidence | None = None
        self.known: dict[Fields, float] = {}
        self.p_values: dict[tuple[str, ...], float] = {}

    def of(self, kept: Sequence[Interaction], candidates: Sequence[Interaction]) -> tuple[Interaction, ...]:
        """Those of the kept interactions that are confirmed; with `confirm` off, all are tested and kept."""
        confirmed: set[tuple[str, ...]] = set()
        for order in sorted({interaction.order for interaction in kept}):
            chosen = {each.fields for each in kept if each.order == order}
            searched = {each.fields for each in candidates if each.order == order}
            confirmed |= self._of_order(chosen, order, len(searched))
        if not self.config.confirm:
            return tuple(kept)
        return tuple(interaction for interaction in kept if interaction.fields in confirmed)

    def functions(self, kept: Sequence[Interaction], seed: int) -> tuple[Interaction, ...]:
        """The interactions with the other function, memorize or hadamard, where it is significantly better.

        Both are fitted to the residuals of training rows, given the other confirmed interactions, and
        compared by their likelihood on validation rows.
        """
        if not self.config.confirm:
            return tuple(kept)
        return tuple(self._with_function(interaction, seed) for interaction in kept)

    def noted(self, trace: SearchTrace) -> SearchTrace:
        """The trace with the p value of every interaction that was tested, and what was not confirmed."""
        names = self.data.schema.names
        confirmed = {tuple(names[field] for field in fields) for fields in self.known}
        candidates = tuple(
            candidate.model_copy(
                update={
                    "p_value": self.p_values.get(candidate.fields),
                    "kept": candidate.kept and (candidate.fields in confirmed or not self.config.confirm),
                    "unconfirmed": candidate.kept and candidate.fields not in confirmed,
                }
            )
            for candidate in trace.candidates
        )
        return trace.model_copy(update={"candidates": candidates})

    def _of_order(self, kept: set[tuple[str, ...]], order: int, searched: int) -> set[tuple[str, ...]]:
        schema = self.data.schema
        self.evidence = self.evidence or self._evidence()
        below = {fields: t for fields, t in self.known.items() if len(fields) < order}
        candidates = sorted(schema.indices(fields) for fields in kept)
        t_values = self.evidence.t_values(candidates, below, f"confirm, order {order}")
        p = p_values(t_values)
        significant = discoveries(p, self.config.false_discovery, searched)
        chosen = {fields: t_values[fields] for fields in significant}
        self.known = below | chosen
        named = {fields: tuple(schema.names[field] for field in fields) for fields in t_values}
        self.p_values |= {named[fields]: value for fields, value in p.items()}
        return {named[fields] for fields in chosen}

    def _evidence(self) -> Evidence:
        train, valid = self.data.every()
        rows = CodedRows.of(Coder.fit(self.data.schema, self.data.train), train, valid)
        count, _ = rows.parts
        blocks = [*random_blocks(count, BLOCKS, self.config.seed), torch.arange(count, len(rows))]
        return Evidence(rows, blocks, self.device)

    def _with_function(self, interaction: Interaction, seed: int) -> Interaction:
        assert self.evidence, "functions are chosen for confirmed interactions"
        pair = self.data.schema.indices(interaction.fields)
        others = [fields for fields in self.known if fields != pair]
        better = product_over_table(self.evidence, pair, others, seed)
        if abs(better.t) < norm.isf(self.config.false_discovery):
            return interaction
        return interaction.model_copy(update={"function": "hadamard" if better.t > 0 else "memorize"})
