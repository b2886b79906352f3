"""Errors that the server answers with."""

from ctrloom.config.errors import UserError


class RequestError(UserError):
    """The request cannot be answered; `status` is that of HTTP."""

    status = 400


class NotFoundError(RequestError):
    """No such path, model or version."""

    status = 404


class MethodError(RequestError):
    """The path exists, but not for this method."""

    status = 405


class TooLargeError(RequestError):
    """The body or the number of rows is above the limit."""

    status = 413


class OverloadedError(RequestError):
    """Too many requests are in progress; the client may try again."""

    status = 503


class NotReadyError(RequestError):
    """There is no model yet, or the server is stopping."""

    status = 503
