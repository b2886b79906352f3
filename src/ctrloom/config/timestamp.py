"""Timestamp columns: formats, units and time zones."""

import re
import zoneinfo
from typing import Literal

from pydantic import ValidationInfo, field_validator

from ctrloom.config.base import StrictModel

TimestampPart = Literal["hour", "weekday", "day", "month"]
TimeUnit = Literal["seconds", "milliseconds", "microseconds", "nanoseconds"]

SHORT = {
    "%F": "%Y-%m-%d",
    "%T": "%H:%M:%S",
    "%R": "%H:%M",
    "%D": "%m/%d/%y",
    "%e": "%d",
    "%h": "%b",
    "%B": "%b",
}
DIRECTIVES = ("%Y", "%y", "%m", "%b", "%d", "%j", "%a", "%A", "%H", "%I", "%p", "%M", "%S", "%f", "%z", "%%")
_INSTEAD = {
    "%Z": "names of time zones are ambiguous; set `timezone`, or use %z for offsets such as +09:00",
    "%s": "leave `format` out for numbers since 1970, and set `unit` if they are not seconds",
}


class Timestamp(StrictModel):
    """A timestamp: a number since 1970 (UTC) in a `unit`, or text in the strptime `format`.

    Times without an offset are those of `timezone`, and so are hours and days derived from any timestamp.
    """

    kind: Literal["timestamp"] = "timestamp"
    format: str | None = None
    unit: TimeUnit = "seconds"
    timezone: str = "UTC"
    derive: tuple[TimestampPart, ...] = ()  # added as fields <column>_hour, ...

    @field_validator("format")
    @classmethod
    def _every_directive_counts(cls, format: str | None) -> str | None:
        if format is None:
            return None
        used = re.findall(r"%.?", expanded(format), re.DOTALL)
        for directive in used:
            if directive not in DIRECTIVES:
                hint = _INSTEAD.get(directive, f"use some of {' '.join((*DIRECTIVES, *SHORT))}")
                raise ValueError(f"{format!r}: {directive} is not supported: {hint}")
            if directive != "%%" and used.count(directive) > 1:
                raise ValueError(f"{format!r}: {directive} occurs twice")
        if not {"%Y", "%y"} & {*used}:
            raise ValueError(f"{format!r}: has no year; add %Y or %y")
        if ("%I" in used) != ("%p" in used):
            raise ValueError(
                f"{format!r}: %I (hours to 12) and %p (AM or PM) need each other; %H has hours to 23"
            )
        return format

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        try:
            zoneinfo.ZoneInfo(name)
        except (KeyError, ValueError, OSError):  # no such zone, or not a name
            raise ValueError(f"{name!r} is not a time zone; use a name such as UTC or Asia/Tokyo") from None
        return name

    @field_validator("unit")
    @classmethod
    def _unit_of_numbers(cls, unit: TimeUnit, info: ValidationInfo) -> TimeUnit:
        if info.data.get("format") is not None and unit != "seconds":
            raise ValueError("applies to numbers since 1970; leave it out, or leave `format` out")
        return unit


def expanded(format: str) -> str:
    """The format without short forms of others."""
    return re.sub(r"%.?", lambda found: SHORT.get(found[0], found[0]), format, flags=re.DOTALL)
