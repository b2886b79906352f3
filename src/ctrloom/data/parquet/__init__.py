"""Parquet files of a data set: written, read and verified."""
