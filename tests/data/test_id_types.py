"""Ids are stored in the smallest type, which does not change training results."""

from dataclasses import replace
from typing import cast

import pyarrow as pa
import pytest
import torch
from small import LITTLE, categorical_schema, rows_of, schema_of

from ctrloom.architecture import Architecture
from ctrloom.data.batches.batch import Batch, Shard
from ctrloom.data.batches.tensors import BatchFiller, to_batch
from ctrloom.data.errors import DataError
from ctrloom.data.manifest import IngestedManifest
from ctrloom.data.vocabulary.build import Fitted, fitted
from ctrloom.data.vocabulary.drift_baseline import FieldReference
from ctrloom.models import build
from ctrloom.schema import Field, Schema
from ctrloom.training.loop import fit, score

SCHEMA = schema_of(("categorical", 30), ("numeric", 2), ("multivalued", 12, 3))


def one_row(schema: Schema) -> pa.RecordBatch:
    """The last id of every field."""
    return pa.record_batch({f.name: pa.array([f.size - 1], pa.int32()) for f in schema.fields})


@pytest.mark.parametrize(
    ("sizes", "stored"), [((2**15 - 5, 5), torch.int16), ((2**15 - 5, 6), torch.int32)], ids=str
)
def test_the_last_id_that_fits(sizes: tuple[int, int], stored: torch.dtype) -> None:
    schema = schema_of(*[("categorical", size) for size in sizes])
    rows = to_batch(schema, one_row(schema))
    assert rows.ids_NC.dtype is stored
    assert rows.ids_NC.tolist() == [[sizes[0] - 1, sum(sizes) - 1]]
    for batch in (*rows.batches(1), *rows.cut(torch.arange(1), [0, 1])):
        assert batch.ids_NC.dtype is torch.int32
        assert batch.ids_NC.tolist() == rows.ids_NC.tolist()


def test_a_table_too_large_for_int32_is_an_error() -> None:
    BatchFiller(schema_of(("categorical", 2**31 - 7), ("categorical", 7)), 0)
    sizes, ingested = {"a": 2**31 - 7, "b": 8}, cast(IngestedManifest, None)
    fields = [Field(name=name, kind="categorical", size=size, column=name) for name, size in sizes.items()]
    with pytest.raises(DataError, match=r"2,147,483,649 values in total.*raise vocabulary.min_count"):
        fitted(ingested, lambda field: Fitted(field, None, FieldReference(missing=0)), fields)


def narrow(rows: Batch) -> Batch:
    return replace(rows, ids_NC=rows.ids_NC.short())


@pytest.mark.parametrize("optimizer", ["adam", "lazy_adam"])
@pytest.mark.parametrize("schema", [SCHEMA, categorical_schema(4, 9)], ids=["mixed", "tokens"])
def test_narrow_ids_are_trained_on_to_the_same_bits(schema: Schema, optimizer: str) -> None:
    train, valid = rows_of(schema, 700), rows_of(schema, 300, 1)
    hyper = LITTLE.model_copy(update={"embedding_optimizer": optimizer})

    def trained(train: Batch, valid: Batch) -> tuple[dict[str, torch.Tensor], list[float]]:
        torch.manual_seed(0)
        model = build("deepfm", Architecture.complete(schema.names), schema, hyper)
        fit(model, train, valid, hyper, 0, "test")
        return model.state_dict(), score(model, valid).tolist()

    (wide, scores), (short, same) = trained(train, valid), trained(narrow(train), narrow(valid))
    assert scores == same
    assert all(torch.equal(wide[name], short[name]) for name in wide)


def test_parts_and_halves_stay_narrow_until_they_are_cut() -> None:
    rows = narrow(rows_of(SCHEMA, 40))
    part, order = Shard.of(rows[:25], 0, 40), torch.arange(40)
    half = part.take(order[::2])
    assert half.ids_NC.dtype is rows.take(order[::2]).ids_NC.dtype is torch.int16
    assert {batch.ids_NC.dtype for batch in half.cut(torch.arange(20), [0, 15, 20])} == {torch.int32}
