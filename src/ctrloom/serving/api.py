"""What programs do with a bundle: score rows and files, and export it."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ctrloom import storage
from ctrloom.config.extras import require_compiler
from ctrloom.serving.predict import Predicted
from ctrloom.serving.predict import predict as score_files
from ctrloom.serving.predictor import Predictor
from ctrloom.storage import Place
from ctrloom.training.torch_state import restored_torch_state

if TYPE_CHECKING:
    import pyarrow as pa

    from ctrloom.nn.compressed_tables import Tables
    from ctrloom.serving.export.formats import Format
    from ctrloom.serving.export.record import ExportRecord

CACHE = Path("~/.cache/ctrloom")


@restored_torch_state()
def load_bundle(bundle: str | Path, cache: str | Path = CACHE) -> Predictor:
    """Load a trained model that scores raw rows from a folder, gs:// or s3://; see `serving.predictor`.

    `cache` keeps the files of an object store; changed bundles are fetched again.

    Raises:
        StorageError: a file is missing or damaged.
    """
    return Predictor.load(storage.cached(storage.place(bundle), Path(cache).expanduser()))


def predict(
    bundle: str | Path,
    files: str | Sequence[str],
    output: str | Place,
    cache: str | Path = CACHE,
    keep: str | Sequence[str] = (),
    format: str | None = None,
) -> Predicted:
    """Score raw rows: write a row number and a probability per input row, in input order.

    `files` are paths, globs or URLs in the layout of the training data; label and weight may be absent. A
    malformed row has a reason instead of a probability. `keep` names columns of the files to write as they
    are. `output` is a path, gs:// or s3://: a file (.parquet, .csv, .csv.gz), or with a slash at the end a
    folder with one file per input in the `format` parquet (default), csv or csv.gz, which skips those that it
    has already. `-` is standard output, which gets CSV, like a device, a FIFO or an open file.

    Raises:
        ConfigError: the name of the output has another ending, or a column to keep that of another one.
        StorageError: the bundle is incomplete, or the output cannot be written or is one of the inputs.
        DataError: a file is missing, empty or has other columns, or lacks one to keep.
    """
    files, keep = ([names] if isinstance(names, str) else names for names in (files, keep))
    storage.require_apart(output, [bundle])  # which is read from a copy, if it is in a store
    folder = storage.cached(storage.place(bundle), Path(cache).expanduser())
    return score_files(folder, files, output, keep, format)


def export(
    bundle: str | Path,
    output: str | Path,
    format: "Format" = "onnx",
    rows: Sequence[str] = (),
    tables: "Tables | None" = None,
    cache: str | Path = CACHE,
) -> "ExportRecord":
    """Export a bundle: the folder `output` receives the model, its encoder as data, and export.json.

    `format` is "torch", for torch.export and AOTInductor, or "onnx". The written model is compared with the
    bundle, on random rows and on the raw files `rows`. `tables` compresses embedding tables, "int8" or
    "bf16"; `rows`, which then need labels, give the cost in AUC. See docs/export.md.

    Raises:
        ConfigError: the format, or PyTorch, needs a package that is not installed.
        StorageError: the bundle is incomplete, or the output cannot be written.
        ParityError: the exported model differs from the bundle; nothing was written.
    """
    require_compiler()
    from ctrloom.serving.export.run import export as export_bundle

    folder = storage.cached(storage.place(bundle), Path(cache).expanduser())
    return export_bundle(folder, Path(output), format, rows, tables)


def read_export(folder: str | Path) -> "ExportRecord":
    """Read what `export` wrote about an export, after every byte of the folder was verified.

    Raises:
        StorageError: a file is missing, additional or damaged.
    """
    from ctrloom.serving.export.record import RECORD, ExportRecord

    record = storage.read_record(Path(folder) / RECORD, ExportRecord)
    storage.verify_files(Path(folder), record.files, RECORD)
    return record


def read_predictions(file: str | Path) -> "pa.Table":
    """Read the Parquet file of an evaluation, a comparison or `predict`, with every byte verified.

    Raises:
        StorageError: it is missing or damaged.
        DataError: it is not Parquet.
    """
    from ctrloom.data.parquet.reader import read_table

    return read_table(Path(file))
