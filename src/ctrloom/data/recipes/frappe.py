"""Frappe: which app is used in which context."""

from pathlib import Path

import pandas as pd

from ctrloom import storage
from ctrloom.data.recipes.recipe import Layout, Original, Recipe, unchanged

COLUMNS = [
    "user",
    "item",
    "daytime",
    "weekday",
    "isweekend",
    "homework",
    "cost",
    "weather",
    "country",
    "city",
]
_PUBLISHED = (
    "https://raw.githubusercontent.com/hexiangnan/neural_factorization_machine/"
    "ca2a5d11b929816aa44c6e470e795af144608507/data/frappe/"
)
_SPLITS = {"train": "train", "valid": "validation", "test": "test"}


def _from_libfm(folder: Path, to: Path) -> list[Path]:
    """Convert `label index:1 ...` lines to CSV: the index is the token, label -1 becomes 0."""
    written = []
    for split, published in _SPLITS.items():
        rows = pd.read_csv(
            folder / f"frappe.{published}.libfm", sep=" ", names=["label", *COLUMNS], dtype=str
        )
        rows["label"] = (rows["label"] == "1").astype(int)
        rows[COLUMNS] = rows[COLUMNS].apply(lambda column: column.str.removesuffix(":1"))
        written.append(to / f"{split}.csv.gz")
        with storage.atomic_file(written[-1]) as temporary:
            rows.to_csv(temporary, index=False, compression={"method": "gzip", "mtime": 0})
    return written


FRAPPE = Recipe(
    name="frappe",
    title="Frappe: 288,609 app uses in context, two sampled negatives per use; 10 fields, 5,382 tokens",
    terms=(
        "research only; acknowledge the data set in publications; no redistribution without permission; "
        "do not deanonymise; no commercial use without permission"
    ),
    citation=(
        "Baltrunas, Church, Karatzoglou, Oliver: Frappe: Understanding the Usage and Perception of Mobile "
        "App Recommendations In-The-Wild. arXiv:1505.03014, 2015"
    ),
    layouts=(
        Layout(
            (
                Original(
                    "frappe.train.libfm",
                    _PUBLISHED + "frappe.train.libfm",
                    git_blob="176b2aaf1f63dd13d3e66a5c17c8ec8186e91893",
                ),
                Original(
                    "frappe.validation.libfm",
                    _PUBLISHED + "frappe.validation.libfm",
                    sha256="fdf4be563a7dd9b15f7a6e8b32671e90e6e7a2a2bd3af4e10bf13c5ad7e76e9e",
                ),
                Original(
                    "frappe.test.libfm",
                    _PUBLISHED + "frappe.test.libfm",
                    sha256="a2ebaef3a9af8e55f8bb0d08bc4923965e42e43760ebd7635ac2f8c5db99e097",
                ),
            ),
            _from_libfm,
        ),
        unchanged(*(Original(f"{split}.csv.gz") for split in _SPLITS)),
    ),
)
