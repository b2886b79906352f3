"""The encoder of a bundle as data: `encoder.json` and `tokens/`, as docs/export.md specifies them."""

import json
import math
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ctrloom import storage
from ctrloom.config import Keep, LogSquared, Multivalued, Numeric, SourceConfig, Timestamp
from ctrloom.config.timestamp import expanded
from ctrloom.data.vocabulary.bucketing import bucket_labels
from ctrloom.data.vocabulary.encode import Encoder, Vocabulary
from ctrloom.schema import FIRST_TOKEN_ID, UNSEEN_ID, Field

ENCODER, TOKENS = "encoder.json", "tokens"


def write_encoder(folder: Path, encoder: Encoder) -> None:
    """Write `encoder.json`, and in `tokens/` the tokens of each field that has any."""
    schema, fields, column = encoder.schema, [], 0
    (folder / TOKENS).mkdir()
    for field, offset in zip(schema.fields, schema.offsets, strict=True):
        vocabulary = encoder.vocabularies.get(field.name)
        fields.append(
            {
                "name": field.name,
                "offset": offset,
                "size": field.ids,
                "column": column,
                "width": field.width,
                "input": _input(field, schema.source),
                "ids": _ids(folder, field, vocabulary),
            }
        )
        column += field.width
    storage.write_json(
        folder / ENCODER,
        {
            "version": 2,
            "schema_fingerprint": schema.fingerprint,
            "missing_values": list(schema.source.missing_values),
            "trim": schema.source.trim,
            "cells": schema.source.format if schema.source.has_indices else "values",
            "columns": column,
            "factors": schema.has_factors,
            "negatives_kept": schema.negatives_kept,
            "logit_shift": math.log(schema.negatives_kept),
            "fields": fields,
        },
    )


def _input(field: Field, source: SourceConfig) -> dict[str, Any]:
    """The raw column of a field, and how its values are read."""
    column = source.columns[field.column]
    read: dict[str, Any] = {"column": field.column, "kind": column.kind}
    if isinstance(column, Numeric):
        read |= {"decimal": column.decimal, "thousands": column.thousands, "symbol": column.symbol}
    elif isinstance(column, Multivalued):
        read |= {"format": column.format, "separator": column.separator}
    elif isinstance(column, Timestamp):
        format = None if column.format is None else expanded(column.format)
        read |= {"format": format, "unit": column.unit, "timezone": column.timezone, "part": field.derived}
    return read


def _ids(folder: Path, field: Field, vocabulary: Vocabulary | None) -> dict[str, Any]:
    """How a value of a field gets its id, or its factor."""
    if isinstance(field.bucketing, Keep):
        low, high = field.boundaries or (None, None)
        scaling = {"scaling": field.bucketing.scaling, "minimum": low, "maximum": high}
        return {"by": "number", **scaling, "missing_factor": field.missing_factor}
    assert vocabulary is not None, "only kept numbers have no vocabulary"
    tokens = vocabulary.tokens.to_pylist()
    if field.bucketing is None:
        name = f"{TOKENS}/{quote(field.name, safe='')}.jsonl"
        lines = (json.dumps(token, ensure_ascii=False) + "\n" for token in tokens)
        (folder / name).write_text("".join(lines), encoding="utf-8", newline="\n")
        pooling = {"pooling": field.pooling} if field.kind == "multivalued" else {}
        return {"by": "token", "file": name, **pooling}
    id_of = {token: id for id, token in enumerate(tokens, FIRST_TOKEN_ID)}
    if isinstance(field.bucketing, LogSquared):
        return {"by": "log_squared", "ids": [[int(token), id] for token, id in id_of.items()]}
    labels = bucket_labels(field.bucketing, field.boundaries, range(len(field.boundaries) + 1))
    ids = [id_of.get(label, UNSEEN_ID) for label in labels]
    return {"by": "boundary", "boundaries": list(field.boundaries), "ids": ids}
