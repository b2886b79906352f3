"""A client that sends prepared requests over several connections and measures how long each takes."""

import asyncio
import time
from collections import deque
from dataclasses import dataclass

import numpy as np

WAIT = 30.0  # seconds for answers after the last request


class Connection(asyncio.Protocol):
    """One connection with at most one request in flight."""

    def __init__(self) -> None:
        self.received, self.answer = bytearray(), asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Keep the transport."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Resolve the answer when the whole body is there."""
        self.received += data
        head = self.received.find(b"\r\n\r\n")
        if head < 0:
            return
        lines = bytes(self.received[:head]).lower().split(b"\r\n")
        length = next(int(each[15:]) for each in lines if each.startswith(b"content-length:"))
        if len(self.received) >= head + 4 + length and not self.answer.done():
            self.answer.set_result(int(lines[0].split()[1]))

    def connection_lost(self, error: Exception | None) -> None:
        """The server closed it."""
        if not self.answer.done():
            self.answer.set_result(0)

    async def send(self, request: bytes) -> int:
        """The status of the answer; 0 if the connection was lost."""
        self.received, self.answer = bytearray(), asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return int(await self.answer)


@dataclass(frozen=True)
class Measured:
    """Milliseconds of each answer, and how many failed."""

    milliseconds: np.ndarray
    failed: int

    def quantile(self, share: float) -> float:
        """Milliseconds."""
        return float(np.quantile(self.milliseconds, share))


def request_bytes(path: str, body: bytes) -> bytes:
    """A whole HTTP request."""
    headers = ["Host: a", "Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([f"POST {path} HTTP/1.1", *headers, "", ""]).encode() + body


async def one_by_one(port: int, requests: list[bytes], count: int) -> Measured:
    """Send requests over one connection, each after the answer to the one before."""
    _, connection = await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", port)
    took, failed = [], 0
    for number in range(count):
        began = time.perf_counter()
        failed += await connection.send(requests[number % len(requests)]) != 200
        took.append(time.perf_counter() - began)
    connection.transport.close()
    return Measured(1e3 * np.array(took), failed)


async def at_rate(
    port: int, requests: list[bytes], rate: float, seconds: float, connections: int
) -> Measured:
    """Send requests at random times with this rate, whether or not earlier ones were answered.

    A time is from when the request was due: waiting for a free connection counts.
    """
    loop = asyncio.get_running_loop()
    free = deque(
        [(await loop.create_connection(Connection, "127.0.0.1", port))[1] for _ in range(connections)]
    )
    opened, waiting = list(free), deque[tuple[float, bytes]]()
    took, failed = list[float](), 0
    running = set[asyncio.Task[None]]()

    async def answer(connection: Connection, due: float, request: bytes) -> None:
        nonlocal failed
        while True:
            failed += await connection.send(request) != 200
            took.append(time.perf_counter() - due)
            if not waiting:
                break
            due, request = waiting.popleft()
        free.append(connection)

    gaps = np.random.default_rng(0).exponential(1 / rate, int(rate * seconds))
    due = time.perf_counter()
    for number, gap in enumerate(gaps):
        due += gap
        if (wait := due - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        request = requests[number % len(requests)]
        if free:
            task = loop.create_task(answer(free.popleft(), due, request))
            running.add(task)
            task.add_done_callback(running.discard)
        else:
            waiting.append((due, request))
    if running:
        await asyncio.wait(running, timeout=WAIT)
    for connection in opened:
        connection.transport.close()
    lost = len(gaps) - len(took)
    return Measured(1e3 * np.array([*took, *[WAIT] * lost]), failed + lost)
