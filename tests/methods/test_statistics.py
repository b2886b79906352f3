import numpy as np
import torch
from small import schema_of

from ctrloom.data.batches.batch import Batch
from ctrloom.methods.statistics.field_codes import Coder

SCHEMA = schema_of(("categorical", 5), ("multivalued", 6, 2), ("numeric", 2))
OFFSETS = np.array([SCHEMA.offsets[i] for i in SCHEMA.field_of_column])


def rows(ids: list[list[int]], factors: list[list[float]]) -> Batch:
    ids_NC = torch.tensor(np.array(ids) + OFFSETS, dtype=torch.int32)
    return Batch(ids_NC, torch.zeros(len(ids)), torch.tensor(factors))


def test_multivalued_and_numeric_fields_get_codes():
    train = rows(
        [[2, 3, 4, 1], [2, 4, 3, 1], [3, 3, 0, 1], [4, 0, 0, 0]],
        [[1, 0.5, 0.5, 0.1], [1, 0.5, 0.5, 0.9], [1, 1, 0, 0.1], [1, 1, 0, 1]],
    )
    valid = rows([[2, 4, 0, 1]], [[1, 1, 0, 0.9]])
    coder = Coder.fit(SCHEMA, train)
    codes, valid_codes = coder.codes(train), coder.codes(valid)
    assert codes[:, 0].tolist() == [2, 2, 3, 4]
    sets = codes[:, 1]
    assert sets[0] == sets[1]  # the order of values does not matter
    assert len({int(sets[0]), int(sets[2]), int(sets[3]), int(valid_codes[0, 1])}) == 4
    numbers = codes[:, 2]
    assert numbers[0] == numbers[2] != numbers[1] == valid_codes[0, 2]
    assert numbers[3] == -1  # missing
