"""Timestamps and time zones; the truth is Python's datetime and zoneinfo."""

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data_helpers import Write, data_config
from hypothesis import given
from hypothesis import strategies as st

from ctrloom.config import SourceConfig, Timestamp, VocabularyConfig
from ctrloom.config.base import ConfigError
from ctrloom.data.dataset import Dataset
from ctrloom.data.ingest import date_window, splits
from ctrloom.data.ingest.cast import read_rows
from ctrloom.data.ingest.run import ingest
from ctrloom.data.ingest.timestamps import part_of, require_zone, seconds
from ctrloom.data.row_values import row_values
from ctrloom.data.vocabulary.build import build_vocabulary

MISSING = pa.array([""])
ZONES = ["UTC", "Asia/Tokyo", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"]
FORMATS = [
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%dT%H:%M:%S.%f",
    "%d/%b/%Y:%H:%M:%S %z",
    "%y%m%d%H%M%S",
    "%m/%d/%Y %I:%M:%S %p",
    "%a %d.%m.%Y %H:%M:%S,%f%z",
    "%Y-%j %T",
]
TIMES = st.datetimes(datetime(1970, 1, 1), datetime(2037, 12, 31, 23, 59, 59))


def read(values: Any, **config: Any) -> list[int | None]:
    """Seconds of values; None if they are malformed."""
    column = Timestamp.parse(config, "test")
    values = values if isinstance(values, pa.Array) else pa.array(values)
    found, faults = seconds("t", values, column, MISSING)
    bad = np.any([fault.rows for fault in faults], axis=0) if faults else np.zeros(len(values), bool)
    return [None if no else second for second, no in zip(found.to_pylist(), bad, strict=True)]


def whole_seconds(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1)


@given(TIMES, st.sampled_from(FORMATS), st.sampled_from(ZONES), st.integers(-14 * 60, 14 * 60))
def test_a_valid_text_is_read_as_python_reads_it(
    time: datetime, format: str, zone: str, minutes: int
) -> None:
    offset = timedelta(minutes=minutes)
    text = time.replace(tzinfo=ZoneInfo(zone)).strftime(format.replace("%z", ""))
    if "%z" in format:
        hours = f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}{abs(minutes) % 60:02}"
        text = time.strftime(format.replace("%z", hours))
        time = (time - offset).replace(tzinfo=UTC)
    else:
        time = time.replace(tzinfo=ZoneInfo(zone))
        if time.astimezone(UTC).astimezone(time.tzinfo).replace(tzinfo=None) != time.replace(tzinfo=None):
            assert read([text], format=format, timezone=zone) == [None]  # skipped by the clocks
            return
    assert read([text], format=format, timezone=zone) == [whole_seconds(time)]


@pytest.mark.parametrize(
    ("format", "texts"),
    [
        ("%Y-%m-%d", ["2020-02-30", "2021-02-29", "2020-04-31", "2020-13-01", "2020-00-10", "2020-01-00"]),
        ("%Y-%m-%d", ["2020-01-32", "20-01-05", "2020-01-05x", "x2020-01-05", "2020-01", "", "2020/01/05"]),
        ("%d %b %Y", ["30 Feb 2020", "31 Nov 2020", "1 Foo 2020"]),
        ("%Y-%j", ["2021-366", "2020-367", "2020-000"]),
        ("%F %T", ["2020-01-05 24:00:00", "2020-01-05 12:60:00", "2020-01-05 12:00:60", "2020-01-05 1:2"]),
        ("%FT%T%z", ["2020-02-30T10:00:00Z", "2020-02-30T10:00:00-0900", "2020-01-05T10:00:00"]),
        ("%FT%T%z", ["2020-01-05T10:00:00+2500", "2020-01-05T10:00:00+0960", "2020-01-05T10:00:00 CET"]),
        ("%FT%T.%f", ["2020-01-05T10:00:00", "2020-01-05T10:00:00.", "2020-01-05T10:00:00.1x"]),
        ("%FT%TZ", ["2020-01-05T10:00:00", "2020-01-05T10:00:00+0000"]),
    ],
)
def test_an_invalid_text_is_malformed(format: str, texts: list[str]) -> None:
    good = datetime(2020, 1, 3, 12, tzinfo=UTC)
    sound = good.strftime(format.replace("%z", "+0000"))
    midnight = "%H" not in format and "%T" not in format
    expected = whole_seconds(good.replace(hour=0) if midnight else good)
    assert read([sound, *texts, sound], format=format) == [expected, *[None] * len(texts), expected]


