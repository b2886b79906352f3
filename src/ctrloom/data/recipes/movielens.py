"""MovieLens 100k: ratings joined with user and film attributes."""

from pathlib import Path

import pandas as pd

from ctrloom.data.recipes.recipe import Layout, Original, Recipe, zipped
from ctrloom.data.recipes.tables import joined, write_tsv

_RATING = ["user", "item", "rating", "timestamp"]
_USER = ["user", "age", "gender", "occupation", "zip_code"]
COLUMNS = [*_RATING, *_USER[1:], "release_year", "genres"]
_GENRES = [
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama"),
    *("Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War"),
    "Western",
]


def _from_tables(folder: Path, to: Path) -> list[Path]:
    """Read the tables in the format of GroupLens."""
    ratings = pd.read_csv(folder / "u.data", sep="\t", names=_RATING, dtype=str)
    users = pd.read_csv(folder / "u.user", sep="|", names=_USER, dtype=str)
    about = ["item", "title", "released", "video", "address", *_GENRES]
    items = pd.read_csv(
        folder / "u.item", sep="|", names=about, dtype=str, encoding="latin-1", keep_default_na=False
    )
    items["release_year"] = items["title"].str.extract(r"\((\d{4})\)\s*$")[0]
    flags = items[_GENRES] == "1"
    items["genres"] = ["|".join(g for g, on in zip(_GENRES, row, strict=True) if on) for row in flags.values]
    return _joined(ratings, users, items, to)


def _from_recbole(folder: Path, to: Path) -> list[Path]:
    """Read RecBole's atomic files: tab-separated, types in the header."""
    tables = {}
    for part in ("inter", "user", "item"):
        table = pd.read_csv(folder / f"ml-100k.{part}", sep="\t", dtype=str, keep_default_na=False)
        tables[part] = table.rename(columns=lambda name: name.split(":")[0].removesuffix("_id"))
    items = tables["item"].rename(columns={"class": "genres"})
    items["genres"] = items["genres"].str.replace(" ", "|")
    return _joined(tables["inter"], tables["user"], items, to)


def _joined(ratings: pd.DataFrame, users: pd.DataFrame, items: pd.DataFrame, to: Path) -> list[Path]:
    return [write_tsv(joined(ratings, users, items)[COLUMNS], to / "movielens-100k.tsv")]


_TABLES = Layout(
    (
        Original("u.data", sha256="06416e597f82b7342361e41163890c81036900f418ad91315590814211dca490"),
        Original("u.item", sha256="553841ebc7de3a0fd0d6b62a204ea30c1e651aacfb2814c7a6584ac52f2c5701"),
        Original("u.user"),
    ),
    _from_tables,
)
MOVIELENS_100K = Recipe(
    name="movielens-100k",
    title="MovieLens 100k: 100,000 ratings of 1,682 films by 943 users, with user and film attributes",
    terms="no redistribution without permission; no commercial use; acknowledge GroupLens in publications",
    citation=(
        "Harper, Konstan: The MovieLens Datasets: History and Context. ACM TiiS 5(4), 2015, "
        "doi:10.1145/2827872"
    ),
    layouts=(
        zipped(
            Original(
                "ml-100k.zip",
                "https://files.grouplens.org/datasets/movielens/ml-100k.zip",
                sha256="50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229",
            ),
            "ml-100k",
            _TABLES,
        ),
        _TABLES,
        Layout(
            (
                Original(
                    "ml-100k.inter",
                    sha256="4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff",
                ),
                Original(
                    "ml-100k.item",
                    sha256="51d7cdf777ce5c0f5b32c1d947a4a81fe07d75e78abbe761e0cd4d0756064532",
                ),
                Original(
                    "ml-100k.user",
                    sha256="4f670007d9cfbeb9807e757209af1555b9bcc186bde25e767f67cb67c6dd5972",
                ),
            ),
            _from_recbole,
        ),
    ),
)
