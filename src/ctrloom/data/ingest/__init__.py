"""Raw files to typed, clean, split rows."""
