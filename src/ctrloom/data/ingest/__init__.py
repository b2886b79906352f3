"""Ingest: from raw files to typed, clean rows in splits."""
