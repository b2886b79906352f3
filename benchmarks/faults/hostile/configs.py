"""Configurations: YAML that is damaged, ambiguous or absurd."""

from typing import Any

import yaml

from hostile.case import Case, Content

DATA = "data:\n  files: clicks.csv\n  columns: {click: label, a: categorical, b: categorical}\n"
NAME = "name: hostile\n"
CLICKS = "click,a,b\n" + "1,x,y\n0,x,z\n" * 60
BOMB = "".join(f"x{i}: &x{i} [{', '.join([f'*x{i - 1}'] * 10) if i else 'lol'}]\n" for i in range(10))


def case(name: str, config: Content, error: str = "", warning: str = "", **more: Any) -> Case:
    """A whole `run.yaml`."""
    files = {"clicks.csv": CLICKS, "run.yaml": config, **more.pop("files", {})}
    return Case(name, files, error=error, warning=warning, **more)


def key(name: str, path: str, value: Any, error: str, **more: Any) -> Case:
    """A run with one key set in `run.yaml`."""
    raw: dict[str, Any] = yaml.safe_load(NAME + DATA)
    section = raw
    *parents, last = path.split(".")
    for parent in parents:
        section = section.setdefault(parent, {})
    section[last] = value
    return case(name, yaml.safe_dump(raw, sort_keys=False), error, **more)


