"""Settings on the command line, and other options of commands."""

import shlex

from hostile.case import Case
from hostile.configs import CLICKS, DATA, NAME

FILES = {"clicks.csv": CLICKS, "run.yaml": NAME + DATA}


def setting(name: str, given: str, error: str = "", *more: str) -> Case:
    """`--set` with one text or several."""
    settings = " ".join(f"--set {shlex.quote(each)}" for each in (given, *more))
    return Case(name, FILES, f"ingest run.yaml --store store {settings}", error)


def command(name: str, given: str, error: str, files: dict[str, str] | None = None) -> Case:
    """Another command."""
    return Case(name, files if files is not None else FILES, given, error)


def comparison(name: str, error: str, entry: str) -> Case:
    """A comparison of `lr` with another entry, which is noticed before anything trains."""
    entries = f"entries: [{{name: lr, model: lr}}, {entry}]\nevaluation: {{base: lr}}\n"
    files = {"cmp.yaml": NAME + DATA + entries, "clicks.csv": CLICKS}
    return Case(name, files, "compare cmp.yaml --output out", error)


CASES = [
    setting("a valid one", "search.epochs=3"),
    setting("no value", "search.epochs", r"--set search\.epochs: write KEY=VALUE"),
    setting("no key", "=3", r"(--set|key)"),
    setting("empty value", "search.epochs=", r"search\.epochs"),
    setting("empty part", "search..epochs=3", r"search\.\.epochs|unknown key ''|search\."),
    setting("a dot at the end", "search.=3", r"search"),
    setting("unknown section", "serch.epochs=3", r"unknown key 'serch'.*'search'"),
    setting("unknown key", "search.epoch=3", r"unknown key 'epoch'.*'epochs'"),
    setting("below a value", "name.first=x", r"name"),
    setting("below a list", "seeds.0=1", r"seeds"),
    setting("the same key twice", "search.epochs=3", r"search\.epochs.*one value", "search.epochs=4"),
    setting("a key and its section", "search.epochs=3", r"search.*one value", "search=4"),
    setting("an open bracket", "seeds=[1,", r"--set seeds: .*not YAML"),
    setting("an object of Python", "seeds=!!python/object:x.Y", r"--set seeds"),
    setting("duplicate keys", "models.default={epochs:1,epochs:2}", r"models\.default"),
    setting(
        "duplicate keys with spaces", "models.default={epochs: 1, epochs: 2}", r"models\.default.*duplicate"
    ),
    setting("nan", "models.default.learning_rate=.nan", r"learning_rate"),
    setting("inf", "models.default.learning_rate=.inf", r"learning_rate"),
    setting("a bomb", "seeds=" + "[" * 5000, r"--set seeds"),
    setting("an integer of 5,000 digits", "seeds=[" + "1" * 5000 + "]", r"seeds"),
    setting("yes for text", "name=yes", r"name.*quote"),
    setting("1 for text", "name=1", r"name.*quote"),
    setting("a date of February 30", "name=2026-02-30", r"name"),
    setting("an alias", "seeds=*x", r"seeds"),
    setting("a NUL", "name=a\\0b", r"name"),
    command("unknown command", "ingst run.yaml", r"ingst"),
    command("no configuration", "ingest", r"missing argument|CONFIG"),
    command("unknown option", "ingest run.yaml --stroe x", r"--stroe"),
    command("a store that is a file", "ingest run.yaml --store clicks.csv", r"clicks\.csv"),
    command("a store below a file", "ingest run.yaml --store clicks.csv/x", r"clicks\.csv"),
    command("a store in /proc", "ingest run.yaml --store /proc/x", r"/proc"),
    command(
        "a manifest that is missing",
        "vocabulary run.yaml --ingested gone.json --store store",
        r"gone\.json: cannot be read",
    ),
    command(
        "a manifest that is a CSV", "vocabulary run.yaml --ingested clicks.csv --store store", r"clicks\.csv"
    ),
    command(
        "a manifest of another kind",
        "vocabulary run.yaml --ingested {assets}/encoded/manifest.json --store store",
        r"manifest\.json.*is not a manifest of ingested data|kind",
    ),
    command("a data set that is missing", "search run.yaml --dataset gone --output x", r"gone"),
    command(
        "a search that is missing",
        "retrain {assets}/run.yaml --dataset {assets}/encoded/manifest.json --search gone --output x",
        r"gone",
    ),
    command(
        "runs that are missing",
        "evaluate {assets}/run.yaml --dataset {assets}/encoded/manifest.json --search gone --runs gone "
        "--output x",
        r"gone",
    ),
    command("synth without rows", "synth --output x --set rows=0", r"rows"),
    command("synth of too many rows", "synth --output x --set rows=1e30", r"rows"),
    command("synth of unknown settings", "synth --output x --set row=3", r"'row'.*'rows'"),
    command("synth of too many fields", "synth --output x --set fields=1000000000", r"fields"),
    command("a day that is none", "ingest-window run.yaml --until 2026-02-30", r"(2026-02-30|run\.yaml)"),
    command("unknown data set", "data get netflix", r"netflix"),
    command("a comparison that is a run", "compare run.yaml", r"run\.yaml"),
    command(
        "a run that is a comparison",
        "run cmp.yaml",
        r"cmp\.yaml",
        {"cmp.yaml": NAME + "entries: []\n" + DATA},
    ),
    command(
        "a baseline that is missing",
        "regression cmp.yaml --baseline gone.json",
        r"gone\.json.*--accept|--accept",
        {
            "cmp.yaml": NAME + DATA + "entries: [{name: lr, model: lr}]\nevaluation: {base: lr}\n",
            "clicks.csv": CLICKS,
        },
    ),
    comparison("an entry without crosses", r"cross", "{name: o, search: {method: optinter}}"),
    comparison(
        "two entries of one name", r"lr.*(duplicate|twice)|(duplicate|twice).*lr", "{name: lr, model: lr}"
    ),
    comparison("a name that leaves the folder", r"\.\./up|name", "{name: ../up, model: lr}"),
]
