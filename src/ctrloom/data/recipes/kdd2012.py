"""KDD Cup 2012, track 2: ads next to search results, joined with user profiles."""

from pathlib import Path

import ibis
from ibis.backends.duckdb import Backend
from ibis.expr.types import Table

from ctrloom import storage
from ctrloom.data.engines.embedded import embedded
from ctrloom.data.recipes.recipe import Layout, Original, Recipe

INSTANCE = [
    *("click", "impression", "display_url", "ad_id", "advertiser_id", "depth", "position"),
    *("query_id", "keyword_id", "title_id", "description_id", "user_id"),
]
USER = ["user_id", "gender", "age"]


def _prepare(folder: Path, to: Path) -> list[Path]:
    """Instances in file order with the profiles of their users, null for unknown users.

    User 0 is unknown. The tables of query, keyword, title and description tokens are not needed: their ids
    are the fields.
    """
    with embedded(to) as engine:
        instances = _table(engine.backend, folder / "training.txt", INSTANCE)
        instances = instances.mutate(user_id=instances.user_id.nullif("0"))
        users = _table(engine.backend, folder / "userid_profile.txt", USER).drop("row")
        rows = instances.left_join(users, "user_id").order_by("row").select(*INSTANCE, *USER[1:])
        with storage.atomic_file(to / "training.parquet") as temporary:
            engine.backend.to_parquet(rows, temporary, compression="zstd")
    return [to / "training.parquet"]


def _table(backend: Backend, file: Path, columns: list[str]) -> Table:
    """A headerless tab-separated table, with the line number in `row`."""
    table = backend.read_csv(
        str(file), delim="\t", quote="", escape="", header=False, columns=dict.fromkeys(columns, "VARCHAR")
    )
    return table.mutate(row=ibis.row_number())


KDD2012_TRACK2 = Recipe(
    name="kdd2012-track2",
    title="KDD Cup 2012, track 2: 149,639,105 rows of ads shown next to the results of soso.com",
    terms="those of the competition on Kaggle: research only, no redistribution",
    citation="Tencent: KDD Cup 2012, Track 2: predict the click-through rate of ads, Kaggle, 2012",
    layouts=(Layout((Original("training.txt"), Original("userid_profile.txt")), _prepare),),
    by_hand=(
        "get track2.zip from https://www.kaggle.com/c/kddcup2012-track2/data (needs an account) and unzip it"
    ),
)
