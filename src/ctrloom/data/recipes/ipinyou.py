"""iPinYou: real-time bidding logs of the second and third season, impressions joined with their clicks."""

import csv
import gzip
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from ctrloom import storage
from ctrloom.data.recipes.recipe import Layout, Original, Recipe
from ctrloom.progress import progress

LOG = [
    *("bidid", "timestamp", "logtype", "ipinyouid", "useragent", "ip", "region", "city", "adexchange"),
    *("domain", "url", "urlid", "slotid", "slotwidth", "slotheight", "slotvisibility", "slotformat"),
    *("slotprice", "creative", "bidprice", "payprice", "keypage", "advertiser", "usertag"),
]
COLUMNS = [
    *("click", "time", "os_browser", "ip", "region", "city", "adexchange", "domain", "slotid", "slotwidth"),
    *("slotheight", "slotvisibility", "slotformat", "slotprice", "creative", "advertiser"),
]
# The first match in a user agent is used: Chrome also contains "Safari".
SYSTEMS = ("windows", "ios", "mac", "android", "linux")
BROWSERS = ("chrome", "sogou", "maxthon", "safari", "firefox", "theworld", "opera", "ie")
_CHUNK = 100_000


def os_browser(agent: str) -> str:
    """Operating system and browser of a user agent, for example `windows_chrome`."""
    agent = agent.lower()
    return "_".join(next((n for n in names if n in agent), "other") for names in (SYSTEMS, BROWSERS))


def _prepare(folder: Path, to: Path) -> list[Path]:
    clicked = {
        key
        for part in _CLICKS.within(folder)
        for log in _read(part, LOG, ["bidid", "creative"])
        for key in _keys(log)
    }

    def training() -> Iterator[pd.DataFrame]:
        for part in _IMPRESSIONS.within(folder):
            for log in _read(part, LOG):
                yield log.assign(click=_keys(log).isin(clicked).astype(int))

    def testing() -> Iterator[pd.DataFrame]:
        for part in _TESTS.within(folder):
            for log in _read(part, [*LOG, "clicks", "conversions"]):
                yield log.assign(click=(log["clicks"] != "0").astype(int))

    return [_written(training(), to / "train.tsv.gz"), _written(testing(), to / "test.tsv.gz")]


def _keys(log: pd.DataFrame) -> pd.Series:
    """Unique keys of impressions: one bid may show several creatives."""
    return log["bidid"] + " " + log["creative"]


def _read(file: Path, columns: list[str], wanted: list[str] | None = None) -> Iterator[pd.DataFrame]:
    """Read a log without header in chunks."""
    with pd.read_csv(
        file,
        sep="\t",
        names=columns,
        usecols=wanted or columns,
        index_col=False,
        dtype=str,
        keep_default_na=False,
        quoting=csv.QUOTE_NONE,
        encoding_errors="replace",
        chunksize=_CHUNK,
    ) as pieces:
        yield from pieces


def _written(logs: Iterator[pd.DataFrame], file: Path) -> Path:
    with (
        storage.atomic_file(file) as temporary,
        gzip.GzipFile(temporary, "wb", compresslevel=6, mtime=0) as stream,
        progress(file.name, None) as advance,
    ):
        for number, log in enumerate(logs):
            agents = {agent: os_browser(agent) for agent in log["useragent"].unique()}
            log = log.assign(os_browser=log["useragent"].map(agents), time=log["timestamp"].str[:10])
            log[COLUMNS].to_csv(stream, sep="\t", index=False, header=number == 0)
            advance(len(log))
    return file


_CLICKS, _IMPRESSIONS = Original("training[23]*/clk.*"), Original("training[23]*/imp.*")
_TESTS = Original("testing[23]*/*.txt*")
IPINYOU = Recipe(
    name="ipinyou",
    title="iPinYou: 15,395,258 impressions to train and 4,100,716 to test of seasons 2 and 3, 16 fields",
    terms="those of iPinYou's contest data: research use; cite the publication",
    citation=(
        "Liao, Peng, Liu, Shen: iPinYou Global RTB Bidding Algorithm Competition Dataset. ADKDD 2014; "
        "Zhang, Yuan, Wang, Shen: Real-Time Bidding Benchmarking with iPinYou Dataset, arXiv:1407.7073, 2014"
    ),
    layouts=(Layout((_CLICKS, _IMPRESSIONS, _TESTS), _prepare),),
    by_hand=(
        "unzip ipinyou.contest.dataset.zip (see https://github.com/Atomu2014/make-ipinyou-data), "
        "which contains training2nd, training3rd, testing2nd and testing3rd"
    ),
)
