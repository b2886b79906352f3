"""Options of the server, with the defaults of `ctrloom serve`."""

from dataclasses import dataclass, field

from ctrloom.storage import Place


@dataclass(frozen=True)
class Limits:
    """What one client, and all of them together, may use."""

    body_bytes: int = 16 << 20  # of one request
    header_bytes: int = 64 << 10  # of one request
    rows: int = 10_000  # of one request
    concurrency: int = 128  # requests received and not yet answered
    connections: int = 2_048
    header_seconds: float = 10.0  # from the first byte, or the connection, to the end of the headers
    body_seconds: float = 30.0  # from the end of the headers to the end of the body
    idle_seconds: float = 75.0  # between two requests of a connection; longer than those of load balancers


@dataclass(frozen=True)
class ServerOptions:
    """Where the server listens, how it follows the registry, and how it stops."""

    host: str = "127.0.0.1"
    port: int = 8080
    grpc_port: int | None = 8081  # None: no gRPC
    name: str = "champion"  # of the model in URLs
    poll_seconds: float = 10.0  # between two looks at the registry
    threads: int = 2  # that score large requests
    # Together with the last part of the log, the next two are below `interruption.handlers.GRACE`.
    drain_seconds: float = 4.0  # not ready, but serving: until load balancers have noticed
    finish_seconds: float = 6.0  # then for requests in flight
    log_to: Place | None = None  # folder of the traffic log
    log_share: float = 0.01  # of requests
    log_seconds: float = 60.0  # until rows are written
    log_rows: int = 10_000  # that are written earlier
    limits: Limits = field(default_factory=Limits)
