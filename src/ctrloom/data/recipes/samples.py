"""Small published samples of large click logs, to try a format; too small to judge quality."""

from ctrloom.data.recipes.recipe import Original, Recipe, unchanged


def _sample(name: str, title: str, citation: str, original: Original) -> Recipe:
    terms = "those of the Kaggle competition that the rows come from; no redistribution"
    return Recipe(name, title, terms, citation, (unchanged(original),))


CRITEO_SAMPLE = _sample(
    "criteo-sample",
    "Criteo display advertising: its first 10,000 rows; label, 13 integers, 26 hashed tokens, no header",
    "Criteo Labs: Display Advertising Challenge, Kaggle, 2014",
    Original(
        "train_examples.txt",
        "https://raw.githubusercontent.com/shichence/AutoInt/"
        "d88536fbe9733e45d182fb600657d0bdf82b640c/train_examples.txt",
        sha256="f665bb8823fd742ea1b8602d70918f235ccc08eba3224f1621c11022721c21a3",
    ),
)
AVAZU_SAMPLE = _sample(
    "avazu-sample",
    "Avazu mobile advertising: 8,087 rows of 24 columns with a header",
    "Avazu: Click-Through Rate Prediction, Kaggle, 2014",
    Original(
        "train.csv",
        "https://raw.githubusercontent.com/Lapis-Hong/Wide-ResDNN/"
        "9889f939deb904a35692e2efdc6ab4f743a7df71/data/avazu/train.csv",
        sha256="49fb8cdcadfd9030a6fcb8cd97fe8205d94b84723ee8292e229d741ce1362e4f",
    ),
)
