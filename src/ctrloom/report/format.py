"""Number formatting."""

from collections.abc import Sequence

from ctrloom.evaluation.significance import Comparison


def fixed(value: float, digits: int = 4) -> str:
    """`0.9712`, with a real minus sign."""
    return f"{value:.{digits}f}".replace("-", "−")


def signed(value: float, digits: int = 4) -> str:
    """`+0.0031` or `−0.0002`."""
    return f"{value:+.{digits}f}".replace("-", "−")


def count(value: float) -> str:
    """`12 345`, grouped by thin spaces."""
    return f"{value:,.0f}".replace(",", "\u202f")


def percent(value: float) -> str:
    """`33.3 %`."""
    return f"{100 * value:.1f}\u202f%"


def change(value: float) -> str:
    """`+0.49 %` or `−0.02 %`."""
    return f"{signed(100 * value, 2)}\u202f%"


def p_value(p: float) -> str:
    """`p = 0.041`, or `p < 0.001`."""
    text = "< 0.001" if p < 0.001 else f"= {p:.3f}" if p < 0.1 else f"= {p:.2f}"
    return f"p {text}".replace(" ", "\u00a0")


def interval(test: Comparison) -> str:
    """`95 % CI +0.0021 to +0.0040`, which agrees with the adjusted p."""
    low, high = test.interval
    return f"{level(test.confidence)} CI {signed(low)} to {signed(high)}"


def inline(title: str) -> str:
    """A title within a sentence: `AutoFM (random selection)` for `AutoFM, random selection`."""
    name, comma, addition = title.partition(", ")
    return f"{name} ({addition})" if comma else title


def listed(names: Sequence[str], most: int = 3) -> str:
    """`A, B and C`; beyond `most` of them, `A, B, C and 4 more`."""
    shown = list(names) if len(names) <= most + 1 else [*names[:most], f"{len(names) - most} more"]
    return " and ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else "".join(shown)


def level(confidence: float) -> str:
    """`95 %`."""
    return f"{100 * confidence:g}\u202f%"


def rate(per_second: float) -> str:
    """`412 k/s`, three significant digits."""
    for factor, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if per_second >= factor:
            return f"{per_second / factor:.3g}\u202f{unit}/s"
    return f"{per_second:.3g}/s"


def duration(seconds: float) -> str:
    """`83 s`, `12 min 5 s` or `2 h 5 min`."""
    if seconds < 99.5:
        return f"{seconds:.3g}\u202fs"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 100:
        return f"{minutes}\u202fmin {rest}\u202fs"
    return f"{minutes // 60}\u202fh {minutes % 60}\u202fmin"
