"""The error for invalid input data."""

from ctrloom.config.errors import UserError


class DataError(UserError):
    """Invalid input data; the message names the file, line or column and how to fix it."""
