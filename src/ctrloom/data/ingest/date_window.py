"""Date windows: files with a date in their names."""

import re
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
    every = [until - timedelta(days=back) for back in reversed(range(days))]
    named = {
        split: tuple(name for pattern in patterns for name in _each(pattern, every))
        for split, patterns in config.files.model_dump().items()
    }
    if named == config.files.model_dump():
        raise ConfigError(
            "data.files: no file name contains {date}, which a date window requires; "
            "use for example clicks-{date}.csv or dt={date:%Y%m%d}/*.parquet"
        )
    return config.model_copy(update={"files": Files(**named)})


def _each(pattern: str, days: list[date]) -> list[str]:
    named = (_DATE.sub(lambda m: day.strftime(m[1] or "%Y-%m-%d"), pattern) for day in days)  # noqa: B023
    return list(dict.fromkeys(named))
