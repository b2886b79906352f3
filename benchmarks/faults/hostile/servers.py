"""Answers of an HTTP server and of Kubeflow Pipelines that no honest one gives."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from outcome import Outcome
from program import Program

from hostile.case import Case
from hostile.configs import CLICKS, DATA, NAME

Answer = Callable[[BaseHTTPRequestHandler], None]


class Served(Case):
    """A case whose command asks a server; `{url}` is its address in the command and in files."""

    answer: Answer

    def run(self, program: Program, folder: Path, assets: Path) -> tuple[Outcome, str]:
        """As that of a case, while the server runs."""
        with served(self.answer) as url:
            files = {
                name: content.replace("{url}", url) if isinstance(content, str) else content
                for name, content in self.files.items()
            }
            environment = (f"CTRLOOM_ENDPOINT={url}",)
            return Case(self.name, files, self.command, self.error, environment=environment).run(
                program, folder, assets
            )


def of(name: str, answer: Answer, error: str, files: dict[str, str], command: str) -> Served:
    """A case with a server."""
    case = Served(name, files, command, error)
    object.__setattr__(case, "answer", answer)
    return case


@contextmanager
def served(answer: Answer) -> Iterator[str]:
    """A server on this machine; yields its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        do_POST = do_PUT = do_DELETE = do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def says(content: str | bytes, status: int = 200, kind: str = "application/json", **headers: str) -> Answer:
    """The same answer to every request."""
    body = content.encode() if isinstance(content, str) else content

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        lines = {"content-type": kind, "content-length": str(len(body)), **headers}
        for name, value in lines.items():
            request.send_header(name.replace("_", "-"), value)
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(body)

    return answer


def page(name: str, answer: Answer, error: str) -> Served:
    """A file of clicks over HTTP."""
    config = NAME + DATA.replace("clicks.csv", "'{url}/clicks.csv'")
    return of(f"HTTP: {name}", answer, error, {"run.yaml": config}, "ingest run.yaml --store store")


def wait(name: str, answer: Answer, error: str) -> Served:
    """Waiting for a run of Kubeflow Pipelines."""
    return of(f"KFP wait: {name}", answer, error, {}, "wait 7d8b --timeout 2")


def schedule(name: str, answer: Answer, error: str) -> Served:
    """Creating a recurring run, which lists pipelines and recurring runs."""
    files = {"run.yaml": NAME + DATA.replace("clicks.csv", "gs://b/clicks.csv"), "clicks.csv": CLICKS}
    command = (
        "schedule run.yaml --cron '0 0 3 * * *' --name daily --image example/x:1 --parameter store=gs://b/x"
    )
    return of(f"KFP schedule: {name}", answer, error, files, command)


def _pages(request: BaseHTTPRequestHandler) -> None:
    kind = request.path.split("?")[0].rsplit("/", 1)[-1]
    items = {
        "experiments": [{"experiment_id": "1", "display_name": "x"}],
        "pipelines": [{"pipeline_id": "1", "display_name": "x"}],
    }
    says(json.dumps({kind: items.get(kind, []), "next_page_token": "again"}))(request)


def _close(request: BaseHTTPRequestHandler) -> None:
    request.connection.close()


def _short(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.send_header("content-length", "100000")
    request.end_headers()
    request.wfile.write(CLICKS.encode())
    request.connection.close()


def _around(request: BaseHTTPRequestHandler) -> None:
    says(b"", 302, location=request.path + "x")(request)


CASES: list[Case] = [
    page("404", says("no", 404), r"clicks\.csv.*404"),
    page("500", says("no", 500), r"clicks\.csv.*500"),
    page("401", says("no", 401), r"clicks\.csv.*401"),
    page("a web page", says("<!DOCTYPE html><html>log in</html>", kind="text/html"), r"clicks\.csv"),
    page("no content", says(b""), r"clicks\.csv.*empty"),
    page("less than it promises", _short, r"clicks\.csv"),
    page("no answer", _close, r"clicks\.csv"),
    page("redirects without end", _around, r"clicks\.csv.*redirect"),
    page("a damaged gzip", says(b"\x1f\x8b\x08\0garbage"), r"clicks\.csv"),
    wait("500", says('{"error": "x"}', 500), r"127\.0\.0\.1|timeout|did not|not finished"),
    wait("404", says('{"error": "x"}', 404), r"404|not found"),
    wait("a web page", says("<html>log in</html>", kind="text/html"), r"127\.0\.0\.1"),
    wait("no JSON", says("{"), r"127\.0\.0\.1"),
    wait("a list", says("[]"), r"127\.0\.0\.1"),
    wait("null", says("null"), r"127\.0\.0\.1"),
    wait("a text", says('"x"'), r"127\.0\.0\.1"),
    wait(
        "an unknown state",
        says('{"run_id": "7d8b", "state": "DREAMING"}'),
        r"(DREAMING|127\.0\.0\.1|not finished)",
    ),
    wait("a state that is a number", says('{"run_id": "7d8b", "state": 7}'), r"(7|127\.0\.0\.1)"),
    wait(
        "a date that is none",
        says('{"run_id": "7d8b", "state": "RUNNING", "created_at": "yesterday"}'),
        r"(127\.0\.0\.1|yesterday|not finished)",
    ),
    wait(
        "a date of February 30",
        says('{"run_id": "7d8b", "state": "RUNNING", "created_at": "2026-02-30T00:00:00Z"}'),
        r"(127\.0\.0\.1|2026-02-30|not finished)",
    ),
    wait("nested 100,000 deep", says("[" * 100_000), r"127\.0\.0\.1"),
    wait("binary", says(bytes(range(256))), r"127\.0\.0\.1"),
    wait("redirects without end", _around, r"127\.0\.0\.1"),
    wait("no answer", _close, r"127\.0\.0\.1"),
    schedule("one page again and again", _pages, r"127\.0\.0\.1|page"),
    schedule("a list", says("[]"), r"127\.0\.0\.1"),
    schedule("null", says("null"), r"127\.0\.0\.1"),
    schedule("no JSON", says("<html>"), r"127\.0\.0\.1"),
    schedule("numbers", says('{"experiments": 3, "pipelines": 3, "recurringRuns": 3}'), r"127\.0\.0\.1"),
    schedule("nothing", says("{}"), r"127\.0\.0\.1"),
]
