"""Clients of the object stores; their libraries are imported on first use."""

from functools import cache

from ctrloom.storage.location import Location, Scheme
from ctrloom.storage.remote import Remote, endpoint


def client(at: Location) -> Remote:
    """The client of the store that an object is in.

    Raises:
        StorageError: its library is not installed, or there are no credentials.
    """
    return client_of(at.scheme, endpoint(at.scheme))


@cache
def client_of(scheme: Scheme, endpoint: str) -> Remote:
    """One client for each server."""
    if scheme == "gs":
        from ctrloom.storage.gcs import GoogleStorage

        return GoogleStorage()
    from ctrloom.storage.s3 import S3

    return S3()
