"""One step of the pipeline."""
