"""Trained models in use: scoring raw rows, and the registry of versions."""
