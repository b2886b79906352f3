"""Check of the store: read after write."""

import secrets
from pathlib import Path

from ctrloom import storage
from ctrloom.doctor.checks import Check

PROBE = ".ctrloom-doctor.json"  # a fixed name, so that checks leave at most one object


def store(url: str) -> Check:
    """Check that a small object can be written to the store, replaced, and read back."""
    nonces = [secrets.token_hex(8) for _ in range(2)]
    try:
        at = storage.place(url) / PROBE
        for nonce in nonces:
            storage.write_json(at, {"nonce": nonce})
        read = storage.read_json(at)
        if isinstance(at, Path):
            at.unlink(missing_ok=True)
    except (storage.StorageError, OSError) as error:
        fix = "check the name; the steps' service account needs read and write access to the bucket"
        if "://" not in url:
            fix = "use a folder that is writable for the user of this process"
        return Check("storage", "fail", str(error), fix)
    if read != {"nonce": nonces[-1]}:
        fix = "disable caching between this machine and the store"
        return Check("storage", "fail", f"{url} returned stale content after a write", fix)
    return Check("storage", "ok", f"{url} can be written, replaced and read")
