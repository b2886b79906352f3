"""How vocabularies grow when a model is trained on later rows."""

from pydantic import Field

from ctrloom.config.base import StrictModel
from ctrloom.config.types import Count
from ctrloom.config.vocabulary import Crosses, FieldVocabulary, VocabularyConfig


class GrowthConfig(StrictModel):
    """When a new value gets an id; those that have one keep it, and boundaries stay as they were fitted."""

    min_count: Count = 1  # training rows that a new value must be in
    fields: dict[str, Count] = Field(default_factory=dict)  # the same for single fields
    cross_min_count: Count = 1  # the same for new values of two fields together

    def of(self, field: str) -> int:
        """Rows that a new value of a field must be in."""
        return self.fields.get(field, self.min_count)

    def vocabulary(self, pairs: tuple[tuple[str, str], ...]) -> VocabularyConfig:
        """The same as a section `vocabulary`, for the record."""
        return VocabularyConfig(
            min_count=self.min_count,
            fields={name: FieldVocabulary(min_count=count) for name, count in self.fields.items()},
            crosses=Crosses(pairs=pairs, min_count=self.cross_min_count) if pairs else None,
        )
