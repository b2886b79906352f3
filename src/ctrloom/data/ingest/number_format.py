"""Numbers as they are written elsewhere: `$1,234.50`, `1.234,5`, `12 %`."""

import re

import pyarrow as pa
import pyarrow.compute as pc

from ctrloom.config import Numeric
from ctrloom.data.ingest.tokens import is_text

_UNREADABLE = "\0"  # neither a number nor a missing value


def plain_numbers(values: pa.Array, column: Numeric, missing: pa.Array) -> pa.Array:
    """Texts of numbers as `1234.5`; those that do not have the format of the column are no numbers."""
    if column == Numeric() or not is_text(values.type):
        return values
    values = values.cast(pa.string())
    decimal, thousands = re.escape(column.decimal), re.escape(column.thousands or "")
    grouped = rf"[0-9]{{1,3}}(?:{thousands}[0-9]{{3}})+|" if thousands else ""
    symbol = rf"\s*(?:{re.escape(column.symbol)})?\s*" if column.symbol else r"\s*"
    expression = (
        rf"^{symbol}(?P<sign>[+-]?){symbol}(?P<whole>{grouped}[0-9]*)"
        rf"(?:{decimal}(?P<fraction>[0-9]*))?(?P<exponent>(?:[eE][+-]?[0-9]+)?){symbol}$"
    )
    parts = pc.extract_regex(values, expression)
    names = ("sign", "whole", "fraction", "exponent")
    sign, whole, fraction, exponent = (pc.struct_field(parts, name) for name in names)
    if column.thousands:
        whole = pc.replace_substring(whole, column.thousands, "")
    plain = pc.binary_join_element_wise(sign, whole, ".", fraction, exponent, "")
    as_given = pc.or_(pc.is_in(values, missing), pc.match_substring_regex(values, r"^\s*[nN][aA][nN]\s*$"))
    return pc.if_else(as_given, values, pc.coalesce(plain, _UNREADABLE))  # null stays null
