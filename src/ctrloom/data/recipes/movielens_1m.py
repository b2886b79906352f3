"""MovieLens 1M: ratings joined with user and film attributes."""

import csv
from pathlib import Path

import pandas as pd

from ctrloom.data.recipes.recipe import Layout, Original, Recipe, zipped
from ctrloom.data.recipes.tables import joined, write_tsv

COLUMNS = {
    "ratings.dat": ["user", "item", "rating", "timestamp"],
    "users.dat": ["user", "gender", "age", "occupation", "zip_code"],
    "movies.dat": ["item", "title", "genres"],
}


def _prepare(folder: Path, to: Path) -> list[Path]:
    ratings, users, movies = (_table(folder / name, columns) for name, columns in COLUMNS.items())
    movies["release_year"] = movies.pop("title").str.extract(r"\((\d{4})\)\s*$")[0]
    return [write_tsv(joined(ratings, users, movies), to / "movielens-1m.tsv")]


def _table(file: Path, columns: list[str]) -> pd.DataFrame:
    return pd.read_csv(
        file,
        sep="::",
        engine="python",  # required for a separator of two characters
        names=columns,
        dtype=str,
        encoding="latin-1",
        keep_default_na=False,
        quoting=csv.QUOTE_NONE,
    )


_TABLES = Layout(tuple(Original(name) for name in COLUMNS), _prepare)
MOVIELENS_1M = Recipe(
    name="movielens-1m",
    title="MovieLens 1M: 1,000,209 ratings of 3,706 films by 6,040 users, with user and film attributes",
    terms="no redistribution without permission; no commercial use; acknowledge GroupLens in publications",
    citation=(
        "Harper, Konstan: The MovieLens Datasets: History and Context. ACM TiiS 5(4), 2015, "
        "doi:10.1145/2827872"
    ),
    layouts=(
        zipped(
            Original(
                "ml-1m.zip",
                "https://files.grouplens.org/datasets/movielens/ml-1m.zip",
                sha256="a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20",
            ),
            "ml-1m",
            _TABLES,
        ),
        _TABLES,
    ),
)
