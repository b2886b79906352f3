"""How users install what an optional part of ctrloom needs."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from ctrloom.config.base import ConfigError

# Modules of the extra `training`.
TRAINING = "duckdb", "ibis", "jinja2", "matplotlib", "pandas", "aiohttp", "scipy"

COMPILER = "sympy", "mpmath", "networkx", "torch._dynamo"  # modules that torch.export loads


def install(extra: str) -> str:
    """The command that installs an extra; ctrloom is on no package index."""
    return f"pip install '.[{extra}]' in a checkout of ctrloom, or '<wheel>[{extra}]'"


@contextmanager
def training_packages() -> Iterator[None]:
    """Explain an import that fails because only what scoring needs is installed.

    Raises:
        ConfigError: a package of the extra `training` is missing.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        name = (error.name or "").partition(".")[0]
        if name not in TRAINING:
            raise
        raise ConfigError(
            f"only what scoring needs is installed: {name} is missing; {install('training')}"
        ) from None


def require_compiler() -> None:
    """Raise ConfigError if PyTorch lacks what it needs to trace models, as in the image of the server."""
    for name in COMPILER:
        if find_spec(name) is None:
            raise ConfigError(
                f"PyTorch cannot trace models here: {name} is missing, as in the image of the server; "
                "export where the whole of PyTorch is installed"
            )


def require_training() -> None:
    """Raise ConfigError if a package of the extra `training` is missing."""
    with training_packages():
        for name in TRAINING:
            if find_spec(name) is None:
                raise ModuleNotFoundError(name=name)
