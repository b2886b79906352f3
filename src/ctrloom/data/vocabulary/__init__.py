"""Vocabularies, bucket boundaries and crosses, and the encoding of rows."""
