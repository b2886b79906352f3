"""Values of two fields together: their keys, and the vocabularies that give them ids."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

# Per pair of fields its kept keys in id order, ascending; the key of two ids is id_a * size_b + id_b.
CrossKeys = Mapping[tuple[str, str], NDArray[np.int64]]
