"""Optimizers that PyTorch does not provide."""
