"""The same rows twice: links, copies, and one file in two splits."""

from pathlib import Path

from hostile.case import Case, run_yaml
from hostile.text_files import AB, GOOD, HEAD

SAME = r"(twice|duplicate|same (content|file|bytes|rows)|identical)"


def case(name: str, second: object, **files: object) -> Case:
    content = {"clicks.csv": HEAD + GOOD, "copy.csv": second, "other.csv": HEAD + GOOD + "1,q,q\n"}
    return Case(name, {**content, "run.yaml": run_yaml(AB, files=files)}, error=SAME)


def _link(path: Path) -> None:
    path.symlink_to("clicks.csv")


def _hard_link(path: Path) -> None:
    path.hardlink_to(path.with_name("clicks.csv"))


CASES = [
    case("a symbolic link", _link, train=["clicks.csv", "copy.csv"]),
    case("a hard link", _hard_link, train=["clicks.csv", "copy.csv"]),
    case("a copy", HEAD + GOOD, train=["clicks.csv", "copy.csv"]),
    case("a glob and its match", HEAD + GOOD + "0,r,r\n", train=["*.csv", "clicks.csv"]),
    case("a copy in the test split", HEAD + GOOD, train=["clicks.csv"], test=["copy.csv"]),
    case("one file as train and test", "", train=["clicks.csv"], test=["clicks.csv"]),
    case("one file as train and valid", "", train=["other.csv"], valid=["other.csv"], test=["clicks.csv"]),
    case("a link in the test split", _link, train=["clicks.csv"], test=["copy.csv"]),
]
