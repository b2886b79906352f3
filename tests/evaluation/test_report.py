import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import pytest
from invented_results import made_up

from ctrloom.evaluation.results import Results
from ctrloom.report.render import render
from ctrloom.search_trace import SearchTrace

HOSTILE = (
    "<script>alert(1)</script>",
    '" onload="alert(2)',
    "$\\frac{a}{$ & co",
    "--> </svg></style><img src=http://example.com/x>",
    "x\x00y\nz",
    "用户类别",
    "a_name_that_goes_on_and_on_" * 4,
    "plain",
)
SECTIONS = {"found", "models", "way", "cost", "data", "notes", "provenance"}
VOID = {"meta", "br", "img"}


@dataclass
class Page(HTMLParser):
    """The page, as a browser parses it."""

    tags: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    open: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open.pop() != tag:  # </li> and the like may be left out
            pass

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text.append(data)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


def page(results: Results, trace: SearchTrace | None, folder: Path) -> tuple[str, Page]:
    render(results, trace, folder / "report.html")
    source = (folder / "report.html").read_text(encoding="utf-8")
    parsed = Page()
    parsed.feed(source)
    return source, parsed


@pytest.fixture(scope="module")
def frappe() -> tuple[Results, SearchTrace]:
    return made_up()


@pytest.fixture(scope="module")
def shown(frappe: tuple[Results, SearchTrace], tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Page]:
    """The page of `frappe`."""
    return page(*frappe, tmp_path_factory.mktemp("report"))


def test_all_sections_are_there(frappe: tuple[Results, SearchTrace], shown: tuple[str, Page]) -> None:
    source, parsed = shown
    assert {attrs["id"] for tag, attrs in parsed.tags if tag == "section"} == SECTIONS
    assert sum(tag == "svg" for tag, _ in parsed.tags) == 7
    for text in (
        *(
            "AutoFM beats FM",
            "9 of 45 pairs",
            "user",
            "DeLong",
            "Holm",
            "Pearson",
            "9f2c9f2c",
            "0.1.0+b081127",
        ),
        *(model.title for model in frappe[0].models),
        f"{frappe[0].model('autofm').summary['test']['auc'].mean:.4f}",
    ):
        assert text in parsed.words, text
    assert len(source) < 500_000


