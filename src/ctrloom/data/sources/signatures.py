"""What a file is by its first bytes, and what to do if it is not text."""

import re

from ctrloom.data.errors import DataError

HEAD_BYTES = 10  # that `codec_of` needs
_CODECS = {
    "gzip": rb"\x1f\x8b",
    "zstd": rb"\x28\xb5\x2f\xfd",
    "lz4": rb"\x04\x22\x4d\x18",
    "bz2": rb"BZh[1-9](1AY&SY|\x17rE8P\x90)",
}
_UNPACK = "compress it with gzip, zstd, bzip2 or lz4 instead, or not at all"
_WRITE = "write its rows as Parquet or CSV"
_OTHERS = {
    rb"PAR1": "is a Parquet file; set `format: parquet`, or write its rows as text",
    rb"PK\x03\x04": "is a zip archive or a workbook; unpack it, or save its sheet as CSV",
    rb"\xfd7zXZ\0": f"is compressed with xz; {_UNPACK}",
    rb"7z\xbc\xaf\x27\x1c": f"is a 7z archive; unpack it; {_UNPACK}",
    rb"Rar!": f"is a rar archive; unpack it; {_UNPACK}",
    rb"\x1f\x9d": f"is compressed with compress; {_UNPACK}",
    rb"(?s).{257}ustar": "is a tar archive; unpack it",
    rb"\xd0\xcf\x11\xe0": "is a workbook; save its sheet as CSV",
    rb"ARROW1": f"is an Arrow file; {_WRITE}",
    rb"Obj\x01": f"is an Avro file; {_WRITE}",
    rb"\x89HDF": f"is an HDF5 file; {_WRITE}",
    rb"\x93NUMPY": f"is a NumPy file; {_WRITE}",
    rb"SQLite format 3\0": f"is a SQLite database; {_WRITE}",
    rb"(?i)\s*(<!doctype html|<html)": "is a page of HTML, perhaps of a login or an error; download it again",
}


def codec_of(head: bytes) -> str | None:
    """Name of the compression of a file that begins with `head`; None if it is not compressed."""
    return next((codec for codec, pattern in _CODECS.items() if re.match(pattern, head)), None)


def require_text(path: str, head: bytes) -> None:
    """Raise DataError if a file whose decompressed content begins with `head` is not text."""
    for pattern, advice in _OTHERS.items():
        if re.match(pattern, head):
            raise DataError(f"{path}: {advice}")
    if codec := codec_of(head):
        raise DataError(f"{path}: is compressed twice; undo the outer compression ({codec} is within)")
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{path}: is UTF-16; set `encoding: utf-16`, or convert it to UTF-8 (iconv)")
    if b"\r" in head[:-1] and b"\n" not in head:  # the last one may precede a line feed
        raise DataError(
            f"{path}: has carriage returns instead of line feeds; convert it, "
            "for example with tr '\\r' '\\n' < old > new"
        )
