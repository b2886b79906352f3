"""The protocol over HTTP: an ASGI application."""

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import orjson

from ctrloom.config.errors import UserError
from ctrloom.progress import warn
from ctrloom.serving.server import json_body
from ctrloom.serving.server.errors import (
    MethodError,
    NotFoundError,
    RequestError,
    TooLargeError,
)
from ctrloom.serving.server.service import SERVER, Service
from ctrloom.storage import one_line

Scope: TypeAlias = Mapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Mapping[str, Any]]]
Send: TypeAlias = Callable[[Mapping[str, Any]], Awaitable[None]]
LENGTH = b"inference-header-content-length"
METRICS_TYPE = b"text/plain; version=1.0.0; charset=utf-8"


class DisconnectedError(ConnectionError):
    """The client is gone, or too slow; there is no answer."""


class Reply(NamedTuple):
    """A response: its body, status and headers apart from the length."""

    body: bytes
    status: int = 200
    headers: tuple[tuple[bytes, bytes], ...] = ((b"content-type", b"application/json"),)


class RestApp:
    """Answers requests of the protocol; every error is JSON with the key `error`."""

    def __init__(self, service: Service) -> None:
        self.service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        began = time.perf_counter()
        infers = scope["path"].endswith("/infer")
        try:
            reply = await (self._infer(scope, receive) if infers else self._get(scope))
        except DisconnectedError:
            self.service.metrics.answered("http", "disconnected", began)
            return
        except Exception as error:
            reply = failed(error)
        headers = [*reply.headers, (b"content-length", b"%d" % len(reply.body))]
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body})
        if infers:
            self.service.metrics.answered("http", str(reply.status), began)

    async def _infer(self, scope: Scope, receive: Receive) -> Reply:
        service, headers = self.service, dict(scope["headers"])
        if scope["method"] != "POST":
            raise MethodError("infer: send the request with POST")
        name, version = _model_of(scope["path"].removesuffix("/infer"))
        body = await self._body(headers, receive)
        service.admit()
        model = service.models.get(name, version)
        json_bytes = _number(headers, LENGTH)

        def work() -> tuple[bytes, int | None]:
            question, binary = json_body.parsed(body, json_bytes, model, service.limits.rows)
            return json_body.rendered(service.answer(question, model), name, binary)

        content, length = await service.run(work, len(body))
        if length is None:
            return Reply(content)
        kinds = (b"content-type", b"application/octet-stream"), (LENGTH, b"%d" % length)
        return Reply(content, headers=kinds)

    async def _body(self, headers: Mapping[bytes, bytes], receive: Receive) -> bytes:
        most = self.service.limits.body_bytes
        if encoding := headers.get(b"content-encoding"):
            raise RequestError(
                f"Content-Encoding: {encoding[:40]!r} is not supported; send the body as it is"
            )
        if (_number(headers, b"content-length") or 0) > most:
            raise _too_large(most)
        parts, size = list[bytes](), 0
        while True:
            message = await receive()
            if message["type"] != "http.request":
                raise DisconnectedError
            parts.append(message["body"])
            size += len(message["body"])
            if size > most:
                raise _too_large(most)
            if not message.get("more_body"):
                return parts[0] if len(parts) == 1 else b"".join(parts)

    async def _get(self, scope: Scope) -> Reply:
        service, path = self.service, scope["path"].rstrip("/")
        if scope["method"] not in ("GET", "HEAD"):
            raise MethodError(f"{path[:80]}: send the request with GET")
        match path:
            case "/metrics":
                return Reply(service.metrics.text(), headers=((b"content-type", METRICS_TYPE),))
            case "/v2":
                return _json(SERVER)
            case "/v2/health/live":
                return _json({"live": True})
            case "/v2/health/ready":
                return _json({"ready": service.ready}, 200 if service.ready else 503)
        if path.endswith("/ready"):
            model = service.require_ready(*_model_of(path.removesuffix("/ready")))
            return _json({"name": service.models.name, "version": model.version, "ready": True})
        return _json(service.metadata(service.models.get(*_model_of(path))))


def failed(error: Exception) -> Reply:
    """The response to a request that raised an error; a defect is reported on standard error, too."""
    if not isinstance(error, UserError):
        warn(f"a request failed: {type(error).__name__}: {one_line(error)}")
        return _json({"error": "the server failed; its log has the reason"}, 500)
    status = error.status if isinstance(error, RequestError) else 400
    return _json({"error": str(error)}, status, retry=status == 503)


def _json(value: object, status: int = 200, retry: bool = False) -> Reply:
    headers = ((b"content-type", b"application/json"), *([(b"retry-after", b"1")] if retry else []))
    return Reply(orjson.dumps(value), status, headers)


def _model_of(path: str) -> tuple[str, str]:
    """Name and version, if any, in /v2/models/<name>/versions/<version>."""
    match path.split("/")[1:]:
        case ["v2", "models", name]:
            return name, ""
        case ["v2", "models", name, "versions", version]:
            return name, version
    raise NotFoundError(f"{path[:80]!r}: no such path; models are at /v2/models/<name>")


def _number(headers: Mapping[bytes, bytes], name: bytes) -> int | None:
    text = headers.get(name)
    if text is None:
        return None
    if not text.isdigit() or len(text) > 18:
        raise RequestError(f"{name.decode()}: must be a number of bytes, not {text[:40]!r}")
    return int(text)


def _too_large(most: int) -> TooLargeError:
    return TooLargeError(f"the body is larger than {most:,} bytes; send fewer rows per request")
