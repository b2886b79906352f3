"""A server process of the Google Cloud Storage API for tests: gcp-storage-emulator with missing features.

It handles requests concurrently (pyarrow keeps a half-read GET open), answers `Expect: 100-continue`,
enforces generation preconditions, supports multipart uploads of the XML API, and correctly reports the
progress of an upload that was interrupted at its beginning.
"""

import base64
import hashlib
import json
import logging
import sys
import threading
from functools import partial
from http.server import ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlparse
from xml.etree import ElementTree

import google_crc32c
from gcp_storage_emulator.handlers import buckets, objects
from gcp_storage_emulator.server import RequestHandler
from gcp_storage_emulator.storage import Storage


class PreconditionFailedError(Exception):
    """The generation of the object differs from that of the request."""


class CheckedStorage(Storage):
    """Writes an object only if the precondition of the request of this thread holds."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.lock = threading.RLock()
        self.asked = threading.local()
        self.parts: dict[str, dict[int, bytes]] = {}
        self.finished: dict[str, Any] = {}  # resumable uploads, whose status may be requested again

    def generation(self, bucket: str, name: str) -> int:
        """0 if there is no object."""
        return int(self.objects.get(bucket, {}).get(name, {}).get("generation", 0))

    def create_file(self, bucket: str, name: str, content: bytes, obj: Any, *upload: str) -> None:
        with self.lock:
            wanted = getattr(self.asked, "generation", None)
            if wanted is not None and self.generation(bucket, name) != wanted:
                raise PreconditionFailedError
            obj["generation"] = str(max(int(obj["generation"]), self.generation(bucket, name) + 1))
            super().create_file(bucket, name, content, obj, *upload)
            self.finished |= {each: obj for each in upload}


class Handler(RequestHandler):
    storage: CheckedStorage

    def parse_request(self) -> bool:
        known = super().parse_request()
        if known and self.headers.get("Expect", "").lower() == "100-continue":
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.wfile.flush()
        return known

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except PreconditionFailedError:
            self.answer(412, {"error": {"code": 412, "message": "conditionNotMet"}})
        except (BrokenPipeError, ConnectionResetError):
            pass

    def do_GET(self) -> None:
        query = self.note()
        path = unquote(urlparse(self.path).path)
        if "/o/" in path:
            name, bucket = path.split("/o/", 1)[1], path.split("/b/", 1)[1].split("/")[0]
        else:  # path of the XML API
            bucket, _, name = path.strip("/").partition("/")
        here = self.storage.generation(bucket, name)
        if here and self.storage.asked.generation not in (None, here):
            raise PreconditionFailedError
        if "generation" in query and here != int(query["generation"][0]):
            self.answer(404, {"error": {"code": 404, "message": "no such generation"}})
            return
        super().do_GET()

    def do_POST(self) -> None:
        query = self.note()
        if "uploads" in query:
            upload = hashlib.sha256(self.path.encode() + str(id(self)).encode()).hexdigest()
            self.storage.parts[upload] = {}
            self.xml(f"<R xmlns='http://s3.amazonaws.com/doc/2006-03-01/'><UploadId>{upload}</UploadId></R>")
        elif "uploadId" in query:
            body = ElementTree.fromstring(self.body())
            numbers = [int(found.text or 0) for found in body.iter() if found.tag.endswith("PartNumber")]
            parts = self.storage.parts.pop(query["uploadId"][0], None)
            if parts is None:
                self.answer(404, {"error": {"code": 404, "message": "NoSuchUpload"}})
                return
            bucket, _, name = unquote(urlparse(self.path).path).strip("/").partition("/")
            content = b"".join(parts[number] for number in numbers)
            here, size = f"http://{self.headers['Host']}", str(len(content))
            made = objects._make_object_resource(here, bucket, name, "application/octet-stream", size)
            self.storage.create_file(bucket, name, content, objects._checksums(content, made))
            self.xml("<R/>")
        else:
            super().do_POST()

    def do_PUT(self) -> None:
        query = self.note()
        if (done := self.storage.finished.get(query.get("upload_id", [""])[0])) is not None:
            self.body()
            self.answer(200, done)
            return
        if "partNumber" not in query:
            super().do_PUT()
            return
        content = self.body()
        digest = base64.b64encode(google_crc32c.Checksum(content).digest()).decode()
        if f"crc32c={digest}" not in self.headers.get("x-goog-hash", f"crc32c={digest}"):
            said = "<Code>BadDigest</Code><Message>damaged</Message><Details>crc32c</Details>"
            self.xml(f"<Error>{said}</Error>", 400)
            return
        self.storage.parts[query["uploadId"][0]][int(query["partNumber"][0])] = content
        self.answer(200, {}, {"ETag": f'"{digest}"', "x-goog-hash": f"crc32c={digest}"})

    def do_DELETE(self) -> None:
        query = self.note()
        if "uploadId" in query:
            self.storage.parts.pop(query["uploadId"][0], None)
            self.answer(204, {})
        else:
            super().do_DELETE()

    def note(self) -> dict[str, list[str]]:
        """The parameters of the request; its precondition is stored for the storage."""
        query = parse_qs(urlparse(self.path).query, keep_blank_values=True)
        wanted = query.get("ifGenerationMatch")
        self.storage.asked.generation = int(wanted[0]) if wanted else None
        return query

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def answer(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def xml(self, text: str, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())


def incomplete(response: Any, storage: Storage, upload: str, *_: Any, **__: Any) -> None:
    """Progress of an upload; the response has no range before the first byte."""
    response.status = objects.GoogleHTTPStatus.RESUME_INCOMPLETE
    if received := storage.get_resumable_byte_count(upload):
        response["Range"] = f"bytes=0-{received - 1}"


objects._resumable_incomplete = incomplete


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def serve(bucket: str) -> Server:
    """A server on a free local port, not yet running."""
    storage = CheckedStorage(use_memory_fs=True)
    buckets.create_bucket(bucket, storage)
    return Server(("127.0.0.1", 0), partial(Handler, storage))


if __name__ == "__main__":
    logging.disable()
    server = serve(sys.argv[1])
    print(server.server_port, flush=True)
    server.serve_forever()
