"""Public data sets that can be downloaded by name; none is distributed with this library."""

import difflib
from collections.abc import Callable
from pathlib import Path

from ctrloom import storage
from ctrloom.data.errors import DataError
from ctrloom.data.recipes.frappe import FRAPPE
from ctrloom.data.recipes.ipinyou import IPINYOU
from ctrloom.data.recipes.kdd2012 import KDD2012_TRACK2
from ctrloom.data.recipes.movielens import MOVIELENS_100K
from ctrloom.data.recipes.movielens_1m import MOVIELENS_1M
from ctrloom.data.recipes.movielens_tag import MOVIELENS_TAG
from ctrloom.data.recipes.recipe import Layout, Recipe
from ctrloom.data.recipes.samples import AVAZU_SAMPLE, CRITEO_SAMPLE

RECIPES = {
    recipe.name: recipe
    for recipe in (
        FRAPPE,
        MOVIELENS_100K,
        MOVIELENS_1M,
        MOVIELENS_TAG,
        IPINYOU,
        KDD2012_TRACK2,
        CRITEO_SAMPLE,
        AVAZU_SAMPLE,
    )
}


def get(
    name: str, to: str | Path, from_: str | Path | None = None, say: Callable[[str], None] = print
) -> list[Path]:
    """Download a data set, or use its original files in `from_`; returns the files written to `to`.

    The terms of use are printed first; original files with a known checksum are verified.

    Raises:
        DataError: unknown data set, or original files are missing, cannot be downloaded or differ.
    """
    if name not in RECIPES:
        near = difflib.get_close_matches(name, RECIPES, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}?" if near else f"available: {', '.join(RECIPES)}"
        raise DataError(f"no data set named {name!r}; {hint}")
    recipe, to = RECIPES[name], Path(to)
    if from_ is None and recipe.by_hand:
        raise DataError(
            f"{name} cannot be downloaded automatically: {recipe.by_hand}; then pass the folder with --from"
        )
    say(recipe.notice)
    to.mkdir(parents=True, exist_ok=True)
    if from_ is not None:
        return _prepared(_layout_in(recipe, Path(from_)), Path(from_), to, say)
    with storage.scratch_directory("originals", to) as folder:
        for original in recipe.layouts[0].originals:
            original.download(folder)
        return _prepared(recipe.layouts[0], folder, to, say)


def _prepared(layout: Layout, folder: Path, to: Path, say: Callable[[str], None]) -> list[Path]:
    for original in layout.originals:
        for file in original.within(folder):
            original.check(file, say)
    return layout.prepare(folder, to)


def _layout_in(recipe: Recipe, folder: Path) -> Layout:
    for layout in recipe.layouts:
        if layout.lies_in(folder):
            return layout
    wanted = "; or ".join(", ".join(original.name for original in one.originals) for one in recipe.layouts)
    raise DataError(f"{folder}: does not contain the original files of {recipe.name}: {wanted}")
