"""`ctrloom serve`: probabilities over HTTP and gRPC."""

from pathlib import Path
from typing import Annotated

import typer

from ctrloom.cli.options import SERVING
from ctrloom.config.base import ConfigError
from ctrloom.config.extras import install

app = typer.Typer()


@app.command(rich_help_panel=SERVING)
def serve(
    bundle: Annotated[
        str | None, typer.Option(help="Folder, gs:// or s3:// of a trained model.", show_default=False)
    ] = None,
    registry: Annotated[
        str | None,
        typer.Option(
            help="Registry whose champion is served: a folder, gs://... or s3://...", show_default=False
        ),
    ] = None,
    name: Annotated[str, typer.Option(help="Name of the model in URLs.")] = "champion",
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 is all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of HTTP; 0 takes a free one.")] = 8080,
    grpc_port: Annotated[int, typer.Option(min=-1, max=65535, help="Port of gRPC; -1: no gRPC.")] = 8081,
    poll: Annotated[
        float, typer.Option(min=0.05, max=86_400, help="Seconds between two looks at the registry.")
    ] = 10.0,
    threads: Annotated[int, typer.Option(min=1, max=256, help="Threads that score large requests.")] = 2,
    max_rows: Annotated[int, typer.Option(min=1, max=1_000_000, help="Rows of a request.")] = 10_000,
    max_body_mb: Annotated[int, typer.Option(min=1, max=1024, help="MiB of a request.")] = 16,
    max_concurrency: Annotated[
        int, typer.Option(min=1, max=100_000, help="Requests in progress; further ones get 503.")
    ] = 128,
    max_connections: Annotated[int, typer.Option(min=1, max=1_000_000, help="HTTP connections.")] = 2048,
    drain: Annotated[
        float, typer.Option(min=0, max=6, help="Seconds to answer as not ready before the ports close.")
    ] = 5.0,
    cache: Annotated[
        Path, typer.Option(help="Cache of bundles from an object store; changed bundles are fetched again.")
    ] = Path("~/.cache/ctrloom"),
) -> None:
    """Answer requests of the Open Inference Protocol v2 with probabilities, until a signal stops it."""
    if (bundle is None) == (registry is None):
        raise ConfigError("give either --bundle or --registry")
    if not name or "/" in name:
        raise ConfigError(f"--name {name!r}: must be one part of a URL, without a slash")
    try:
        from ctrloom.serving.server.run import serve
    except ModuleNotFoundError as error:
        raise ConfigError(f"serving needs {error.name}; {install('serve')}") from None
    from ctrloom import storage
    from ctrloom.serving.registry import Registry
    from ctrloom.serving.server.options import Limits, ServerOptions

    limits = Limits(
        body_bytes=max_body_mb << 20, rows=max_rows, concurrency=max_concurrency, connections=max_connections
    )
    options = ServerOptions(
        host=host,
        port=port,
        grpc_port=None if grpc_port < 0 else grpc_port,
        name=name,
        poll_seconds=poll,
        threads=threads,
        drain_seconds=drain,
        limits=limits,
    )
    folder = storage.cached(storage.place(bundle), cache.expanduser()) if bundle else None
    serve(folder, Registry(registry) if registry else None, options)
