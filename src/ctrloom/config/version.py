"""The code version that is recorded in artifacts."""

import hashlib
import os
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path

from ctrloom.config.catalog import plugin_files, plugin_versions


@cache
def code_version() -> str:
    """Version of ctrloom, and of each package with plugins."""
    return ", ".join([_own_version(), *plugin_versions()])


@cache
def code_digest() -> str:
    """Hash of the code of ctrloom and of plugins, since versions do not change during development."""
    package = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(path for path in package.rglob("*") if path.is_file() and path.suffix != ".pyc"):
        digest.update(f"{path.relative_to(package)}\0{_sha256(path)}\0".encode())
    for path in plugin_files():
        digest.update(f"{path}\0{_sha256(path)}\0".encode())
    return digest.hexdigest()


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _own_version() -> str:
    """Version of the package, with the commit if it runs from a checkout or from an image that records it."""
    release = version("ctrloom")
    # The enclosing repository may be a user's project that contains the package.
    mine = _git("ls-files", "--error-unmatch", Path(__file__).name)
    commit = _git("describe", "--always", "--dirty", "--exclude", "*") if mine else ""
    image = os.environ.get("CTRLOOM_VERSION", "")
    if not commit and image.startswith(f"{release}+"):
        return image
    return f"{release}+{commit}" if commit else release


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
