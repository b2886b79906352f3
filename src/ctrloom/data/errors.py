"""The error for invalid input data."""


class DataError(ValueError):
    """Invalid input data; the message names the file, line or column and how to fix it."""
