"""HTTP connections with limits on time, size and number, which uvicorn does not have."""

import asyncio
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ctrloom.serving.server.options import Limits
from ctrloom.serving.server.service import Service

_SLOW = (
    b"HTTP/1.1 408 Request Timeout\r\ncontent-type: application/json\r\nconnection: close\r\n"
    b'content-length: 39\r\n\r\n{"error": "the request came too slowly"}'
)
_LONG = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: application/json\r\nconnection: close\r\n"
    b'content-length: 42\r\n\r\n{"error": "the headers or body are endless"}'
)


async def too_many(scope: Any, receive: Any, send: Any) -> None:
    """The application of connections above the limit."""
    body = b'{"error": "too many connections; try again"}'
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"retry-after", b"1"),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class Connection(HttpToolsProtocol):
    """One connection; use a subclass with the attribute `service`."""

    service: ClassVar[Service]

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.reading_headers, self.received, self.unanswered = True, 0, 0
        self.deadline: asyncio.TimerHandle | None = None
        self.unread: asyncio.TimerHandle | None = None

    @property
    def limits(self) -> Limits:
        """Those of the service."""
        return self.service.limits

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Begin; the headers are due soon."""
        super().connection_made(transport)
        if len(self.connections) > self.limits.connections:
            self.app = too_many
        self._due(self.limits.header_seconds)

    def data_received(self, data: bytes) -> None:
        """Feed the parser, unless the message is endless."""
        self.received += len(data)
        if self.reading_headers and self.deadline is None:
            self._due(self.limits.header_seconds)
        super().data_received(data)
        # Chunks of a body are longer than what is in them.
        body = 0 if self.reading_headers else 2 * self.limits.body_bytes
        if self.received > len(data) + self.limits.header_bytes + body:
            self._end(_LONG)

    def on_headers_complete(self) -> None:
        """Start the application; the body is due."""
        self.reading_headers = False
        self._due(self.limits.body_seconds)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """A whole request."""
        self.reading_headers, self.received = True, 0
        self._due(None)
        if not self.cycle.response_complete:
            self.unanswered += 1
            self.service.unanswered += 1
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """An answer, perhaps before the whole request."""
        self._answered(min(self.unanswered, 1))
        super().on_response_complete()

    def eof_received(self) -> bool:
        """The client sends nothing more, but may wait for an answer."""
        waits = bool(self.unanswered)
        if waits:
            self.cycle.keep_alive = False
        return waits

    def connection_lost(self, exc: Exception | None) -> None:
        """No answer can be sent any more."""
        self._due(None)
        self._answered(self.unanswered)
        if self.unread is not None:
            self.unread.cancel()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The client does not read; it may for a while."""
        self.unread = self.loop.call_later(self.limits.body_seconds, self.transport.abort)
        super().pause_writing()

    def resume_writing(self) -> None:
        """The client has read."""
        if self.unread is not None:
            self.unread.cancel()
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection, also if the client does not read what it asked for."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        super().timeout_keep_alive_handler()

    def _answered(self, count: int) -> None:
        self.unanswered -= count
        self.service.unanswered -= count

    def _due(self, seconds: float | None) -> None:
        if self.deadline is not None:
            self.deadline.cancel()
        self.deadline = None if seconds is None else self.loop.call_later(seconds, self._end, _SLOW)

    def _end(self, response: bytes) -> None:
        """Close the connection, with a response if none has begun."""
        if self.transport.is_closing():
            return
        idle = self.cycle is None or self.cycle.response_complete
        if self.received and (idle or not self.cycle.response_started):
            self.transport.write(response)
        self.transport.close()
