"""Warnings about tokens that look like other spellings of one value, like lists, or unlike held-out ones.

They are checked on the vocabulary of a field, not on rows.
"""

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from ctrloom.config import Column, Multivalued
from ctrloom.schema import Field

_ABSENT = ("nan", "NaN", "NAN", "NaT", "null", "NULL", "None", "none", "N/A", "n/a", "#N/A", "<NA>", "\\N")
MOST = 0.5  # more unseen values in held-out rows than in training
_SEPARATORS = (",", ";", "|", "\t", " ")
_TRUTH = (("true", "True", "TRUE"), ("false", "False", "FALSE"))


def spelling_warnings(field: Field, tokens: pa.StringArray) -> Iterator[str]:
    """One sentence per kind of suspicious spelling; `tokens` are those of a field without buckets."""
    if found := _pairs(tokens, _whole(tokens)):
        yield (
            f"{field.name}: {found} occur as different values; write whole numbers in one way, as integers "
            "or in Parquet, where both are one value"
        )
    if found := _pairs(tokens, pc.utf8_trim_whitespace(tokens)):
        yield f"{field.name}: {found} occur as different values; remove the spaces around values"
    for spellings in _TRUTH:
        if len(several := _those_in(tokens, spellings)) > 1:
            yield f"{field.name}: {_listed(several)} occur as different values; write them in one way"
    if absent := _those_in(tokens, _ABSENT):
        yield (
            f"{field.name}: {_listed(absent)} {'is a value' if len(absent) == 1 else 'are values'} like any "
            "other; if no value is meant, add it to data.missing_values"
        )


def _whole(tokens: pa.StringArray) -> pa.StringArray:
    """Whole numbers without decimal point and negative zero; other tokens as they are."""
    whole = pc.match_substring_regex(tokens, r"^-?\d+\.0+$|^-0$")
    if not pc.any(whole).as_py():
        return tokens
    plain = pc.replace_substring_regex(pc.replace_substring_regex(tokens, r"\.0+$", ""), r"^-0$", "0")
    return pc.if_else(whole, plain, tokens)


def _pairs(tokens: pa.StringArray, plain: pa.StringArray) -> str | None:
    """The most frequent token that occurs in its plain form, too; both quoted, and the number of others."""
    changed = pc.not_equal(tokens, plain)
    if not pc.any(changed).as_py():
        return None
    forms = plain.filter(changed)
    both = pc.is_in(forms, value_set=tokens)
    if not (number := pc.sum(both).as_py()):
        return None
    form, token = (each.filter(both)[0].as_py() for each in (forms, tokens.filter(changed)))
    return f"{form!r} and {token!r}" + (f" (and {number - 1:,} more such pairs)" if number > 1 else "")


def _those_in(tokens: pa.StringArray, spellings: tuple[str, ...]) -> list[str]:
    return tokens.filter(pc.is_in(tokens, value_set=pa.array(spellings))).to_pylist()


def _listed(spellings: list[str]) -> str:
    *others, last = map(repr, spellings)
    return f"{', '.join(others)} and {last}" if others else last


def list_warnings(field: Field, tokens: pa.StringArray, column: Column, longest: int | None) -> Iterator[str]:
    """At most one sentence on cells that look like lists, but are not divided as such.

    `longest` is the length of the longest list of a multi-valued field.
    """
    separated = isinstance(column, Multivalued) and column.format == "separated"
    begin, end = (
        pc.fill_null(pc.match_substring_regex(tokens, each), False) for each in (r"^\s*\[", r"\]\s*$")
    )
    brackets = min(pc.sum(begin).as_py() or 0, pc.sum(end).as_py() or 0)
    if brackets and (separated or brackets > len(tokens) / 2):
        example = tokens.filter(begin)[0].as_py()
        yield (
            f"{field.name}: values such as {example!r} look like JSON lists; set {{kind: multivalued, "
            "format: json}, and write the values in double quotes"
        )
    elif isinstance(column, Multivalued) and separated and longest == 1:
        for other in _SEPARATORS:
            share = pc.mean(pc.match_substring(tokens, other)).as_py() or 0
            if share > 0.5:
                yield (
                    f"{field.name}: no cell has the separator {column.separator!r}, but most have {other!r}; "
                    "set the separator of the column"
                )
                return


def unseen_warnings(field: Field, known_in_training: float, held_out: int, known: int) -> Iterator[str]:
    """A sentence if most of the `held_out` values of validation and test rows are not among the `known`."""
    unseen, before = 1 - known / max(held_out, 1), 1 - known_in_training
    if held_out and unseen - before > MOST:
        yield (
            f"{field.name}: {unseen:.1%} of the values of validation and test rows are unseen ({before:.1%} "
            "in training); compare type and spelling in their files, or leave out a field of ever new values"
        )