@pytest.mark.parametrize("zone", ZONES)
def test_offsets_and_a_final_z_do_not_depend_on_the_time_zone(zone: str) -> None:
    noon = whole_seconds(datetime(2020, 1, 5, 12, tzinfo=UTC))
    texts = ["2020-01-05T12:00:00Z", "2020-01-05T21:00:00+0900", "2020-01-05T21:00:00+09:00"]
    texts += ["2020-01-05T08:30:00-0330", "2020-01-05T13:00:00+01"]
    assert read(texts, format="%Y-%m-%dT%H:%M:%S%z", timezone=zone) == [noon] * 5
    assert read(texts[:1], format="%Y-%m-%dT%H:%M:%SZ", timezone=zone) == [noon]
    assert read(["2020-01-05T12:00:00.999Z"], format="%Y-%m-%dT%H:%M:%S.%fZ", timezone=zone) == [noon]


def test_clocks_of_summer() -> None:
    texts = ["2021-03-28 02:30:00", "2021-03-28 03:00:00", "2021-10-31 02:30:00", "2021-10-31 03:00:00"]
    expected = [
        None,
        *(datetime(2021, *ymdhm, tzinfo=UTC) for ymdhm in ((3, 28, 1), (10, 31, 0, 30), (10, 31, 2))),
    ]
    found = read(texts, format="%Y-%m-%d %H:%M:%S", timezone="Europe/Berlin")
    assert found == [moment and whole_seconds(moment) for moment in expected]


