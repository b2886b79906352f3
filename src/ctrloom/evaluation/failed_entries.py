"""Entries of a comparison that failed, as an error."""

from collections.abc import Mapping

from ctrloom.config.errors import UserError
from ctrloom.evaluation.results import Results


class EntriesFailedError(UserError):
    """Entries of a comparison failed; the message names each with its reason."""


def require_complete(results: Results) -> None:
    """Check that no entry of a comparison failed.

    Raises:
        EntriesFailedError: some did.
    """
    if results.failed:
        raise EntriesFailedError(
            f"{len(results.failed)} of the entries failed, and the table is without them: "
            f"{_reasons(results.failed)}"
        )


def require_some(entries: object, failed: Mapping[str, str]) -> None:
    """Check that entries of a comparison are left.

    Raises:
        EntriesFailedError: all failed.
    """
    if not entries:
        raise EntriesFailedError(f"all entries failed, so that there is no table: {_reasons(failed)}")


def _reasons(failed: Mapping[str, str]) -> str:
    return "; ".join(f"{name}: {one_line(reason)}" for name, reason in failed.items())


def one_line(reason: str) -> str:
    """A reason without line ends, as logs of steps are read line by line."""
    return ", ".join(reason.splitlines())
