"""Numbers of rows with missing and with unseen values.

N rows, C columns of the id matrix, F fields.
"""

import numpy as np
from numpy.typing import NDArray

from ctrloom.schema import MISSING_ID, MOST_IDS, UNSEEN_ID, Schema

_NEVER = -1  # an id that no row has: numbers that are kept as such are never unseen


class FieldCounter:
    """Counts rows by field; a list is missing if it is empty, and unseen if one of its values is."""

    def __init__(self, schema: Schema) -> None:
        fields, offsets, width_F = schema.fields, schema.offsets, [field.width for field in schema.fields]
        self.names = schema.names
        self.first_F = np.cumsum([0, *width_F[:-1]])
        self.missing_F = np.array([offset + MISSING_ID for offset in offsets])
        unseen_F = [
            _NEVER if field.kind == "numeric" else offset + UNSEEN_ID
            for field, offset in zip(fields, offsets, strict=True)
        ]
        self.unseen_C = np.repeat(unseen_F, width_F)
        # The last ids of a field, of rare values that only crosses distinguish
        rare_F = [o + f.size if f.rare else MOST_IDS + 1 for f, o in zip(fields, offsets, strict=True)]
        self.rare_C = np.repeat(rare_F, width_F) if any(f.rare for f in fields) else None

    def counts(self, ids_NC: NDArray[np.int32]) -> tuple[dict[str, int], dict[str, int]]:
        """Rows with a missing value, and with an unseen one, by field."""
        missing_F = (ids_NC[:, self.first_F] == self.missing_F).sum(0)
        unseen_NC = ids_NC == self.unseen_C
        if self.rare_C is not None:
            unseen_NC |= ids_NC >= self.rare_C
        unseen_F = np.logical_or.reduceat(unseen_NC, self.first_F, axis=1).sum(0)
        missing, unseen = (
            dict(zip(self.names, each.tolist(), strict=True)) for each in (missing_F, unseen_F)
        )
        return missing, unseen
