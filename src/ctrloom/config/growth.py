"""How vocabularies grow when a model is trained on later rows."""

from pydantic import Field

from ctrloom.config.base import StrictModel
from ctrloom.config.types import Count
from ctrloom.config.vocabulary import Crosses, FieldVocabulary, VocabularyConfig


class GrowthConfig(StrictModel):
    """When a new value gets an id; existing ids and fitted boundaries do not change."""

    min_count: Count = 1  # minimum number of training rows with a new value
    fields: dict[str, Count] = Field(default_factory=dict)  # per field
    cross_min_count: Count = 1  # for new values of crosses

    def of(self, field: str) -> int:
        """Minimum number of rows with a new value of a field."""
        return self.fields.get(field, self.min_count)

    def vocabulary(self, pairs: tuple[tuple[str, str], ...]) -> VocabularyConfig:
        """The equivalent `vocabulary` section, recorded in the manifest."""
        return VocabularyConfig(
            min_count=self.min_count,
            fields={name: FieldVocabulary(min_count=count) for name, count in self.fields.items()},
            crosses=Crosses(pairs=pairs, min_count=self.cross_min_count) if pairs else None,
        )
