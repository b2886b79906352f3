"""Searches for the interactions that a model needs."""
