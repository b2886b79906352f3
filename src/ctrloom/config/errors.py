"""The base class of errors that users can fix."""


class UserError(ValueError):
    """An error whose message names what is wrong and how to fix it.

    Commands and pipeline steps print only the message. Every other exception, apart from those of the
    operating system, is a defect and keeps its traceback.
    """
