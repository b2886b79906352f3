"""MovieLens tags: tags that users give to films, with two sampled negatives each."""

from ctrloom.data.recipes.recipe import Original, Recipe, unchanged

_PUBLISHED = (
    "https://raw.githubusercontent.com/hexiangnan/neural_factorization_machine/"
    "ca2a5d11b929816aa44c6e470e795af144608507/data/ml-tag/"
)
_BLOBS = {
    "ml-tag.train.libfm": "45c9017ca7cb14b3df2b7378f3a935577a8a102f",
    "ml-tag.validation.libfm": "0950186b80ca3158f40c3734e28d236785ad77ac",
    "ml-tag.test.libfm": "aef8f29a1a396d6ea34e692d26eec9bba2f7ae8b",
}
MOVIELENS_TAG = Recipe(
    name="movielens-tag",
    title="MovieLens tags: 2,006,859 rows of user, film and tag, two sampled negatives each; 90,445 tokens",
    terms="GroupLens': no redistribution without permission; no commercial use; acknowledge GroupLens",
    citation=(
        "Harper, Konstan: The MovieLens Datasets: History and Context. ACM TiiS 5(4), 2015, "
        "doi:10.1145/2827872; He, Chua: Neural Factorization Machines, SIGIR 2017, for the negatives"
    ),
    layouts=(
        unchanged(*(Original(name, _PUBLISHED + name, git_blob=blob) for name, blob in _BLOBS.items())),
    ),
)
