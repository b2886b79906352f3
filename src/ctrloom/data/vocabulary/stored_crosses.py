"""Vocabularies of crosses, as read from an encoded data set."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from ctrloom.data.errors import DamagedDataError
from ctrloom.data.parquet.reader import read_parts
from ctrloom.schema import UNSEEN_CROSS_ID, CountedKeys, Cross, CrossKeys
from ctrloom.storage import Place

_LONGEST = 200  # file systems allow 255 bytes, with ending and while it is written
FIRST_KEPT_ID = UNSEEN_CROSS_ID + 1


def cross_file(pair: tuple[str, ...]) -> str:
    """Path of a pair's vocabulary in a data set; safe and unique for any two field names."""
    # Underscores that could be taken for the separator are escaped.
    a, b = (re.sub("^_|__+|_$", lambda m: "%5F" * len(m[0]), quote(name, safe="")) for name in pair)
    name = f"{a}__{b}"
    if len(name) > _LONGEST:
        name = hashlib.sha256(name.encode()).hexdigest()
    return f"crosses/{name}.parquet"


class StoredCrosses(CrossKeys):
    """The kept keys of each pair of an encoded data set, loaded on access."""

    def __init__(self, folder: Place, crosses: Sequence[Cross]) -> None:
        self.folder = folder
        self.of_pair: dict[tuple[str, ...], Cross] = {cross.fields: cross for cross in crosses}

    def __getitem__(self, pair: tuple[str, ...]) -> CountedKeys:
        """Keys of one pair.

        Raises:
            DamagedDataError: the file is missing, or does not match the schema.
        """
        return _load(self.folder / cross_file(pair), self.of_pair[pair])

    def __iter__(self) -> Iterator[tuple[str, ...]]:
        return iter(self.of_pair)

    def __len__(self) -> int:
        return len(self.of_pair)


def keys_digest(key_K: NDArray[np.int64]) -> str:
    """SHA-256 over keys in id order."""
    return hashlib.sha256(key_K.astype("<i8").tobytes()).hexdigest()


def _load(path: Place, cross: Cross) -> CountedKeys:
    keys, counts = np.empty((2, cross.size - FIRST_KEPT_ID), dtype=np.int64)
    filled = 0
    try:
        for batch in read_parts([path], ["key", "count"]):
            if filled + len(batch) > len(keys):
                break
            keys[filled : filled + len(batch)] = batch.column("key").to_numpy()
            counts[filled : filled + len(batch)] = batch.column("count").to_numpy()
            filled += len(batch)
    except DamagedDataError as error:
        raise DamagedDataError(
            f"{path}: the cross of {cross.fields} cannot be read: {error.__cause__}; "
            "copy the data set or bundle again"
        ) from None
    if filled < len(keys) or keys_digest(keys) != cross.digest:
        raise DamagedDataError(
            f"{path}: the cross of {cross.fields} is not the one in schema.json; copy both from one data set"
        )
    return CountedKeys(keys, counts)
