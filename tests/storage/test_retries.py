"""Faults of a store are retried; those of this machine, such as a full disk, are not."""

import errno
import os
import ssl

import pytest

from ctrloom.storage import Location, StorageError, s3
from ctrloom.storage.remote import ATTEMPTS, persistent

AT = Location("s3", "loom/weights")


def attempts(error: Exception) -> tuple[int, str]:
    """How often a call that always raises is tried, and the message."""
    calls = []

    def call() -> None:
        calls.append(1)
        raise error

    with pytest.raises(StorageError) as raised:
        persistent(call, s3._damaged, AT, "read")
    return len(calls), str(raised.value)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EMFILE, errno.EDQUOT])
def test_a_fault_of_this_machine_is_not_retried(number: int) -> None:
    count, message = attempts(OSError(number, os.strerror(number), "/there/weights"))
    assert count == 1
    assert "all retries failed" not in message
    assert message.startswith("s3://loom/weights: cannot be read: [Errno")
    assert message.endswith("; check the disk of this machine")


@pytest.mark.parametrize(
    "error",
    [
        OSError("corrupted in transfer"),
        ConnectionResetError(errno.ECONNRESET, "reset"),
        TimeoutError("timed out"),
        ssl.SSLError(1, "bad record mac"),
    ],
)
def test_a_fault_of_the_connection_is_retried(error: OSError) -> None:
    count, message = attempts(error)
    assert count == ATTEMPTS
    assert "all retries failed" in message