@pytest.mark.parametrize("third", [False, True])
def test_page_has_no_external_resources_and_no_scripts(third: bool, tmp_path: Path) -> None:
    source, parsed = page(*made_up(fields=HOSTILE, kept=6, third=third), tmp_path)
    assert not {tag for tag, _ in parsed.tags} & {"script", "link", "iframe", "object", "img", "base", "form"}
    for tag, attrs in parsed.tags:
        assert not [name for name in attrs if name.startswith("on")], (tag, attrs)
        for name in ("href", "xlink:href", "src", "action", "data"):
            assert (attrs.get(name) or "#").startswith(("#", "data:image/png;base64,")), (tag, attrs)
        assert not re.search(r"url\((?!#)", attrs.get("style") or ""), (tag, attrs)
    style = source[source.index("<style>") : source.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    assert "<script>alert(1)</script>" in parsed.words  # shown, as text
    assert "用户类别" in parsed.words


def test_figures_are_deterministic(
    frappe: tuple[Results, SearchTrace], shown: tuple[str, Page], tmp_path: Path
) -> None:
    assert page(*frappe, tmp_path)[0] == shown[0]


def test_figures_refer_only_to_their_own_ids(shown: tuple[str, Page]) -> None:
    source, _ = shown
    figures = [figure[: figure.index("</svg>")] for figure in source.split("<svg ")[1:]]
    owned = [set(re.findall(r' id="([^"]+)"', figure)) for figure in figures]
    assert sum(map(len, owned)) == len(set.union(*owned)) > 0
    for figure, own in zip(figures, owned, strict=True):
        assert set(re.findall(r'(?<=url\(#)[^)]+|(?<=xlink:href="#)[^"]+', figure)) <= own


def test_worse_model_is_reported_and_nothing_is_marked(tmp_path: Path) -> None:
    _, parsed = page(*made_up(gain=-0.3), tmp_path)
    assert "AutoFM is worse than FM" in parsed.words
    assert "below FM" in parsed.words
    assert "No model is marked" in parsed.words
    assert not [attrs for tag, attrs in parsed.tags if tag == "tr" and "winner" in (attrs.get("class") or "")]


def test_difference_that_is_not_significant_is_reported(tmp_path: Path) -> None:
    _, parsed = page(*made_up(gain=0.0, rows=1000), tmp_path)
    assert "No difference shown between AutoFM and FM" in parsed.words
    assert "is not significant" in parsed.words


def test_report_notes_a_single_seed(tmp_path: Path) -> None:
    _, parsed = page(*made_up(seeds=1), tmp_path)
    assert "One seed only." in parsed.words
    assert "±" not in parsed.words


def test_triples_are_ranked_and_pairs_mapped(tmp_path: Path) -> None:
    _, parsed = page(*made_up(third=True), tmp_path)
    assert "9 of 45 pairs and 4 of 120 triples" in parsed.words
    assert "Triples kept, strongest first: 4 of 120" in parsed.words


def test_planted_interactions_are_compared(frappe: tuple[Results, SearchTrace], tmp_path: Path) -> None:
    results, trace = frappe
    kept = [c.fields for c in trace.candidates if c.kept]
    dropped = next(c.fields for c in trace.candidates if not c.kept)
    planted = (*kept[:2], dropped, ("user", "item", "city"))
    _, parsed = page(results, trace.model_copy(update={"planted": planted}), tmp_path)
    assert "The search found 2 of 3 planted interactions and kept 7 others." in parsed.words
    assert "Of an order not searched 1 user × item × city" in parsed.words


def test_many_fields_stay_small(tmp_path: Path) -> None:
    source, parsed = page(*made_up(fields=tuple(f"C{i}" for i in range(39)), kept=180), tmp_path)
    assert "180 of 741 pairs" in parsed.words
    assert "170 more" in parsed.words
    assert len(source) < 800_000


def test_report_without_a_search(frappe: tuple[Results, SearchTrace], tmp_path: Path) -> None:
    _, parsed = page(frappe[0], None, tmp_path)
    assert {attrs["id"] for tag, attrs in parsed.tags if tag == "section"} == SECTIONS - {"found"}


def test_report_of_a_search_that_kept_nothing(frappe: tuple[Results, SearchTrace], tmp_path: Path) -> None:
    results, trace = frappe
    nothing = tuple(c.model_copy(update={"score": 0.0, "kept": False}) for c in trace.candidates)
    bare = {"path_steps": (), "path_scores": (), "path_threshold": ()}
    _, parsed = page(results, trace.model_copy(update={"candidates": nothing, **bare}), tmp_path)
    assert "The search kept 0 of 45 pairs." in parsed.words
    assert "none was kept" in parsed.words


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_browser_renders_without_errors(tmp_path: Path) -> None:
    page(*made_up(fields=HOSTILE, kept=6), tmp_path)
    flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
    flags += "--disable-background-networking --disable-component-update --enable-logging=stderr"
    command = ["chromium", *flags.split(), f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]
    done = subprocess.run(
        [*command, (tmp_path / "report.html").as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "CONSOLE" not in done.stderr
    shown = Page()
    shown.feed(done.stdout)
    assert "AutoFM beats FM" in shown.words
    assert "<script>alert(1)</script>" in shown.words
    assert {attrs["id"] for tag, attrs in shown.tags if tag == "section"} == SECTIONS
    assert not [tag for tag, _ in shown.tags if tag in ("script", "img")]


def test_statistics_are_plotted_against_gates(
    frappe: tuple[Results, SearchTrace], shown: tuple[str, Page], tmp_path: Path
) -> None:
    results, trace = frappe
    assert "mut. inf." not in shown[1].words
    candidates = tuple(c.model_copy(update={"mutual_information": 0.01234}) for c in trace.candidates)
    _, informed = page(results, trace.model_copy(update={"candidates": candidates}), tmp_path)
    assert "mut. inf." in informed.words
    assert "0.0123" in informed.words
    assert "Gates are not effects" in informed.words


def test_score_shades_range_from_weakest_kept_to_strongest(
    frappe: tuple[Results, SearchTrace], tmp_path: Path
) -> None:
    results, trace = frappe
    kept = {c.fields: 0.6 + 0.01 * i for i, c in enumerate(c for c in trace.candidates if c.kept)}
    candidates = tuple(c.model_copy(update={"score": kept.get(c.fields, 0.5)}) for c in trace.candidates)
    none: dict[str, object] = {"path_steps": (), "path_scores": (), "path_threshold": ()}
    change = {"method": "statistics_auc", "candidates": candidates, **none}
    source, parsed = page(results, trace.model_copy(update=change), tmp_path)
    assert all(f"fill: var(--level-{i})" in source for i in range(7))
    assert "Statistics AUC of all pairs" in parsed.words
    assert "Gates of all pairs" not in parsed.words
