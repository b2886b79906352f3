"""The data stages: sources, ingest, vocabulary, encoding, batches."""
