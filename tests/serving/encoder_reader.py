"""A second reader of `encoder.json`, written from docs/export.md alone: raw rows to ids and factors.

Plain Python, without numpy, pyarrow or ctrloom. Raises `MalformedError` for a row that has no score.
"""

import json
import math
import re
import struct
from bisect import bisect_right
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

NUMBER = re.compile(r"[+-]?((\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[nN][aA][nN])", re.ASCII)
CELLS = {"libsvm": r"([^:]+):([^:]+)", "libffm": r"[^:]+:([^:]+):([^:]+)"}
SECOND = {"seconds": 1, "milliseconds": 10**3, "microseconds": 10**6, "nanoseconds": 10**9}
MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
LARGEST_FLOAT32 = 3.4028234663852886e38
PATTERNS = {"Y": r"\d{4}", "j": r"\d{1,3}", "f": r"\d{1,9}", **dict.fromkeys("baAp", "[A-Za-z]+")}
PATTERNS["z"] = r"[Zz]|[+-]\d{2}(?::?\d{2})?"


class MalformedError(Exception):
    """A value that has no encoding."""


class Reader:
    """Encodes rows as mappings of column names to values."""

    def __init__(self, folder: Path) -> None:
        self.spec = json.loads((folder / "encoder.json").read_text(encoding="utf-8"))
        self.missing = set(self.spec["missing_values"])
        self.missing_numbers = {float(m) for m in self.missing if NUMBER.fullmatch(m.strip())}
        self.ids: dict[str, dict[Any, int]] = {}
        for field in self.spec["fields"]:
            ids = field["ids"]
            if ids["by"] == "token":
                lines = (folder / ids["file"]).read_text(encoding="utf-8").split("\n")[:-1]
                self.ids[field["name"]] = {json.loads(line): id for id, line in enumerate(lines, 2)}
            elif ids["by"] == "log_squared":
                self.ids[field["name"]] = {code: id for code, id in ids["ids"]}

    def encode(self, row: Mapping[str, Any]) -> tuple[list[int], list[float]]:
        ids, factors = [], []
        for field in self.spec["fields"]:
            own, factor = self.field(field, self.cell(field["input"], row.get(field["input"]["column"])))
            ids += [field["offset"] + id for id in own]
            factors += [float32(each) for each in factor]
        return ids, factors

    def cell(self, read: dict[str, Any], value: Any) -> Any:
        single = value if isinstance(value, list) and read["kind"] == "multivalued" else [value]
        if any(isinstance(each, list | dict) for each in single):
            raise MalformedError(value)
        if isinstance(value, str) and self.spec["trim"]:
            value = value.strip(" ")
        if self.spec["cells"] in CELLS:
            found = re.fullmatch(CELLS[self.spec["cells"]], value or "")
            if not found:
                raise MalformedError(value)
            value = found[2] if read["kind"] == "numeric" else found[1]
        return value

    def field(self, field: dict[str, Any], value: Any) -> tuple[list[int], list[float]]:
        read, ids, width = field["input"], field["ids"], field["width"]
        if read["kind"] == "multivalued":
            tokens = self.tokens(read, value)[:width]
            known = [self.ids[field["name"]].get(token, 1) for token in tokens]
            if not known:
                return [0] * width, [1.0] + [0.0] * (width - 1)
            factors = [1.0 if ids["pooling"] == "sum" else 1 / len(known)] * len(known)
            return known + [0] * (width - len(known)), factors + [0.0] * (width - len(known))
        if read["kind"] == "numeric":
            number = self.number(read, value)
            if ids["by"] == "number":
                return ([0], [ids["missing_factor"]]) if number is None else ([1], [scaled(ids, number)])
            return [0 if number is None else self.bucket(field, number)], [1.0]
        token = self.part(read, value) if read["kind"] == "timestamp" else self.text(value)
        return [0 if token is None else self.ids[field["name"]].get(token, 1)], [1.0]

    def bucket(self, field: dict[str, Any], number: float) -> int:
        if (ids := field["ids"])["by"] == "boundary":
            return int(ids["ids"][bisect_right(ids["boundaries"], number)])
        code = math.floor(math.log(number) ** 2) if number > 2 else math.floor(max(number, -(2.0**62)))
        return self.ids[field["name"]].get(code, 1)

    def text(self, value: Any) -> str | None:
        if value is None or value != value:
            return None
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, int | float):
            return None if value in self.missing_numbers else number_text(value)
        return None if value in self.missing else value

    def number(self, read: dict[str, Any], value: Any) -> float | None:
        if value is None or (isinstance(value, str) and value in self.missing):
            return None
        if isinstance(value, str):
            value = value.strip()
            if read["decimal"] != "." or read["thousands"] or read["symbol"]:
                value = plain(read, value)
            if not NUMBER.fullmatch(value):
                raise MalformedError(value)
        number = float(value)
        if number != number or number in self.missing_numbers:
            return None
        if math.isinf(number):
            raise MalformedError(value)
        return number

    def tokens(self, read: dict[str, Any], value: Any) -> list[str]:
        if not isinstance(value, list):
            cell = self.text(value) or ""
            value = json_list(cell) if read["format"] == "json" else cell.split(read["separator"])
        return [token for token in map(self.text, value) if token]

    def part(self, read: dict[str, Any], value: Any) -> str:
        seconds = timedelta(seconds=self.instant(read, value))
        local = (datetime(1970, 1, 1, tzinfo=UTC) + seconds).astimezone(ZoneInfo(read["timezone"]))
        return str(local.weekday() if read["part"] == "weekday" else getattr(local, read["part"]))

    def instant(self, read: dict[str, Any], value: Any) -> int:
        if read["format"] is None:
            number = self.number({"decimal": ".", "thousands": None, "symbol": None}, value)
            if number is None:
                raise MalformedError(value)
            instant = int((value if isinstance(value, int) else number) // SECOND[read["unit"]])
        else:
            if value is None:
                raise MalformedError(value)
            instant = parsed(read, value if isinstance(value, str) else number_text(value))
        if not -30_610_224_000 <= instant <= 253_402_300_799:
            raise MalformedError(value)
        return instant


def parsed(read: dict[str, Any], text: str) -> int:
    pattern, digits = "", r"\d{1,2}"
    for part in re.findall(r"%.|[^%]+", read["format"], re.DOTALL):
        if part[0] == "%" and part != "%%":
            pattern += f"(?P<{part[1]}>{PATTERNS.get(part[1], digits)})"
        else:
            pattern += r"\s*".join(map(re.escape, re.split(r"\s+", part.replace("%%", "%"))))
    found = re.fullmatch(pattern, text, re.ASCII)
    if not found:
        raise MalformedError(text)
    got = {"m": "1", "d": "1", "H": "0", "M": "0", "S": "0", **found.groupdict()}
    try:
        year = int(got["Y"]) if "Y" in got else int(got["y"]) + (1900 if int(got["y"]) > 68 else 2000)
        month = MONTHS.index(got["b"].lower()[:3]) + 1 if "b" in got else int(got["m"])
        half = {"am": 0, "pm": 12}[got["p"].lower()] if "p" in got else 0
        hour = int(got["I"]) % 12 + half if "I" in got else int(got["H"])
        local = datetime(year, month, int(got["d"]), hour, int(got["M"]), int(got["S"]))
        if "j" in got:
            local += timedelta(days=int(got["j"]) - 1)
        if local.year != year or not 1 <= int(got.get("I", 1)) <= 12:
            raise ValueError
    except (ValueError, KeyError):
        raise MalformedError(text) from None
    offset = got.get("z") or ("Z" if re.search("%[HMSf]Z", read["format"]) else None)
    if offset is not None:
        hours, minutes = (0, 0) if offset in "Zz" else (int(offset[1:3]), int(offset[3:].lstrip(":") or 0))
        if hours > 23 or minutes > 59:
            raise MalformedError(text)
        shift = timedelta(hours=hours, minutes=minutes) * (-1 if offset[0] == "-" else 1)
        return round((local.replace(tzinfo=UTC) - shift).timestamp())
    instant = local.replace(tzinfo=ZoneInfo(read["timezone"])).astimezone(UTC)
    if instant.astimezone(ZoneInfo(read["timezone"])).replace(tzinfo=None) != local:
        raise MalformedError(text)  # skipped when clocks are set forward
    return round(instant.timestamp())


def plain(read: dict[str, Any], text: str) -> str:
    if re.fullmatch("[nN][aA][nN]", text):
        return text
    mark, symbol = re.escape(read["thousands"] or ""), rf"\s*(?:{re.escape(read['symbol'] or '')})?\s*"
    grouped = rf"\d{{1,3}}(?:{mark}\d{{3}})+|" if mark else ""
    whole = rf"(?P<whole>{grouped}\d*)(?:{re.escape(read['decimal'])}(?P<part>\d*))?"
    pattern = rf"{symbol}(?P<sign>[+-]?){symbol}{whole}(?P<power>(?:[eE][+-]?\d+)?){symbol}"
    found = re.fullmatch(pattern, text, re.ASCII)
    if not found:
        raise MalformedError(text)
    digits = found["whole"].replace(read["thousands"] or "\0", "")
    return f"{found['sign']}{digits}.{found['part'] or ''}{found['power']}"


def json_list(cell: str) -> list[Any]:
    try:
        value = json.loads(cell or "null")
    except (ValueError, RecursionError):
        raise MalformedError(cell) from None
    if value is None:
        return []
    if not isinstance(value, list) or any(isinstance(each, list | dict) for each in value):
        raise MalformedError(cell)
    return value


def number_text(number: float) -> str:
    if math.isinf(number) or number == int(number):
        return str(number if math.isinf(number) else int(number))
    value = Decimal(repr(number))
    if -6 <= value.adjusted() < 10:
        return format(value, "f")
    mantissa, power = f"{value:e}".split("e")
    return f"{mantissa}e{int(power):+d}"


def scaled(ids: dict[str, Any], number: float) -> float:
    if ids["scaling"] == "none":
        return max(-LARGEST_FLOAT32, min(number, LARGEST_FLOAT32))
    if ids["scaling"] == "log":
        return math.copysign(math.log1p(abs(number)), number)
    if ids["scaling"] == "log_squared":
        return math.floor(math.log(number) ** 2) if number > 2 else max(number, -LARGEST_FLOAT32)
    low, high = ids["minimum"], ids["maximum"]
    half = 0.5 if math.isinf(high - low) else 1.0
    low, width = low * half, (high * half - low * half) if high > low else 1.0
    return min(max((number * half - low) / width, 0.0), 1.0)


def float32(number: float) -> float:
    return float(struct.unpack("<f", struct.pack("<f", number))[0])
