"""No secrets in pipelines, manifests, Dockerfiles, CI or configurations."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = [
    path
    for folder in (
        "src/ctrloom/runners",
        "components",
        "pipelines",
        "manifests",
        "docker",
        ".github",
        ".ci",
        "configs",
    )
    for path in sorted((ROOT / folder).rglob("*"))
    if path.is_file() and path.suffix != ".pyc"
]
SECRET = re.compile(
    r"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY"
    r"|\bAKIA[0-9A-Z]{16}\b|\bAIza[0-9A-Za-z_-]{35}\b|\bgh[pousr]_[0-9A-Za-z]{36}\b|\bxox[abpr]-[0-9A-Za-z-]{10,}"
    r"|\beyJ[0-9A-Za-z_-]{10,}\.eyJ[0-9A-Za-z_-]{10,}\."  # a JSON web token
    r"|\w://[^/\s:@\[\]]+:[^/\s@\[\]]+@"  # a URL with a password
    r"|(?i:password|secret|token|api_key)[\"']?\s*[:=]\s*[\"']?[0-9A-Za-z+/_-]{16,}"
)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_secret(path):
    assert SECRET.findall(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "text",
    [
        "-----BEGIN RSA PRIVATE KEY-----",
        "AKIA" + "A" * 16,
        "https://user:hunter2@example.com/x",
        "password: 0123456789abcdef0123",
        'TOKEN="' + "a1" * 12 + '"',
    ],
)
def test_secret_is_found(text):
    assert SECRET.search(text)