@pytest.mark.parametrize(
    ("unit", "per_second"),
    [("seconds", 1), ("milliseconds", 10**3), ("microseconds", 10**6), ("nanoseconds", 10**9)],
)
def test_numbers_in_every_unit(unit: str, per_second: int) -> None:
    instants = [1413849600, 0, -1, 951782399]
    numbers = [instant * per_second + per_second // 2 for instant in instants]
    assert read(pa.array(numbers, pa.int64()), unit=unit) == instants
    last = datetime(2554, 7, 21, 23, 34, 33, tzinfo=UTC) if unit == "nanoseconds" else None
    assert read(pa.array([numbers[0], 2**64 - 1], pa.uint64()), unit=unit) == [
        instants[0],
        last and whole_seconds(last),
    ]
    assert read(pa.array([float(number) for number in numbers]), unit=unit) == instants
    assert read([str(number) for number in numbers], unit=unit) == instants
    assert read(
        [str(number * 1000) for number in (1413849600 * per_second, 9e12 * per_second)], unit=unit
    ) == [
        None,
        None,
    ]


def test_missing_and_invalid_numbers_are_malformed() -> None:
    assert read(pa.array([1.5, None, float("nan"), float("inf"), 1e300])) == [1, None, None, None, None]
    assert read(["x", "", "7"]) == [None, None, 7]
    assert read(pa.array([None, 3], pa.int32())) == [None, 3]
    assert read(pa.nulls(2)) == [None, None]


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_parquet_times_and_dates(unit: str, zone: str) -> None:
    wall = [datetime(2020, 7, 1, 12, 30), datetime(1969, 12, 31, 12)]
    if unit != "s":
        wall = [moment.replace(microsecond=999_000) for moment in wall]
    local = [whole_seconds(moment.replace(tzinfo=ZoneInfo(zone))) for moment in wall]
    assert read(pa.array(wall, pa.timestamp(unit)), timezone=zone) == local
    aware = [moment.replace(tzinfo=UTC) for moment in wall]
    for other in ("UTC", "Asia/Tokyo"):
        assert read(pa.array(aware, pa.timestamp(unit, other)), timezone=zone) == list(
            map(whole_seconds, aware)
        )
    for type in (pa.date32(), pa.date64()):
        days = pa.array([date(2020, 7, 1), date(1969, 12, 31), None], type)
        midnights = [
            datetime(2020, 7, 1, tzinfo=ZoneInfo(zone)),
            datetime(1969, 12, 31, tzinfo=ZoneInfo(zone)),
        ]
        assert read(days, timezone=zone) == [*map(whole_seconds, midnights), None]


@given(TIMES, st.sampled_from(ZONES))
def test_derived_parts_are_those_of_the_zone(time: datetime, zone: str) -> None:
    instant = whole_seconds(time.replace(tzinfo=UTC))
    there = datetime.fromtimestamp(instant, ZoneInfo(zone))
    expected = {"hour": there.hour, "weekday": there.weekday(), "day": there.day, "month": there.month}
    instants = pa.array([instant])
    assert {part: part_of(instants, part, zone).to_pylist() for part in expected} == {
        part: [str(value)] for part, value in expected.items()
    }


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"format": "%Y-%m-%d %Z"}, "%Z is not supported: names of time zones are ambiguous; set `timezone`"),
        ({"format": "%s"}, "%s is not supported: leave `format` out"),
        ({"format": "%Y-%U"}, "%U is not supported: use some of %Y"),
        ({"format": "%Y-%m-%"}, "% is not supported"),
        ({"format": "%H:%M"}, "has no year"),
        ({"format": "%Y %I:%M"}, "%I (hours to 12) and %p"),
        ({"format": "%Y %H %p"}, "%I (hours to 12) and %p"),
        ({"format": "%Y-%m-%d %F"}, "%Y occurs twice"),
        ({"timezone": "Asia/Tokio"}, "'Asia/Tokio' is not a time zone; use a name such as"),
        ({"timezone": "+09:00"}, "is not a time zone"),
        ({"timezone": "../../etc/passwd"}, "is not a time zone"),
        ({"timezone": ""}, "is not a time zone"),
        ({"format": "%Y", "unit": "milliseconds"}, "unit: applies to numbers since 1970"),
        ({"unit": "ms"}, "unit: must be 'seconds'"),
    ],
)
def test_what_would_be_ignored_is_rejected(config: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        Timestamp.parse(config, "test")
    assert message in str(error.value)


def test_a_system_without_time_zones_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: Any) -> None:
        raise pa.ArrowInvalid("Cannot locate timezone")

    monkeypatch.setattr("pyarrow.compute.local_timestamp", missing)
    require_zone("t.timezone", "UTC")
    with pytest.raises(ConfigError, match=r"t\.timezone: 'Asia/Tokyo' is not in the time zone database"):
        require_zone("t.timezone", "Asia/Tokyo")


@pytest.mark.parametrize(
    ("split_at", "expected"),
    [
        ("2020-03-29", datetime(2020, 3, 28, 23, tzinfo=UTC)),
        ("2020-03-30", datetime(2020, 3, 29, 22, tzinfo=UTC)),
        ("2020-03-30T00:00:00Z", datetime(2020, 3, 30, tzinfo=UTC)),
        ("2020-03-30T00:00:00+09:00", datetime(2020, 3, 29, 15, tzinfo=UTC)),
    ],
)
def test_a_split_by_day_is_by_days_of_the_zone(split_at: str, expected: datetime) -> None:
    time = {"kind": "timestamp", "timezone": "Europe/Berlin"}
    columns = {"click": "label", "user": "categorical", "t": time}
    split = {"by": "time", "valid_from": split_at, "test_from": "2021-01-01"}
    found = splits.instants(data_config({"train": ["a.csv"]}, columns, split=split))
    assert found is not None
    assert found[0] == whole_seconds(expected)


