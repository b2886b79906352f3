"""Date windows: files with a date in their names."""

import re
from collections.abc import Iterable
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from ctrloom.config import DataConfig, Files
from ctrloom.config.base import ConfigError

_DATE = re.compile(r"\{date(?::([^{}]+))?\}")


def last_day(text: str, zone: str = "UTC") -> date:
    """Parse an ISO 8601 date, `today` or `yesterday` in a time zone.

    Raises:
        ConfigError: it is none of these.
    """
    today = datetime.now(ZoneInfo(zone)).date()
    if text in ("today", "yesterday"):
        return today - timedelta(days=text == "yesterday")
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"until: {text!r} is not a date; use 2026-11-30, or yesterday") from None


def windowed(config: DataConfig, until: date, days: int) -> DataConfig:
    """The data of `days` days up to and including `until`: `{date}` in file names is replaced by each day.

    `{date:%Y/%m/%d}` is formatted by strftime.

    Raises:
        ConfigError: no file name contains `{date}`.
    """
    named = {split: _replaced(patterns, until, days) for split, patterns in config.files.model_dump().items()}
    if named == config.files.model_dump():
        raise _without_date("data.files")
    return config.model_copy(update={"files": Files(**named)})


def in_window(patterns: tuple[str, ...], until: date, days: int, key: str) -> tuple[str, ...]:
    """The files of a window, as in `windowed`, with `/./` before the part that has the date.

    So the names of what is made of them, which are relative to this place, have the date, too.

    Raises:
        ConfigError: no file name contains `{date}`; the message names `key`.
    """
    marked = tuple(re.sub(r"/(?=[^/]*\{date)", "/./", pattern, count=1) for pattern in patterns)
    named = _replaced(marked, until, days)
    if named == patterns:
        raise _without_date(key)
    return named


def _without_date(key: str) -> ConfigError:
    return ConfigError(
        f"{key}: no file name contains {{date}}, which a date window requires; "
        "use for example clicks-{date}.csv or dt={date:%Y%m%d}/*.parquet"
    )


def _replaced(patterns: Iterable[str], until: date, days: int) -> tuple[str, ...]:
    every = [until - timedelta(days=back) for back in reversed(range(days))]
    return tuple(name for pattern in patterns for name in _each(pattern, every))


def _each(pattern: str, days: list[date]) -> list[str]:
    named = (_DATE.sub(lambda m: day.strftime(m[1] or "%Y-%m-%d"), pattern) for day in days)  # noqa: B023
    return list(dict.fromkeys(named))
