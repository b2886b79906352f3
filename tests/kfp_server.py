"""A small server of KFP's v2beta1 API: runs, recurring runs, pipelines, and faults on demand."""

import email
import json
import re
import ssl
import threading
import time
import uuid
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

API = "/apis/v2beta1/"
KEYS = {
    "experiments": "experiment_id",
    "runs": "run_id",
    "recurringruns": "recurring_run_id",
    "pipelines": "pipeline_id",
}
LISTS = {"recurringruns": "recurringRuns", "versions": "pipeline_versions"}


@dataclass
class Request:
    method: str
    path: str
    query: dict
    headers: dict
    body: dict | None


@dataclass
class Server:
    """Stored objects, received requests, and answers.

    `states` are those of a run, one per request for it. `faults` are the answers to the next requests: a
    status, a text that is not JSON, or seconds of silence.
    """

    states: list[str] = field(default_factory=lambda: ["PENDING", "RUNNING", "SUCCEEDED"])
    token: str | None = None
    forbidden: tuple[str, ...] = ()  # "POST runs", ...
    faults: list = field(default_factory=list)
    page_size: int = 2
    page_tokens: tuple[str, ...] = ()  # of the next pages; the last one repeats
    run_details: dict | None = None
    there: dict = field(default_factory=lambda: {kind: {} for kind in (*KEYS, "versions")})
    asked: list[Request] = field(default_factory=list)
    url: str = ""

    def all(self, kind):
        return list(self.there[kind].values())

    def of(self, method, path):
        """Requests of that method whose path begins with `path`."""
        return [each for each in self.asked if each.method == method and each.path.startswith(path)]

    def answer(self, request):
        """Status and answer, as in the API's specification."""
        if self.token and request.headers.get("authorization") != f"Bearer {self.token}":
            return 401, {
                "error": "Unauthenticated",
                "code": 16,
                "message": "Request header error: no user identity",
            }
        if f"{request.method} {request.path.split('/')[0]}" in self.forbidden:
            return 403, {"error": "PermissionDenied", "code": 7, "message": "User 'ci' is not authorized"}
        kind, _, rest = request.path.partition("/")
        if request.path == "pipelines/upload_version":
            version = {"pipeline_version_id": str(uuid.uuid4()), "pipeline_id": request.query["pipelineid"]}
            version |= {"display_name": request.query["name"], "file": request.body}
            return 200, self._keep("versions", version, "pipeline_version_id")
        if match := re.fullmatch(r"pipelines/([^/]+)/versions", request.path):
            return 200, self._page("versions", request.query, {"pipeline_id": match[1]})
        if not rest:
            if request.method == "GET":
                where = {"namespace": request.query["namespace"]} if "namespace" in request.query else {}
                return 200, self._page(kind, request.query, where)
            made = {**request.body, KEYS[kind]: str(uuid.uuid4())}
            if "experiment_id" in request.body:  # only the experiment decides a run's namespace
                made["namespace"] = self.there["experiments"][request.body["experiment_id"]].get("namespace")
            if kind == "runs":
                made |= {"state": "PENDING", "left": list(self.states), "run_details": self.run_details}
            return 200, self._keep(kind, made, KEYS[kind])
        name, _, verb = rest.partition(":")
        if name not in self.there[kind]:
            return 404, {"error": "NotFound", "code": 5, "message": f"{kind} {name} not found"}
        found = self.there[kind][name]
        if verb in ("enable", "disable"):
            found["mode"] = verb.upper()
            return 200, {}
        if request.method == "DELETE":
            del self.there[kind][name]
            return 200, {}
        if kind == "runs":
            found["state"] = found["left"].pop(0) if len(found["left"]) > 1 else found["left"][0]
            found.setdefault("state_history", []).append({"state": found["state"]})
        return 200, found

    def _keep(self, kind, made, key):
        self.there[kind][made[key]] = made
        return made

    def _page(self, kind, query, where):
        (only,) = json.loads(query["filter"])["predicates"]
        assert (only["operation"], only["key"]) == ("EQUALS", "display_name")
        found = [
            each
            for each in self.all(kind)
            if each["display_name"] == only["stringValue"] and all(each.get(k) == v for k, v in where.items())
        ]
        if self.page_tokens:
            asked = len([each for each in self.asked if each.path.startswith(kind)])
            token = self.page_tokens[min(asked, len(self.page_tokens)) - 1]
            return {LISTS.get(kind, kind): [], "total_size": 0, "next_page_token": token}
        begin = int(query.get("page_token") or 0)
        page = found[begin : begin + self.page_size]
        more = str(begin + self.page_size) if begin + self.page_size < len(found) else ""
        return {LISTS.get(kind, kind): page, "total_size": len(found), "next_page_token": more}


def start(server, tls=None):
    """Serve on a free local port, with the key and certificate `tls`; returns a function to stop it."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def handle_any(self):
            parts = urlsplit(self.path)
            query = {key: values[0] for key, values in parse_qs(parts.query).items()}
            headers = {key.lower(): value for key, value in self.headers.items()}
            raw = self.rfile.read(int(headers.get("content-length") or 0))
            request = Request(
                self.command, parts.path.removeprefix(API), query, headers, self.parsed(headers, raw)
            )
            server.asked.append(request)
            fault = server.faults.pop(0) if server.faults else None
            if isinstance(fault, float):
                time.sleep(fault)
            status, answer = (fault, {"message": "try later"}) if isinstance(fault, int) else (200, fault)
            if not isinstance(fault, int | str):
                status, answer = server.answer(request)
            text = answer if isinstance(answer, str) else json.dumps(answer)
            self.send_response(status)
            self.send_header("Content-Type", "text/html" if isinstance(answer, str) else "application/json")
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        do_GET = do_POST = do_DELETE = handle_any

        @staticmethod
        def parsed(headers, raw):
            kind = headers.get("content-type", "")
            if kind.startswith("multipart/"):
                message = email.message_from_bytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + raw)
                (part,) = message.get_payload()
                assert part.get_param("name", header="content-disposition") == "uploadfile"
                return part.get_payload(decode=True).decode()
            return json.loads(raw) if raw else None

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_):
            """Clients may disconnect."""

    listening = Quiet(("127.0.0.1", 0), Handler)
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls[1], tls[0])
        listening.socket = context.wrap_socket(listening.socket, server_side=True)
    server.url = f"{'https' if tls else 'http'}://127.0.0.1:{listening.server_port}"
    threading.Thread(target=listening.serve_forever, args=(0.01,), daemon=True).start()

    def stop():
        listening.shutdown()
        listening.server_close()

    return stop
