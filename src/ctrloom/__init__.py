"""Finds the feature interactions a click-through-rate model needs."""
