"""Confirmation: what a search keeps must also be significant by the residual test."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

import torch
from scipy.stats import norm

from ctrloom.architecture import Interaction
from ctrloom.config.search import ConfirmedConfig
from ctrloom.methods.interface import SearchData
from ctrloom.methods.statistics.cell_models import product_over_table
from ctrloom.methods.statistics.evidence import Evidence, Fields, discoveries, p_values, random_blocks
from ctrloom.methods.statistics.field_codes import CodedRows, Coder
from ctrloom.methods.statistics.forward_selection import select
from ctrloom.search_trace import SearchTrace
from ctrloom.training.checkpoints import Stopwatch

BLOCKS = 8  # of training rows; the validation rows are one more


class Confirmation:
    """Tests interactions by the residuals of training and validation rows (see `statistics.residual_test`).

    The search has seen the training rows. So p values are adjusted for all of its candidates, not only for
    those that it keeps: whatever it chose, and why, false ones are confirmed no more often than the false
    discovery rate allows. Pairs are tested one by one, not given each other: which of two that share an
    effect a model needs is the choice of the search. Above, a strong interaction makes all that overlap it
    significant, so they are tested given each other, and pairs given the triples, too.
    """

    def __init__(self, data: SearchData, config: ConfirmedConfig, device: torch.device) -> None:
        self.data, self.config, self.device = data, config, device
        self.evidence: Evidence | None = None
        self.known: dict[Fields, float] = {}  # what is confirmed, with its t value
        self.tested: dict[Fields, float] = {}  # p values
        self.searched: dict[int, int] = {}  # number of candidates per order
        self.seconds = 0.0

    def of(self, kept: Sequence[Interaction], candidates: Sequence[Interaction]) -> tuple[Interaction, ...]:
        """Those of the kept interactions that are confirmed; with `confirm` off, all are tested and kept."""
        with self._timed():
            for order in sorted({candidate.order for candidate in candidates}):
                self.searched[order] = len({each.fields for each in candidates if each.order == order})
                self.known = {fields: t for fields, t in self.known.items() if len(fields) < order}
                if chosen := {each.fields for each in kept if each.order == order}:
                    self._test(chosen, order)
        return self._confirmed(kept)

    def given_higher(self, kept: Sequence[Interaction]) -> tuple[Interaction, ...]:
        """Those of all kept interactions that are significant given those of higher orders, too.

        A pair may have been confirmed only because of a triple that was found later. Those of the same order
        that share no field with it are given as well, since their effects are not the choice of the search.
        """
        highest = max(map(len, self.known), default=0)
        for fields in [each for each in self.known if len(each) < highest]:
            assert self.evidence, "something was confirmed"
            others = {
                other: t
                for other, t in self.known.items()
                if len(other) != len(fields) or not {*other} & {*fields}
            }
            with self._timed():
                t = self.evidence.t_values([fields], others, "confirm, given others")[fields]
            self.known[fields] = min(t, self.known[fields])
            self.tested |= p_values({fields: self.known[fields]})
        for order in self.searched:
            significant = self._significant(order)
            self.known = {f: t for f, t in self.known.items() if len(f) != order or f in significant}
        return self._confirmed(kept)

    @property
    def p_values(self) -> dict[tuple[str, ...], float]:
        """P value of every interaction that was tested, by the names of its fields."""
        return {self._named(fields): p for fields, p in self.tested.items()}

    def with_products(self, kept: Sequence[Interaction], seed: int) -> tuple[Interaction, ...]:
        """The interactions, with products in place of tables where a product is significantly better.

        Both are fitted to the residuals of training rows, given the other confirmed interactions, and
        compared by their likelihood on validation rows. A search that trains choices and weights on the same
        rows errs towards tables. Products stay: next to an additive model a table of repeated rows is better,
        but not in a model that has memorized them by another pair.
        """
        if not self.config.confirm:
            return tuple(kept)
        with self._timed():
            return tuple(self._with_product(interaction, seed) for interaction in kept)

    def noted(self, trace: SearchTrace) -> SearchTrace:
        """The trace with the p value of every tested interaction, what was not confirmed, and the time."""
        p, confirmed = self.p_values, {self._named(fields) for fields in self.known}
        candidates = tuple(
            candidate.model_copy(
                update={
                    "p_value": p.get(candidate.fields),
                    "kept": candidate.kept and (candidate.fields in confirmed or not self.config.confirm),
                    "unconfirmed": candidate.kept and candidate.fields not in confirmed,
                }
            )
            for candidate in trace.candidates
        )
        trace = trace.model_copy(update={"candidates": candidates})
        return trace.with_stage("confirmation", self.seconds)

    @contextmanager
    def _timed(self) -> Iterator[None]:
        stopwatch = Stopwatch()
        yield
        self.seconds += stopwatch.seconds

    def _test(self, kept: set[tuple[str, ...]], order: int) -> None:
        self.evidence = self.evidence or self._evidence()
        candidates = sorted(self.data.schema.indices(fields) for fields in kept)
        title = f"confirm, order {order}"
        if order == 2:
            t_values = self.evidence.t_values(candidates, self.known, title)
        else:
            rate = self.config.false_discovery
            t_values, _ = select(self.evidence, candidates, self.known, rate, title, self.searched[order])
        self.tested = {fields: p for fields, p in self.tested.items() if len(fields) != order}
        self.tested |= p_values(t_values)
        self.known |= {fields: t_values[fields] for fields in self._significant(order)}

    def _significant(self, order: int) -> Collection[Fields]:
        p = {fields: value for fields, value in self.tested.items() if len(fields) == order}
        return discoveries(p, self.config.false_discovery, self.searched[order])

    def _confirmed(self, kept: Sequence[Interaction]) -> tuple[Interaction, ...]:
        if not self.config.confirm:
            return tuple(kept)
        confirmed = {self._named(fields) for fields in self.known}
        return tuple(interaction for interaction in kept if interaction.fields in confirmed)

    def _named(self, fields: Fields) -> tuple[str, ...]:
        return tuple(self.data.schema.names[field] for field in fields)

    def _evidence(self) -> Evidence:
        train, valid = self.data.every()
        rows = CodedRows.of(Coder.fit(self.data.schema, train), train, valid)
        count, _ = rows.parts
        blocks = [*random_blocks(count, BLOCKS, self.config.seed), torch.arange(count, len(rows))]
        return Evidence(rows, blocks, self.device)

    def _with_product(self, interaction: Interaction, seed: int) -> Interaction:
        if interaction.function != "memorize":
            return interaction
        assert self.evidence, "only confirmed interactions are kept"
        pair = self.data.schema.indices(interaction.fields)
        others = [fields for fields in self.known if fields != pair]
        better = product_over_table(self.evidence, pair, others, seed)
        if better.t < norm.isf(self.config.false_discovery):
            return interaction
        return interaction.model_copy(update={"function": "hadamard"})
