"""What can go wrong with bytes, in words."""


class StorageError(ValueError):
    """Bytes that cannot be read or written; the message names the place and the way out."""


class ConflictError(StorageError):
    """Somebody else wrote first; nothing of one's own was written."""
