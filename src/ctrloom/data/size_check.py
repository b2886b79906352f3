"""Comparison of the sizes of a data set with published ones."""

from collections.abc import Iterable, Mapping

from ctrloom.config import Expected, Split
from ctrloom.schema import FIRST_TOKEN_ID


def compared(expected: Expected, sizes: Iterable[int], rows: Mapping[Split, int]) -> list[str]:
    """One line per size with its difference from the expected one; not an error, as conventions differ.

    Args:
        expected: What was published.
        sizes: Ids of each field, including the reserved ones, which are not counted as features.
        rows: Rows of each split.
    """
    sizes = list(sizes)
    lines = [f"Sizes, compared with {expected.source}:", _line("fields", len(sizes), expected.fields)]
    if expected.features is not None:
        features = sum(size - FIRST_TOKEN_ID for size in sizes)
        lines.append(_line("features", features, expected.features))
    for split, number in expected.rows.items():
        found = sum(rows.values()) if split == "all" else rows[split]
        lines.append(_line("rows" if split == "all" else f"{split} rows", found, number))
    return lines


def _line(what: str, found: int, expected: int) -> str:
    if found == expected:
        return f"  {what}: {found:,}, as expected"
    apart = abs(found - expected)
    word = "fewer" if found < expected else "more"
    share = f"{apart / expected:.2%}" if apart / expected >= 5e-5 else "less than 0.01%"
    return f"  {what}: {found:,}, {apart:,} {word} than the {expected:,} expected ({share})"
