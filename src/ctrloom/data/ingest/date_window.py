"""Data by day: files whose names have a date in them."""

import re
from datetime import UTC, date, datetime, timedelta

from ctrloom.config import DataConfig, Files
from ctrloom.config.base import ConfigError

_DATE = re.compile(r"\{date(?::([^{}]+))?\}")


def last_day(text: str) -> date:
    """A day as ISO 8601, `today` or `yesterday` (UTC).

    Raises:
        ConfigError: it is none of them.
    """
    today = datetime.now(UTC).date()
    if text in ("today", "yesterday"):
        return today - timedelta(days=text == "yesterday")
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"until: {text!r} is no day; give one as 2026-11-30, or yesterday") from None


def windowed(config: DataConfig, until: date, days: int) -> DataConfig:
    """The data of `days` days, `until` the last: `{date}` in the names of files stands for each of them.

    `{date:%Y/%m/%d}` is written as strftime does.

    Raises:
        ConfigError: no file has a date in its name.
    """
    every = [until - timedelta(days=back) for back in reversed(range(days))]
    named = {
        split: tuple(name for pattern in patterns for name in _each(pattern, every))
        for split, patterns in config.files.model_dump().items()
    }
    if named == config.files.model_dump():
        raise ConfigError(
            "data.files: no name has {date} in it, so a window cannot be taken; "
            "write for example clicks-{date}.csv or dt={date:%Y%m%d}/*.parquet"
        )
    return config.model_copy(update={"files": Files(**named)})


def _each(pattern: str, days: list[date]) -> list[str]:
    named = (_DATE.sub(lambda m: day.strftime(m[1] or "%Y-%m-%d"), pattern) for day in days)  # noqa: B023
    return list(dict.fromkeys(named))
