"""Runs the server until a signal stops it."""

import asyncio
import contextlib
import logging
import resource
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import grpc.aio
import torch
import uvicorn

from ctrloom import interruption
from ctrloom.progress import note
from ctrloom.serving.registry import Registry
from ctrloom.serving.server.connection import Connection
from ctrloom.serving.server.models import Follower, Models, from_bundle
from ctrloom.serving.server.options import ServerOptions
from ctrloom.serving.server.rest import RestApp
from ctrloom.serving.server.rpc import Rpc
from ctrloom.serving.server.service import Service

FILES_OF_ITS_OWN = 256  # open files that are not connections


class Server:
    """HTTP and gRPC in one event loop."""

    def __init__(self, service: Service) -> None:
        self.service, self.options = service, service.options
        self.started, self.stop = threading.Event(), threading.Event()
        self.http_port = self.grpc_port = 0
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._run, name="server", daemon=True)

    def start(self) -> None:
        """Open the ports, and answer from then on.

        Raises:
            OSError: a port is in use.
        """
        self.thread.start()
        self.started.wait()
        if self.error is not None:
            raise self.error

    def close(self) -> None:
        """Close the ports, and wait for requests in flight, `finish_seconds` at most."""
        self.stop.set()
        self.thread.join()
        if self.error is not None:
            raise self.error

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=_loop_factory()) as runner:
                runner.run(self._serve())
        except BaseException as error:  # raised again in the main thread
            self.error = error
        finally:
            self.started.set()

    async def _serve(self) -> None:
        http, rpc = self._http(), Rpc(self.service)
        listener = socket.create_server((self.options.host, self.options.port), backlog=http.config.backlog)
        grpc_server = await self._grpc(rpc)
        serving = asyncio.create_task(http.serve([listener]))
        self.http_port = listener.getsockname()[1]
        note(f"http://{self.options.host}:{self.http_port}/v2/models/{self.service.models.name}")
        self.started.set()
        while not self.stop.is_set() and not serving.done():
            await asyncio.sleep(0.05)
        http.should_exit = True
        await serving
        if grpc_server is not None:
            await grpc_server.stop(self.options.finish_seconds)
        await asyncio.to_thread(self.service.close)

    async def _grpc(self, rpc: Rpc) -> grpc.aio.Server | None:
        if self.options.grpc_port is None:
            return None
        server, self.grpc_port = rpc.server(f"{self.options.host}:{self.options.grpc_port}")
        await server.start()
        note(f"gRPC at {self.options.host}:{self.grpc_port}")
        return server

    def _http(self) -> uvicorn.Server:
        config = uvicorn.Config(
            RestApp(self.service),
            host=self.options.host,
            port=self.options.port,
            http=type("ServedConnection", (Connection,), {"service": self.service}),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=int(self.options.limits.idle_seconds),
            timeout_graceful_shutdown=int(self.options.finish_seconds),
        )
        for name in ("uvicorn", "uvicorn.error"):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # what clients do wrong fills no log
        return uvicorn.Server(config)


def serve(bundle: Path | None, registry: Registry | None, options: ServerOptions) -> None:
    """Serve a bundle, or the champion of a registry, until a signal stops the process.

    Then the server is not ready for `drain_seconds`, but answers; after that it closes its ports, finishes
    requests in flight and returns.

    Raises:
        StorageError, RegistryError: the model cannot be loaded.
        OSError: a port is in use.
        Stopped: at the end.
    """
    torch.set_num_threads(1)
    _allow_files(options.limits.connections + FILES_OF_ITS_OWN)
    with interruption.deferred() as stop, contextlib.ExitStack() as exits:
        models = Models(options.name)
        service = Service(models, options)
        if bundle is not None:
            models.exchange(from_bundle(bundle))
        if registry is not None:
            follower = Follower(registry, models, options.poll_seconds)
            exits.callback(follower.stop)
            follower.start()
        server = Server(service)
        server.start()
        _wait(server.thread, lambda: stop.requested)
        service.stopping = True
        _wait(server.thread, lambda: False, options.drain_seconds)
        server.close()


def _wait(thread: threading.Thread, ended: Callable[[], bool], seconds: float | None = None) -> None:
    """Wait for the end of a thread, or until `ended`, or for some time; signals are handled meanwhile."""
    pieces = 0
    while thread.is_alive() and not ended() and (seconds is None or pieces * 0.1 < seconds):
        thread.join(0.1)
        pieces += 1


def _allow_files(count: int) -> None:
    """Raise the limit of open files of this process, if it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        allowed = count if hard == resource.RLIM_INFINITY else min(count, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, allowed), hard))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:  # there is none for this system
        return asyncio.new_event_loop
    return uvloop.new_event_loop
