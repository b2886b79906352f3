"""How users install what an optional part of ctrloom needs."""


def install(extra: str) -> str:
    """The command that installs an extra; ctrloom is on no package index."""
    return f"pip install '.[{extra}]' in a checkout of ctrloom, or '<wheel>[{extra}]'"
