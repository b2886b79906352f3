"""The command that exports a bundle for other runtimes."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from ctrloom.cli.options import SERVING

app = typer.Typer()


@app.command(rich_help_panel=SERVING)
def export(
    bundle: Annotated[
        str, typer.Option(help="Folder, gs:// or s3:// of a trained model.", show_default=False)
    ],
    output: Annotated[Path, typer.Option(help="Folder to write.", show_default=False)],
    format: Annotated[
        Literal["torch", "onnx"], typer.Option(help="A program of torch.export, or an ONNX model.")
    ] = "onnx",
    rows: Annotated[
        list[str] | None,
        typer.Option(
            help="Raw rows to check the export on, besides random ones: path, glob or URL; repeatable.",
            show_default=False,
        ),
    ] = None,
    tables: Annotated[
        Literal["int8", "bf16"] | None,
        typer.Option(
            help="Compress embedding tables; reports the cost in AUC on --rows.", show_default="float32"
        ),
    ] = None,
    cache: Annotated[
        Path, typer.Option(help="Cache of bundles from an object store; changed bundles are fetched again.")
    ] = Path("~/.cache/ctrloom"),
) -> None:
    """Export a bundle: the model as a program, and its encoder as data."""
    from ctrloom.serving import api

    made = api.export(bundle, output, format, rows or (), tables, cache)
    print(
        f"{made.model_file}: the largest difference of a probability from the bundle is "
        f"{made.parity.probability:.1e}, over {made.parity.rows:,} rows"
    )
    if cost := made.tables_cost:
        change = cost.auc_exported - cost.auc
        print(f"tables as {made.tables}: AUC {cost.auc:.5f} -> {cost.auc_exported:.5f} ({change:+.5f})")
    print(output)
