"""The store: whether what is written there can be read again."""

import secrets
from pathlib import Path

from ctrloom import storage
from ctrloom.doctor.checks import Check

PROBE = ".ctrloom-doctor.json"  # one name, so that checks leave one object at most


def store(url: str) -> Check:
    """Whether a small object can be written to the store, replaced, and read back."""
    nonces = [secrets.token_hex(8) for _ in range(2)]
    try:
        at = storage.place(url) / PROBE
        for nonce in nonces:
            storage.write_json(at, {"nonce": nonce})
        read = storage.read_json(at)
        if isinstance(at, Path):
            at.unlink(missing_ok=True)
    except (storage.StorageError, OSError) as error:
        mend = "check the name; a bucket must let the steps' service account read and write objects"
        if "://" not in url:
            mend = "give a folder that the user of this process may write to"
        return Check("storage", "fail", str(error), mend)
    if read != {"nonce": nonces[-1]}:
        mend = "take the cache between this machine and the store away"
        return Check("storage", "fail", f"{url} gives back something older than what was written", mend)
    return Check("storage", "ok", f"{url} can be written, replaced and read")
