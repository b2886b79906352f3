"""Fuzz targets: one per parser of bytes that others may have written."""
