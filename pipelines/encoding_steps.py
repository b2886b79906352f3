"""The first steps of every pipeline that reads raw files."""

from typing import Any

from components.ingest.component import ingest
from components.vocabulary.component import vocabulary as fit_vocabulary
from pipelines.preflight import preflight


def add_encoding(data: Any, store: Any, vocabulary: Any, revision: Any, engine: Any, spark: Any) -> Any:
    """The encoded data set, after preflight, ingest and vocabulary; takes parameters of the pipeline."""
    counting = {"engine": engine, "spark": spark}
    clean = ingest(data=data, store=store, revision=revision, **counting).after(preflight(store))
    ingested = clean.outputs["ingested"]
    fitted = fit_vocabulary(ingested=ingested, store=store, vocabulary=vocabulary, **counting)
    return fitted.outputs["dataset"]
