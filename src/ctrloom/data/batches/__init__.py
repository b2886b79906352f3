"""Encoded rows as tensors, held or streamed."""
