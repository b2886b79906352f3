"""Passwords and signatures in URLs: used to read files, and hidden in all that is written or printed.

`hidden` takes them out of a URL and remembers them in this process and its children; `revealed` puts them
back where a file is opened. All in between (configurations, manifests, messages) has only `***`.
"""

import json
import os
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

MARK = "***"
REMEMBERED = "CTRLOOM_URL_SECRETS"  # environment variable: JSON with the secrets of each hidden URL, in order
SHORTEST = 8  # characters of what is hidden anywhere in a text; shorter ones would hide words
MOST = 100_000  # characters; Linux takes 131,071 in one variable
CREDENTIALS = (
    "CTRLOOM_TOKEN",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
)
_NAMES = (  # of parameters, in lower or upper case
    r"[\w.-]*(?:signature|token|passw(?:or)?d|secret|credential|api[_-]?key|access[_-]?key)[\w.-]*"
    r"|sig|key|pwd|pass|code|auth|authorization"
)
_SECRET = re.compile(
    rf"(?P<user>(?<=://)[^/\s?#\"'<>]+(?=@))|(?<=[?&;])(?P<name>(?:{_NAMES})=)(?P<value>[^&;#\s\"'<>]+)", re.I
)
_DATE = re.compile(r"\\{date[^}]*\\?}")  # in an escaped pattern: what a date window replaces


def redacted(text: str) -> str:
    """A text without the secrets of the URLs in it, and without remembered ones and credentials."""
    text = _SECRET.sub(lambda match: f"{match['name'] or ''}{MARK}", text)
    credentials = [os.environ[name] for name in CREDENTIALS if len(os.environ.get(name, "")) >= SHORTEST]
    for secret in (*_remembered_values(os.environ.get(REMEMBERED, "")), *credentials):
        text = text.replace(secret, MARK)
    return text


def has_secret(text: str) -> bool:
    """True if a URL in a text has a secret, hidden or not."""
    return _SECRET.search(text) is not None


def reject_secrets(values: Mapping[Any, Any], excluded: tuple[str, ...] = (), path: str = "") -> None:
    """Raise ValueError for a URL with a secret in a value, but not in those of the keys `excluded`."""
    for key, value in values.items():
        where = f"{path}{key}"
        inner = dict(enumerate(value)) if isinstance(value, list | tuple) else value
        if where.startswith(excluded):
            continue
        if isinstance(inner, Mapping):
            reject_secrets(inner, excluded, f"{where}.")
        elif isinstance(value, str) and has_secret(value):
            raise ValueError(
                f"{where}: has a password or signature in a URL, which is copied into what is made with the "
                "configuration; give the process or the service account access instead"
            )


def hidden(location: str) -> str:
    """A path or URL without its secrets, which `revealed` gives back in this process and in its children.

    Raises:
        ValueError: there are more of them than the environment of a process can hold.
    """
    secrets = [match["user"] or match["value"] for match in _SECRET.finditer(location)]
    if not secrets or MARK in secrets:
        return location
    shown = _SECRET.sub(lambda match: f"{match['name'] or ''}{MARK}", location)
    every = json.dumps({**_remembered(os.environ.get(REMEMBERED, "")), shown: secrets})
    if len(every) > MOST:
        raise ValueError("too many URLs with a password or signature; copy the files to a folder or a store")
    os.environ[REMEMBERED] = every
    return shown


def revealed(location: str) -> str:
    """A location with the secrets that `hidden` took out; dates may have replaced `{date}` since then."""
    if MARK not in location:
        return location
    for shown, secrets in _remembered(os.environ.get(REMEMBERED, "")).items():
        if shown == location or re.fullmatch(_DATE.sub(r"[^?#@]*", re.escape(shown)), location):
            parts = location.split(MARK)
            return parts[0] + "".join(map("".join, zip(secrets, parts[1:], strict=True)))
    return location


@lru_cache(8)
def _remembered(variable: str) -> dict[str, list[str]]:
    return dict(json.loads(variable)) if variable else {}


@lru_cache(8)
def _remembered_values(variable: str) -> tuple[str, ...]:
    """The secrets, and passwords alone, the longest first."""
    secrets = [secret for each in _remembered(variable).values() for secret in each]
    parts = {part for secret in secrets for part in (secret, secret.partition(":")[2])}
    every = {part for part in parts if len(part) >= SHORTEST}
    return tuple(sorted(every, key=len, reverse=True))
