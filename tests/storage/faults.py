"""A deterministic fault-injecting HTTP proxy.

The fault of a request depends on the seed, the request, and how often it was made, not on the order of
threads. No request fails more than `PATIENCE` times, unless all faults are `FOREVER`.
"""

import hashlib
import http.client
import json
import re
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlparse

KINDS = ("lost", "unanswered", "cut", "delayed", "damaged", "misread", "429", "503")
FOREVER = {"401", "403", "500"}
PATIENCE = 2
PIECE = 1 << 16


class Faults(ThreadingHTTPServer):
    """Forwards to a local `port`; a `share` of the requests fails, with faults of `kinds`."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, seed: int, share: float, kinds: Collection[str] = KINDS) -> None:
        super().__init__(("127.0.0.1", 0), _Forward)
        self.port, self.seed, self.share, self.kinds = port, seed, share, sorted(kinds)
        self.seen: Counter[str] = Counter()
        self.done: Counter[str] = Counter()
        self.carried = 0  # bytes from the server to the client
        self.lock = threading.Lock()

    def fault(self, what: str, content: bool) -> tuple[str, int]:
        """The fault of a request ("" for none), and a random number.

        A request can be corrupted only if it has `content`.
        """
        with self.lock:
            self.seen[what] += 1
            times = self.seen[what]
            digest = hashlib.sha256(f"{self.seed} {what} {times}".encode()).digest()
            number = int.from_bytes(digest[8:], "big")
            enough = times > PATIENCE and not FOREVER.issuperset(self.kinds)
            if enough or int.from_bytes(digest[:4], "big") / 2**32 >= self.share:
                return "", number
            kind = self.kinds[int.from_bytes(digest[4:8], "big") % len(self.kinds)]
            if (kind in ("damaged", "misread") and not content) or (kind == "misread" and "GET" not in what):
                return "", number
            self.done[kind] += 1
            return kind, number


@dataclass(frozen=True)
class Proxy:
    """A proxy in a separate process: pyarrow holds the GIL while it opens files."""

    port: int

    @property
    def seen(self) -> Any:
        """`done`: number of faults by kind; `carried`: bytes sent from the server to the client."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/-/seen") as answer:
            return json.load(answer)


Spoil = Callable[..., Proxy]  # (url, seed, share, kinds): puts a proxy in front of the server of a store


class _Forward(BaseHTTPRequestHandler):
    server: Faults

    def _pass_on(self) -> None:
        if self.path == "/-/seen":
            seen = {"done": self.server.done, "carried": self.server.carried}
            self._answer(200, [], json.dumps(seen).encode())
            return
        length = int(self.headers.get("Content-Length", 0))
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.wfile.flush()
        body = (
            self._chunked()
            if "chunked" in self.headers.get("Transfer-Encoding", "")
            else self.rfile.read(length)
        )
        kind, number = self.server.fault(self._what(body), content=self._has_content(body))
        if kind == "lost":
            return
        if kind.isdigit():
            said = {"error": {"code": int(kind), "message": "says the proxy"}}
            self._answer(int(kind), [], json.dumps(said).encode())
            return
        if kind == "delayed":
            time.sleep(0.05 + number % 100 / 1000)
        if kind == "damaged" and self.command != "GET":
            body = _damaged(body, number, past=body.rfind(b"\r\n\r\n") + 4, before=len(body) - 64)
        status, headers, content = self._forwarded(body)
        if kind == "unanswered":
            return
        if kind in ("damaged", "misread") and self.command == "GET" and status < 300:
            content = _damaged(content, number)
        self._answer(status, headers, content, len(content) // 2 if kind == "cut" else None)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_PATCH = _pass_on

    def _what(self, body: bytes) -> str:
        url = urlparse(self.path)
        # Parts that differ between runs.
        passing = ("upload_id", "uploadId", "quotaUser", "userIp", "generation", "ifGenerationMatch")
        query = sorted(pair for pair in parse_qsl(url.query) if pair[0] not in passing)
        what = f"{self.command} {url.path} {query} {self.headers['Range']} {self.headers['Content-Range']}"
        return re.sub("[0-9a-f]{32}", "", what)  # names that a test made up

    def _has_content(self, body: bytes) -> bool:
        """True if the request transfers object bytes, which have checksums; metadata has none."""
        if self.command == "GET":
            return "alt=media" in self.path or self.headers.get("Range") is not None
        return len(body) > 1000 and not (self.command == "POST" and "uploadId" in self.path)

    def _forwarded(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        hop_by_hop = ("expect", "connection", "transfer-encoding", "content-length")
        headers = {k: v for k, v in self.headers.items() if k.lower() not in hop_by_hop}
        if body or self.command in ("PUT", "POST"):
            headers["Content-Length"] = str(len(body))
        connection.request(self.command, self.path, body or None, headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, answer.getheaders(), content

    def _answer(
        self, status: int, headers: list[tuple[str, str]], content: bytes, only: int | None = None
    ) -> None:
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in ("content-length", "connection", "date", "server", "transfer-encoding"):
                self.send_header(name, value)
        size = next((value for name, value in headers if name.lower() == "content-length"), len(content))
        self.send_header("Content-Length", str(size))
        self.end_headers()
        if self.command != "HEAD":
            for start in range(0, len(content[:only]), PIECE):
                piece = content[:only][start : start + PIECE]
                self.wfile.write(piece)
                with self.server.lock:
                    self.server.carried += len(piece)

    def _chunked(self) -> bytes:
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def handle(self) -> None:
        try:
            super().handle()
        except (ConnectionError, http.client.HTTPException, TimeoutError):
            self.close_connection = True

    def log_message(self, *_: Any) -> None:
        pass


def _damaged(content: bytes, number: int, past: int = 0, before: int | None = None) -> bytes:
    """The content with one byte changed."""
    last = len(content) if before is None else before
    place = min(past + number % max(1, last - past), len(content) - 1)
    return content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :] if content else content


if __name__ == "__main__":
    proxy = Faults(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), sys.argv[4].split(","))
    print(proxy.server_port, flush=True)
    proxy.serve_forever()