CASES = [
    case("empty", "", r"run\.yaml: .*must contain the sections"),
    case("a list", "- name\n", r"run\.yaml: must contain the sections"),
    case("a number", "3\n", r"run\.yaml: must contain the sections"),
    case("binary", bytes(range(256)), r"run\.yaml.*is not UTF-8"),
    case("UTF-16", (NAME + DATA).encode("utf-16"), r"run\.yaml"),
    case("latin-1", NAME.replace("hostile", "caf\u00e9").encode("latin-1") + DATA.encode(), r"run\.yaml"),
    case("a byte order mark", b"\xef\xbb\xbf" + (NAME + DATA).encode()),
    case("tabs", "name: hostile\ndata:\n\tfiles: clicks.csv\n", r"run\.yaml: is not YAML.*line 3"),
    case("an open bracket", NAME + "data: {files: [clicks.csv\n", r"run\.yaml: is not YAML"),
    case("two documents", NAME + DATA + "---\n" + NAME, r"run\.yaml: is not YAML"),
    case("duplicate key", NAME + DATA + NAME, r"duplicate key 'name'"),
    case("duplicate key within", NAME + DATA + "  files: other.csv\n", r"duplicate key 'files'"),
    case(
        "an object of Python",
        NAME + DATA + "x: !!python/object/apply:os.system ['true']\n",
        r"run\.yaml.*tag .* is not supported",
    ),
    case("an alias bomb", NAME + DATA + BOMB, r"run\.yaml.*(alias|too (large|many)|unknown key)"),
    case("an alias to itself", NAME + DATA + "search: &s {base: *s}\n", r"run\.yaml"),
    case("nested 100,000 deep", NAME + DATA + "x: " + "[" * 100_000, r"run\.yaml.*(nested|deep|not YAML)"),
    case(
        "nested 2,000 deep",
        NAME + DATA + "x: " + "[" * 2_000 + "]" * 2_000,
        r"run\.yaml.*(nested|deep|not YAML|unknown key)",
    ),
    case(
        "a merge key",
        NAME
        + "x-base: &b {files: clicks.csv}\n"
        + "data:\n  <<: *b\n  columns: {click: label, a: categorical, b: categorical}\n",
        r"x-base",
    ),
    case(
        "a merge key within",
        NAME
        + "data:\n  <<: {files: clicks.csv}\n  columns: {click: label, a: categorical, b: categorical}\n",
    ),
    case("a directory", lambda path: path.mkdir(), r"run\.yaml: cannot be read"),
    case(
        "no such file", NAME + DATA, r"gone\.yaml: cannot be read", command="ingest gone.yaml --store store"
    ),
    case("extends no file", "extends: base.yaml\n" + NAME + DATA, r"base\.yaml: cannot be read"),
    case("extends itself", "extends: run.yaml\n" + NAME + DATA, r"extends itself"),
    case(
        "extends in a circle",
        "extends: base.yaml\n" + NAME + DATA,
        r"extends itself",
        files={"base.yaml": "extends: run.yaml\n"},
    ),
    case("extends a list", "extends: [base.yaml]\n" + NAME + DATA, r"run\.yaml.*extends|cannot be read"),
    case("extends the device zero", "extends: /dev/zero\n" + NAME + DATA, r"/dev/zero"),
    case("no data", NAME, r"run\.yaml: data"),
    case("no name", DATA, r"run\.yaml: name"),
    case("unknown section", NAME + DATA + "serch: {}\n", r"unknown key 'serch'; did you mean 'search'"),
    case("null section", NAME + DATA + "search:\n", r"run\.yaml: search"),
    key("a name that is a path", "name", "../up", r"run\.yaml: name"),
    key("an empty name", "name", "", r"run\.yaml: name"),
    key("a number as a name", "name", 3, r"run\.yaml: name"),
    key("no label", "data.columns", {"a": "categorical"}, r"exactly one column must be of kind label"),
    key(
        "two labels",
        "data.columns",
        {"a": "label", "click": "label", "b": "categorical"},
        r"exactly one column.*found a, click",
    ),
    key("no field", "data.columns", {"click": "label"}, r"no column is a field"),
    key(
        "unknown kind",
        "data.columns",
        {"click": "label", "a": "categorial", "b": "ignored"},
        r"data\.columns\.a.*did you mean 'categorical'",
    ),
    key(
        "30 million columns",
        "data.columns",
        {"click": "label", "f0..f30000000": "categorical"},
        r"f0\.\.f30000000",
    ),
    key("columns 9..1", "data.columns", {"click": "label", "f9..f1": "categorical"}, r"empty range"),
    key(
        "columns twice",
        "data.columns",
        {"click": "label", "f1..f3": "categorical", "f2": "numeric"},
        r"duplicate column 'f2'",
    ),
    key("columns of 10**30", "data.columns", {"click": "label", f"f0..f{10**30}": "categorical"}, r"f0\.\."),
    key("a column named ..", "data.columns", {"click": "label", "..": "categorical"}, r"\.\."),
    key(
        "a column with a slash",
        "data.columns",
        {"click": "label", "../../x": "categorical"},
        r"(no column|x)",
    ),
    key("no format", "data.format", "json", r"data\.format: must be 'csv'"),
    key("true as a format", "data.format", True, r"data\.format"),
    key("a share of 2", "data.split", {"valid": 2}, r"data\.split\.valid"),
    key("shares of more than all", "data.split", {"valid": 0.6, "test": 0.6}, r"data\.split"),
    key("a share that is NaN", "data.split", {"valid": float("nan")}, r"data\.split\.valid"),
    key("malformed below 0", "data.max_malformed", -1, r"data\.max_malformed"),
    key("true as a share", "data.max_malformed", True, r"data\.max_malformed"),
    key("a split by time without a time", "data.split", {"by": "time"}, r"needs a column of kind timestamp"),
    key("yes as a missing value", "data.missing_values", [True], r"data\.missing_values.*quote"),
    key("1 as a missing value", "data.missing_values", [1], r"data\.missing_values.*quote"),
    key(
        "yes as the positive label",
        "data.columns",
        {"click": {"kind": "label", "positive": True}, "a": "categorical", "b": "ignored"},
        r"positive.*quote",
    ),
    key(
        "1 as the positive label",
        "data.columns",
        {"click": {"kind": "label", "positive": 1}, "a": "categorical", "b": "ignored"},
        r"positive.*quote",
    ),
    key(
        "a separator of nothing",
        "data.columns",
        {"click": "label", "a": {"kind": "multivalued", "separator": ""}, "b": "ignored"},
        r"separator",
    ),
    key("infinite learning rate", "models.default.learning_rate", float("inf"), r"models.*learning_rate"),
    key("learning rate NaN", "models.default.learning_rate", float("nan"), r"models.*learning_rate"),
    key("learning rate true", "models.default.learning_rate", True, r"models.*learning_rate"),
    key("learning rate 0", "models.default.learning_rate", 0, r"models.*learning_rate"),
    key("a billion dimensions", "models.default.embedding_size", 10**9, r"models.*embedding_size"),
    key("embedding size 1e30", "models.default.embedding_size", 1e30, r"models.*embedding_size"),
    key("embedding size true", "models.default.embedding_size", True, r"models.*embedding_size"),
    key("half a dimension", "models.default.embedding_size", 2.5, r"models.*embedding_size"),
    key("a layer of 0", "models.default.hidden", [0], r"models.*hidden"),
    key("a layer of a billion", "models.default.hidden", [10**9], r"models.*hidden"),
    key("10,000 layers", "models.default.hidden", [8] * 10_000, r"models.*hidden"),
    key("dropout 1", "models.default.dropout", 1.5, r"models.*dropout"),
    key("no epochs", "models.default.epochs", 0, r"models.*epochs"),
    key("a batch of no rows", "models.default.batch_size", 0, r"models.*batch_size"),
    key("unknown setting", "models.default.learning_rat", 1, r"did you mean 'learning_rate'"),
    key("unknown model", "models.deepfn", {}, r"models.*deepfn"),
    key("unknown baseline", "baselines", ["ml"], r"baselines"),
    key("a baseline twice", "baselines", ["fm", "fm"], r"baselines.*(twice|duplicate)"),
    key("unknown transfer", "transfer", ["xyz"], r"transfer"),
    key("no seeds", "seeds", [], r"seeds"),
    key("a seed twice", "seeds", [1, 1], r"seeds.*(duplicate|twice)"),
    key("a negative seed", "seeds", [-1], r"seeds"),
    key("a seed of 100 digits", "seeds", [10**100], r"seeds"),
    key("unknown method", "search.method", "autofiss", r"search\.method.*did you mean 'autofis'"),
    key("a hundred million nodes", "search", {"method": "autopi", "nodes": 10**8}, r"search\.nodes"),
    key(
        "a setting of another method",
        "search",
        {"method": "autofis", "nodes": 3},
        r"search.*unknown key 'nodes'",
    ),
    key("order 5", "search.order", 5, r"search\.order"),
    key("keep nothing", "search", {"method": "random", "keep": {}}, r"search\.keep"),
    key("min_count 0.5", "vocabulary.min_count", 0.5, r"vocabulary\.min_count"),
    key(
        "a field that does not exist",
        "vocabulary.fields",
        {"z": {"min_count": 2}},
        r"z",
        command="vocabulary run.yaml --store store",
    ),
    key("a base that is not trained", "evaluation.base", "dcn", r"evaluation\.base"),
    key("a bootstrap of -1", "evaluation.bootstrap", -1, r"evaluation\.bootstrap"),
    key("a bootstrap of 10**12", "evaluation.bootstrap", 10**12, r"evaluation\.bootstrap"),
    key("no truth", "evaluation.truth", "gone.json", r"gone\.json", command="run run.yaml --output out"),
    key("files as a number", "data.files", 3, r"data\.files"),
    key("files as null", "data.files", None, r"data\.files"),
    key(
        "files of an unknown split",
        "data.files",
        {"train": "clicks.csv", "dev": "clicks.csv"},
        r"data\.files.*'dev'",
    ),
    key("a delimiter that is a number", "data.delimiter", 1, r"data\.delimiter"),
    key("engine unknown", "engine", "ray", r"engine"),
    case(
        "an integer of 5,000 digits",
        NAME + DATA + f"  max_malformed: {'1' * 5000}\n",
        r"run\.yaml.*(digits|max_malformed)",
    ),
    case("a date as a name", "name: 2026-11-30\n" + DATA, r"run\.yaml: line 1.*date.*quote"),
    case("010 as a name", "name: 010\n" + DATA, r"run\.yaml: line 1.*quote"),
    case("a number in base 60", NAME + DATA + "seeds: [1:30]\n", r"run\.yaml: line 5.*base 60"),
    case("a date of February 30", "name: 2026-02-30\n" + DATA, r"run\.yaml"),
    case("a binary scalar", NAME + DATA + "x: !!binary '@@@'\n", r"run\.yaml"),
    case("a set", NAME + DATA + "baselines: !!set {lr, fm}\n", r"run\.yaml|baselines"),
    case("a key that is a list", NAME + DATA + "? [a, b]\n: 1\n", r"run\.yaml"),
    case("a key that is a number", NAME + DATA + "1: 2\n", r"run\.yaml"),
    case("a key that is null", NAME + DATA + "~: 2\n", r"run\.yaml"),
    case(
        "a column of 300 characters",
        NAME + DATA.replace("a: categ", "a" * 300 + ": categ"),
        r"a{20}.*(long|characters|bytes)",
        files={"clicks.csv": CLICKS.replace("click,a", "click," + "a" * 300)},
    ),
]
