"""From raw files to one id matrix: sources, ingest, vocabulary, encoding, batches."""
