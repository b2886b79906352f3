"""The error that unusable input raises."""


class DataError(ValueError):
    """Input that cannot be used; the message names the file, line or column and the way out."""
