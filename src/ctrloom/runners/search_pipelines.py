"""Which compiled pipeline runs a search method, and the steps of its search."""

from ctrloom.config.search import METHODS, SelectionConfig

SEARCHES = {  # the steps of the search in each pipeline, in order
    "search_and_retrain_autofis": ("search-autofis",),
    "search_and_retrain_aim": ("aim-search-interactions", "aim-search-embeddings"),
    "search_and_retrain_optinter": ("search-optinter",),
    "search_and_retrain_autopi": ("search-autopi",),
    "search_and_retrain_selection": ("select-interactions",),
}


def search_pipeline(method: str) -> str:
    """The pipeline that searches with a method; methods without training share one."""
    return f"search_and_retrain_{'selection' if METHODS[method] is SelectionConfig else method}"
