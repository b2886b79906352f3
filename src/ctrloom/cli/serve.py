"""`ctrloom serve`: probabilities over HTTP and gRPC."""

from datetime import date
from pathlib import Path
from typing import Annotated

import typer

from ctrloom.cli.options import SERVING
from ctrloom.config.base import ConfigError
from ctrloom.config.extras import install
from ctrloom.progress import note, warn

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
        float, typer.Option(min=0, max=5, help="Seconds to answer as not ready before the ports close.")
    ] = 4.0,
    log_to: Annotated[
        str | None,
        typer.Option(
            help="Folder, gs:// or s3:// for sampled requests with their probabilities.", show_default=False
        ),
    ] = None,
    log_share: Annotated[float, typer.Option(min=0, max=1, help="Share of requests to log.")] = 0.01,
    log_seconds: Annotated[
        float, typer.Option(min=0.1, max=86_400, help="Seconds until logged rows are written.")
    ] = 60.0,
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
        log_to=storage.place(log_to) if log_to else None,
        log_share=log_share,
        log_seconds=log_seconds,
        limits=limits,
    )
    folder = storage.cached(storage.place(bundle), cache.expanduser()) if bundle else None
    serve(folder, Registry(registry) if registry else None, options)


@app.command(rich_help_panel=SERVING)
def join_labels(
    log: Annotated[str, typer.Option(help="Folder that serve --log-to wrote.", show_default=False)],
    labels: Annotated[
        str,
        typer.Option(
            help="CSV or Parquet with request_id, row (0 if it has none) and label columns: path or URL.",
            show_default=False,
        ),
    ],
    output: Annotated[Path, typer.Option(help="File to write: .parquet or .csv.", show_default=False)],
    unlabelled: Annotated[
        str | None,
        typer.Option(help="Label of rows that have none, such as 0; by default they are left out."),
    ] = None,
    since: Annotated[str | None, typer.Option(help="First day of the log (UTC): 2026-11-30.")] = None,
    until: Annotated[str | None, typer.Option(help="Last day of the log (UTC).")] = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(help="Column to add: request_id, row, time, model_version, probability; repeatable."),
    ] = None,
    time: Annotated[
        str | None, typer.Option(help="Column to add with the time of the request, such as the timestamp's.")
    ] = None,
) -> None:
    """Join logged requests with labels that came later; writes raw rows for drift, gate and training."""
    from ctrloom import storage
    from ctrloom.serving import traffic

    storage.require_apart(output, [log, labels])
    days = {name: _day(name, text) for name, text in (("since", since), ("until", until)) if text}
    done = traffic.join_labels(
        storage.place(log), labels, output, unlabelled=unlabelled, keep=keep or (), time=time, **days
    )
    note(f"{done.unused_labels:,} labels are of no logged row")
    if done.repeated_labels:
        warn(
            f"{done.repeated_labels:,} labels are of several logged rows, which all got them: requests had "
            "the same id"
        )
    print(f"{done.written:,} of {done.logged:,} logged rows, to {output}")


def _day(option: str, text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"--{option} {text}: must be a day such as 2026-11-30") from None
