"""Encoded rows as tensors, in memory or streamed."""
