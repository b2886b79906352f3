"""Object stores that repeat the pages of a list: an error, not a loop without end."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count

import pytest

from ctrloom import storage
from ctrloom.storage import StorageError, remote

pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
XML = (
    '<?xml version="1.0"?><ListBucketResult><Name>b</Name><IsTruncated>true</IsTruncated>'
    "<NextContinuationToken>{token}</NextContinuationToken></ListBucketResult>"
)


class Endless(ThreadingHTTPServer):
    daemon_threads = True
    period = 1  # after how many pages the tokens repeat

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.pages = count()


class Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Endless)
        token = f"page-{next(self.server.pages) % self.server.period}"
        xml = "list-type" in self.path
        body = XML.format(token=token) if xml else json.dumps({"nextPageToken": token, "prefixes": ["a/"]})
        self.send_response(200)
        self.send_header("Content-Type", "application/xml" if xml else "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endless]:
    running = Endless()
    threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
    url = f"http://127.0.0.1:{running.server_port}"
    for name, value in {
        "STORAGE_EMULATOR_HOST": url,
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    yield running
    running.shutdown()
    running.server_close()


@pytest.mark.parametrize("period", [1, 3, 10**9])
@pytest.mark.parametrize("scheme", ["gs", "s3"])
def test_list_without_end_is_an_error(
    server: Endless, scheme: str, period: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "MOST_PAGES", 20)
    server.period = period
    at = storage.place(f"{scheme}://b/folder")
    assert isinstance(at, storage.Location)
    for listed in (storage.objects_in, storage.folders):
        with pytest.raises(StorageError, match=f"{at}: cannot be listed: the server repeats pages"):
            listed(at)


def test_pages_up_to_the_last_one_are_read() -> None:
    pages = [("a", "1"), ("b", "2"), ("c", None)]
    assert list(remote.until_last(pages, lambda page: page[1], "list")) == pages
