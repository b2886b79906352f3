"""Checks of versions: installed packages, and the image against the package in it."""

import os
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from ctrloom.config.base import ConfigError
from ctrloom.doctor.checks import Check

INSTALL = "pip install --constraint constraints.txt 'ctrloom{extra}'"


def packages(constraints: Path | None = None) -> Check:
    """Check that ctrloom's requirements are installed, in the versions that were tested together.

    Raises:
        ConfigError: `constraints` cannot be read.
    """
    wrong, extras = [], set()
    for requirement, extra in _requirements():
        installed = _installed(requirement.name)
        if installed is None:
            (extras.add(extra) if extra else wrong.append(f"{requirement.name} is missing"))
        elif not requirement.specifier.contains(installed, prereleases=True):
            wrong.append(f"{requirement.name} {installed} is not {requirement.specifier}")
    if wrong:
        return Check("packages", "fail", "; ".join(wrong), INSTALL.format(extra=""))
    if "training" in extras:
        return Check(
            "packages", "warn", "only what scoring needs is installed", INSTALL.format(extra="[training]")
        )
    if "pipelines" in extras:
        return Check("packages", "warn", "KFP is not installed", INSTALL.format(extra="[pipelines]"))
    untested = list(_untested(constraints)) if constraints else []
    if untested:
        return Check("packages", "warn", "; ".join(untested), "make setup, or: " + INSTALL.format(extra=""))
    against = f"match {constraints}" if constraints else "match ctrloom's requirements"
    return Check("packages", "ok", against)


def image(expected: str | None = None) -> Check:
    """Check that the version of the image matches the package in it and the code that started the run."""
    package = metadata.version("ctrloom")
    built = os.environ.get("CTRLOOM_VERSION")
    if built and built.partition("+")[0] != package:
        found = f"the image was built as {built}, but contains package {package}"
        return Check("image", "fail", found, "rebuild the image with `make images`")
    here = built or package
    if expected and expected.partition("+")[0] != package:
        found = f"started by ctrloom {expected}, but this is {here}"
        return Check("image", "fail", found, "use an image of the version that starts the run: --image")
    if expected and "+" in expected and built and expected != built:  # a release names no commit
        found = f"started by ctrloom {expected}, but the image was built from {built}"
        return Check("image", "warn", found, "build the image from the commit that starts the run")
    return Check("image", "ok", f"ctrloom {here}" + ("" if built else ", not in an image"))


def _requirements() -> Iterator[tuple[Requirement, str]]:
    """Requirements of the installed package with their extra ("" if none), without development extras."""
    for text in metadata.requires("ctrloom") or []:
        requirement = Requirement(text)
        if not requirement.marker or requirement.marker.evaluate({"extra": ""}):
            yield requirement, ""
        else:
            for extra in ("pipelines", "training", "trees"):
                if requirement.marker.evaluate({"extra": extra}):
                    yield requirement, extra


def _untested(constraints: Path) -> Iterator[str]:
    try:
        lines = constraints.read_text(encoding="utf-8").splitlines()
        pins = [Requirement(line) for line in lines if line.strip() and not line.startswith("#")]
    except (OSError, InvalidRequirement) as error:
        raise ConfigError(f"{constraints}: cannot be read as constraints: {error}") from None
    for pin in pins:
        installed = _installed(pin.name)
        if installed and not pin.specifier.contains(installed, prereleases=True):
            yield f"{pin.name} {installed}, tested with {pin.specifier}"


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
