"""The base class of errors that users can fix."""

from typing import Any

from ctrloom.config.url_secrets import redacted


class UserError(ValueError):
    """An error whose message names what is wrong and how to fix it; secrets of URLs in it are hidden.

    Commands and pipeline steps print only the message. Every other exception, apart from those of the
    operating system, is a defect and keeps its traceback. `from_inputs` is True if an error follows from the
    configuration, the data and the code only, so that the same work fails again wherever it runs.
    """

    from_inputs: bool = False

    def __init__(self, *args: Any) -> None:
        super().__init__(*(redacted(each) if isinstance(each, str) else each for each in args))
