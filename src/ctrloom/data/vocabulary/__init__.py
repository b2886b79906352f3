"""Vocabularies, boundaries and crosses, and rows encoded with them."""
