"""Prose uses plain technical English: no phrase of a list that readers stumble over."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXCLUDED = ("benchmarks/results/", "src/ctrloom/runners/", "CHANGELOG.md", "tests/test_english.py")

# An expression, in which a space also matches a line break in a comment or between string literals, and
# what to write instead.
PHRASES = {
    r"told apart|tell(s|ing)?( [\w']+){1,4} apart": "distinguished by, identified by, factorized as",
    r"(is|are|was|were) told (by|the|how|which|what|of)|told by": "receives, is given; identified by",
    r"(stand|stands|stood|standing) (twice|once|elsewhere|alone)|what stands": "appears, is; duplicate",
    r"beside": "next to, compared with",
    r"by turns": "interleaved, alternating",
    r"(set|sets|put|puts|written|writes|laid|lies|lay|moved|kept)( \w+){0,3} aside": (
        "quarantines; writes to a temporary file; skips"
    ),
    r"(to|can|could|may) mend": "fix",
    r"by (itself|themselves)": "on its own, standalone, individually",
    r"(say|says|said) so": "reports, warns, states",
    r"says which": "reports, lists, shows",
    r"is said to be": "is marked as, is",
    r"the clock(?! rate| frequency| speed)|by a clock": "the scheduler, a recurring run; wall time",
    r"(go|goes|went|going|gone) on (where|from|with)": "resumes, continues",
    r"whoever|somebody": "another process, the caller",
    r"nobody (looks|asks|checks)": "no check is made, it is not used",
    r"memory (does|do|did|can|could) ?not hold": "larger than memory",
    r"of (before|now)(?! that| then)": "previous, current",
    r"as hard": "equally, with the same effort",
    r"(row|rows|table|tables) (that )?(move|moves|moved|moving)": "rows (the whole table) are updated",
    r"(move|moves|moving) (\w+ )?(rows|tables|row|table)": "updates rows, updates the whole table",
    r"hears|(is|was|has|have) heard": "receives",
    r"(is|are) there to be": "exists to",
    r"(has|have|had) (a|any|no) part in": "takes part in, applies to",
    r"over again": "again, repeated",
}
GAP = r"""(?:[\s#]|"\s+[fr]*")+"""
COMPILED = {
    re.compile(r"\b(?:" + expression.replace(" ", GAP) + r")\b", re.IGNORECASE): instead
    for expression, instead in PHRASES.items()
}


def found(text: str) -> Iterator[tuple[int, str, str]]:
    """Line, phrase and suggestion of each occurrence."""
    for expression, instead in COMPILED.items():
        for match in expression.finditer(text):
            yield text.count("\n", 0, match.start()) + 1, " ".join(match[0].split()), instead


def tracked() -> list[str]:
    command = ["git", "ls-files", "*.py", "*.md", "*.jinja", "*.yaml", "Makefile"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs git and a checkout")
    return [name for name in listed.splitlines() if not name.startswith(EXCLUDED) and (ROOT / name).is_file()]


def test_no_file_has_a_listed_phrase() -> None:
    names = tracked()
    assert {"README.md", "Makefile", "src/ctrloom/cli/__init__.py"} <= set(names)
    complaints = [
        f"{name}:{line}: {phrase!r}; write: {instead}"
        for name in names
        for line, phrase, instead in sorted(found((ROOT / name).read_text(encoding="utf-8")))
    ]
    assert not complaints, "\n" + "\n".join(complaints)


@pytest.mark.parametrize(
    ("text", "line", "phrase"),
    [
        ("Tells\n    the user's rows apart", 1, "Tells the user's rows apart"),
        ("a\nTokens are told apart as numbers.", 2, "told apart"),
        ("# Values are told\n# apart by number.", 1, "told # apart"),
        ('raise ValueError("a seed stands "\n    f"twice: {seed}")', 1, 'stands " f"twice'),
        ("Puts broken lines aside.", 1, "Puts broken lines aside"),
        ("def beside() -> None: ...", 1, "beside"),
        ("It goes on where it was.", 1, "goes on where"),
        ("Rows that memory does not hold are streamed.", 1, "memory does not hold"),
        ("Runs are started by the clock.", 1, "the clock"),
        ("the figures of before", 1, "of before"),
    ],
)
def test_a_planted_phrase_is_found(text: str, line: int, phrase: str) -> None:
    assert (line, phrase) in [(where, what) for where, what, _ in found(text)]


@pytest.mark.parametrize(
    "text",
    [
        "The column stands for a field; nobody owns it.",
        "aside = path.with_suffix('.new')",
        "Besides, I1..I13 stands for thirteen columns, and `{date}` stands for a day.",
        "the clock rate of the GPU",
        "We recommend the amended file.",
        "The row is removed; the model moves to the device.",
    ],
)
def test_other_text_is_not_found(text: str) -> None:
    assert list(found(text)) == []