def test_yesterday_is_that_of_the_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime(2020, 5, 1, 20, tzinfo=UTC).astimezone(tz)

    monkeypatch.setattr(date_window, "datetime", Clock)
    assert date_window.last_day("yesterday") == date(2020, 4, 30)
    assert date_window.last_day("yesterday", "Asia/Tokyo") == date(2020, 5, 1)
    assert date_window.last_day("today", "Asia/Tokyo") == date(2020, 5, 2)
    assert date_window.last_day("2020-02-29", "Asia/Tokyo") == date(2020, 2, 29)


def test_days_of_an_evaluation_are_those_of_the_zone(write: Write, tmp_path: Any) -> None:
    moments = [datetime(2020, 1, 1, hour, tzinfo=UTC) for hour in (3, 14, 15, 23)] * 2
    lines = [f"{i // 4},u{i},{whole_seconds(moment) * 1000}\n" for i, moment in enumerate(moments)]
    time = {"kind": "timestamp", "unit": "milliseconds", "timezone": "Asia/Tokyo", "derive": ["hour"]}
    columns = {"click": "label", "user": "categorical", "t": time}
    config = data_config(
        write("a.csv", "click,user,t\n" + "".join(lines)), columns, split={"valid": 0, "test": 0}
    )
    encoded = Dataset.open(
        build_vocabulary(ingest(config, tmp_path / "s"), VocabularyConfig(), tmp_path / "s")
    )
    days = row_values(encoded, "train", "day")
    assert [days.text_K[int(code)].as_py() for code in days.code_N] == [
        str(moment.astimezone(ZoneInfo("Asia/Tokyo")).date()) for moment in moments
    ]
    hours = row_values(encoded, "train", "t_hour")
    assert [hours.text_K[int(code)].as_py() for code in hours.code_N] == ["12", "23", "0", "8"] * 2


@pytest.mark.parametrize(
    ("config", "number", "warned"),
    [
        (
            {"unit": "milliseconds"},
            1413849600,
            "as milliseconds since 1970, they are from 1970-01-17 to 1970-01-17",
        ),
        ({}, 14138496000, "as seconds since 1970, they are from 2418-01-12 to 2418-01-12"),
        ({"unit": "milliseconds"}, 1413849600000, None),
        ({}, 0, None),
    ],
)
def test_an_unlikely_unit_is_reported(
    write: Write, tmp_path: Any, capsys: Any, config: dict[str, str], number: int, warned: str | None
) -> None:
    rows = "".join(f"{i % 2},u{i},{number + i}\n" for i in range(8))
    columns = {"click": "label", "user": "categorical", "t": {"kind": "timestamp", **config}}
    split = {"valid": 0, "test": 0}
    ingest(data_config(write("a.csv", "click,user,t\n" + rows), columns, split=split), tmp_path / "store")
    error = capsys.readouterr().err
    assert (f"warning: t: {warned}; check `unit`" in error) if warned else "warning" not in error


def test_a_malformed_row_names_the_format_and_the_text(write: Write, tmp_path: Any) -> None:
    time = {"kind": "timestamp", "format": "%Y-%m-%d"}
    columns = {"y": "label", "c": "categorical", "t": time}
    source = SourceConfig.parse({"columns": columns}, "test")
    (batch,) = read_rows(source, [write("a.csv", "y,c,t\n1,a,2020-02-30\n0,b,2020-02-29\n")])
    assert [row.reason for row in batch.malformed] == ["t does not fit the format %Y-%m-%d: '2020-02-30'"]
    table = pa.table({"y": [1, 0], "c": ["a", "b"], "t": [20200230, 20200229]})
    pq.write_table(table, tmp_path / "a.parquet")
    columns["t"] = {"kind": "timestamp", "format": "%Y%m%d"}
    source = SourceConfig.parse({"columns": columns, "format": "parquet"}, "test")
    (batch,) = read_rows(source, [str(tmp_path / "a.parquet")])
    assert [row.reason for row in batch.malformed] == ["t does not fit the format %Y%m%d: 20200230"]
