"""A server process of the S3 API for tests: moto, with verification of checksums."""

import base64
import hashlib
import io
import logging
import zlib
from collections.abc import Callable, Iterable
from typing import Any

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

DAMAGED = b"<Error><Code>BadDigest</Code><Message>The checksums differ.</Message></Error>"


class Checked:
    """Rejects bytes that do not match their checksums, like S3."""

    def __init__(self, to: Callable[..., Iterable[bytes]]) -> None:
        self.to = to

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        length = environ.get("CONTENT_LENGTH") or (None if environ.get("wsgi.input_terminated") else 0)
        body = environ["wsgi.input"].read(*[] if length is None else [int(length)])
        environ |= {"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}
        crc32 = base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()
        sha256 = hashlib.sha256(body).hexdigest()
        told = environ.get("HTTP_X_AMZ_CONTENT_SHA256", sha256)
        whole = len(told) != 64 or told == sha256  # otherwise it is a keyword
        if body and not (whole and environ.get("HTTP_X_AMZ_CHECKSUM_CRC32", crc32) == crc32):
            start("400 Bad Request", [("Content-Length", str(len(DAMAGED)))])
            return [DAMAGED]
        return self.to(environ, start)


if __name__ == "__main__":
    logging.getLogger("werkzeug").setLevel("ERROR")
    application = Checked(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, application, threaded=True)
    print(server.server_port, flush=True)
    server.serve_forever()
