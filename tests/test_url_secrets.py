"""Passwords and signatures in URLs are used, and appear in nothing that is written or printed."""

import base64
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

from ctrloom import storage
from ctrloom.cli import app
from ctrloom.config import ClusterConfig, DataConfig, Files, RunConfig
from ctrloom.config.base import ConfigError
from ctrloom.config.engine import EngineConfig
from ctrloom.config.errors import UserError
from ctrloom.config.hardware import Environment
from ctrloom.config.url_secrets import MOST, REMEMBERED, has_secret, hidden, redacted, revealed
from ctrloom.data.ingest.date_window import windowed
from ctrloom.data.synthetic import SynthConfig, synthesize

PASSWORD, SIGNATURE = "canary-Pa55word", "canary%2FSigna+ture"


@pytest.fixture(autouse=True)
def _nothing_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(REMEMBERED, "")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://me:pw@host/x.csv", "https://***@host/x.csv"),
        ("https://token@host/x.csv", "https://***@host/x.csv"),
        ("https://me:p@w@host:80/a@b.csv", "https://***@host:80/a@b.csv"),
        ("hdfs://me:pw@host/x", "hdfs://***@host/x"),
        (
            "https://h/x?X-Amz-Date=1&X-Amz-Signature=ab%2F&n=2",
            "https://h/x?X-Amz-Date=1&X-Amz-Signature=***&n=2",
        ),
        (
            "https://h/x?X-Amz-Credential=a/b&X-Amz-Security-Token=c",
            "https://h/x?X-Amz-Credential=***&X-Amz-Security-Token=***",
        ),
        ("https://h/x?X-Goog-Signature=ab", "https://h/x?X-Goog-Signature=***"),
        ("https://h/x?sv=1&sig=ab%3D&se=2", "https://h/x?sv=1&sig=***&se=2"),
        ("https://h/x?token=a", "https://h/x?token=***"),
        ("https://h/x?access_token=a&page=2#top", "https://h/x?access_token=***&page=2#top"),
        ("https://h/x?api_key=a", "https://h/x?api_key=***"),
        ("https://h/x?AWSAccessKeyId=a&Signature=b", "https://h/x?AWSAccessKeyId=***&Signature=***"),
        ("https://u:p@h/x?password=a", "https://***@h/x?password=***"),
    ],
)
def test_secrets_are_hidden_and_given_back(url: str, shown: str) -> None:
    assert has_secret(url)
    assert has_secret(shown)
    assert hidden(url) == shown
    assert hidden(shown) == shown
    assert revealed(shown) == url
    assert redacted(f"cannot read '{url}', again {url}\n") == f"cannot read '{shown}', again {shown}\n"


@pytest.mark.parametrize(
    "url",
    [
        "a/b@c.csv",
        "https://h/x.csv",
        "https://h/a@b?page=1&author=me",
        "s3://b/k",
        "gs://b/d=*/*.csv",
        "/x?y",
    ],
)
def test_other_locations_stay(url: str) -> None:
    assert not has_secret(url)
    assert (hidden(url), revealed(url), redacted(url)) == (url, url, url)


def test_secret_is_given_back_only_to_its_own_host() -> None:
    hidden("https://me:pw@host/x.csv")
    for other in ("https://***@evil/x.csv", "https://***@host/y.csv", "https://***@host/x.csv?token=***"):
        assert revealed(other) == other


def test_dates_may_replace_a_placeholder(monkeypatch: pytest.MonkeyPatch) -> None:
    from datetime import date

    columns = {"y": "label", "a": "categorical", "t": "timestamp"}
    files = "https://me:pw@host/{date:%Y/%m}/x-{date}.csv?sig=abc"
    config = windowed(DataConfig.parse({"files": files, "columns": columns}, "data"), date(2026, 1, 2), 1)
    assert config.files.train == ("https://***@host/2026/01/x-2026-01-02.csv?sig=***",)
    assert revealed(config.files.train[0]) == "https://me:pw@host/2026/01/x-2026-01-02.csv?sig=abc"
    assert revealed("https://***@host/2026@evil/x-2026-01-02.csv?sig=***").count("pw") == 0


def test_renewed_signature_replaces_the_former_one() -> None:
    for signature in ("one", "two"):
        shown = hidden(f"https://h/x?sig={signature}")
    assert revealed(shown) == "https://h/x?sig=two"


def test_more_secrets_than_the_environment_takes_are_an_error() -> None:
    with pytest.raises(ConfigError, match=r"files: .*too many URLs with a password or signature"):
        Files.parse({"train": [f"https://h/{i}?sig={'s' * 1000}" for i in range(MOST // 1000)]}, "files")


def test_errors_hide_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden("https://me:secret-password@host/x?sig=abc")
    assert str(UserError("https://a:b@host: 401")) == "https://***@host: 401"
    assert str(UserError("refused: secret-password")) == "refused: ***"
    monkeypatch.setenv("CTRLOOM_TOKEN", "token-of-the-cluster")
    assert str(UserError("refused: Bearer token-of-the-cluster")) == "refused: Bearer ***"


def test_keys_in_the_url_of_a_store_are_rejected() -> None:
    with pytest.raises(storage.StorageError, match="do not belong in this URL") as error:
        storage.place("s3://AKIA:hunter22@bucket/data")
    assert "hunter22" not in str(error.value)


@pytest.mark.parametrize(
    "option",
    ["hadoop.fs.s3a.secret.key", "spark.x.access.key", "ssl.keyPassword", "x.oauthToken"],
)
def test_secret_among_options_of_spark_is_rejected(option: str) -> None:
    with pytest.raises(ConfigError, match="is a secret") as error:
        EngineConfig.parse({"spark": {option: "hunter22"}}, "run.yaml")
    assert "hunter22" not in str(error.value)
    EngineConfig.parse(
        {"spark": {"kubernetes.driver.secretKeyRef.A": "name:key", "executor.memory": "4g"}}, "f"
    )


@pytest.mark.parametrize(
    "variable", [{"DB_PASSWORD": "hunter22"}, {"HTTPS_PROXY": "http://me:hunter22@proxy"}]
)
def test_secret_among_variables_of_steps_is_rejected(variable: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="name a Kubernetes secret") as error:
        Environment.parse({"variables": variable}, "hardware.yaml")
    assert "hunter22" not in str(error.value)


SECRET_URL = "https://me:hunter22@host/x?token=hunter22"


@pytest.mark.parametrize(
    ("sections", "key"),
    [
        ({"evaluation": {"truth": SECRET_URL}}, "evaluation.truth"),
        ({"expected": {"fields": 1, "source": SECRET_URL}}, "expected.source"),
        ({"spark": {"driver": {"proxy": SECRET_URL}}}, "spark.driver.proxy"),
        ({"bundles": ["fm", SECRET_URL]}, "bundles.1"),
    ],
)
def test_secret_in_any_other_section_is_rejected(sections: dict[str, Any], key: str) -> None:
    data = {"files": SECRET_URL, "columns": {"y": "label", "a": "categorical"}}
    RunConfig.parse({"name": "a", "data": data}, "run.yaml")
    with pytest.raises(ConfigError, match=f"run.yaml: {key}: has a password or signature in a URL") as error:
        RunConfig.parse({"name": "a", "data": data, **sections}, "run.yaml")
    assert "hunter22" not in str(error.value)


@pytest.mark.parametrize("key", ["endpoint", "store", "pipeline_root", "image"])
def test_secret_in_the_cluster_file_is_rejected(key: str) -> None:
    with pytest.raises(ConfigError, match=f"cluster.yaml: {key}: has a password or signature") as error:
        ClusterConfig.parse({key: SECRET_URL}, "cluster.yaml")
    assert "hunter22" not in str(error.value)


class Guarded(BaseHTTPRequestHandler):
    """Serves a folder to requests that have password and signature."""

    folder: Path

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        wanted = "Basic " + base64.b64encode(f"me:{PASSWORD}".encode()).decode()
        known = self.headers.get("Authorization") == wanted and "Signa" in parse_qs(parts.query)["sig"][0]
        path = self.folder / parts.path[1:]
        status = 401 if not known else 200 if path.is_file() else 404
        body = path.read_bytes() if status == 200 else f"sorry, {self.path}".encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of `clicks.csv` and `bad.csv` on a server."""
    folder = tmp_path_factory.mktemp("served")
    synthesize(SynthConfig(rows=3_000, fields=3, sizes=(6,), pairs=1, seed=3), folder)
    lines = (folder / "clicks.csv").read_text().splitlines()
    (folder / "bad.csv").write_text("\n".join([*lines[:2000], "x,1", *lines[2000:]]))
    handler = type("Handler", (Guarded,), {"folder": folder})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://me:{PASSWORD}@127.0.0.1:{server.server_port}/NAME?sig={SIGNATURE}"
    server.shutdown()
    server.server_close()


def config(folder: Path, files: str) -> Path:
    run = {
        "name": "canary",
        "data": {"files": files, "columns": {"click": "label", "field_00..field_02": "categorical"}},
        "search": {"method": "random", "keep": {2: 1}, "random_draws": 1},
        "models": {"default": {"hidden": [4], "epochs": 1, "batch_size": 500}},
        "baselines": ["lr"],
        "transfer": [],
        "seeds": [0],
        "evaluation": {"base": "lr", "bootstrap": 20, "permutations": 0},
    }
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(run))
    return path


def leaks(*texts: str, folder: Path) -> list[str]:
    """Files and texts that contain a secret in any form."""
    forms = [PASSWORD, SIGNATURE, "Signa", base64.b64encode(f"me:{PASSWORD}".encode()).decode()]
    found = [text for text in texts if any(form in text for form in forms)]
    for path in sorted(folder.rglob("*")):
        content = path.read_bytes() if path.is_file() else b""
        if path.suffix == ".parquet":  # compressed
            content += str(pq.read_table(path).to_pydict()).encode()
        if any(form.encode() in content for form in forms):
            found.append(str(path))
    return found


def test_nothing_that_a_run_writes_or_prints_has_a_secret(python: str, url: str, tmp_path: Path) -> None:
    path, output = config(tmp_path, url.replace("NAME", "bad.csv")), tmp_path / "out"
    environment = {**os.environ, "TMPDIR": str(tmp_path / "temporary")}
    (tmp_path / "temporary").mkdir()

    def ctrloom(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        command = [python, "-m", "ctrloom", *map(str, arguments)]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=300, check=False
        )

    done = ctrloom("run", path, "--output", output)
    assert done.returncode == 0, done.stderr
    again = url.replace("NAME", "bad.csv")
    scored = ctrloom(
        "predict", "--bundle", output / "bundle", "--input", again, "--output", output / "scores.parquet"
    )
    assert scored.returncode == 0, scored.stderr
    path.unlink()
    (quarantined,) = (output / "data").glob("ingested-*/quarantine.parquet")
    assert "://***@127.0.0.1" in pq.read_table(quarantined)["file"][0].as_py()
    assert leaks(done.stdout, done.stderr, scored.stdout, scored.stderr, folder=tmp_path) == []
    saved = json.loads((output / "config.json").read_text())
    assert "://***@127.0.0.1" in saved["data"]["files"]["train"][0], "the file itself is still named"


CHANGES = [("NAME", "absent.csv"), (PASSWORD, "wrong-canary"), ("127.0.0.1", "nowhere.invalid")]


@pytest.mark.parametrize(("change", "debug"), [*((change, "") for change in CHANGES), (CHANGES[0], "1")])
def test_no_message_has_a_secret(
    change: tuple[str, str], debug: str, python: str, url: str, tmp_path: Path
) -> None:
    path = config(tmp_path, url.replace(*change).replace("NAME", "clicks.csv"))
    environment = {**os.environ, "CTRLOOM_DEBUG": debug}
    # The fixture's processes print tracebacks in their own way.
    command = [sys.executable if debug else python, "-m", "ctrloom", "ingest", str(path), "--store", "s"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert ("Traceback" in done.stderr) == bool(debug)
    assert done.returncode != 0
    (tmp_path / "run.yaml").unlink()
    assert "canary" not in done.stdout + done.stderr
    assert leaks(done.stdout, done.stderr, folder=tmp_path) == []


def test_run_on_a_cluster_with_a_secret_is_rejected(url: str, tmp_path: Path) -> None:
    path = config(tmp_path, url.replace("NAME", "clicks.csv"))
    cluster = {"endpoint": "http://127.0.0.1:9", "store": "gs://b/x", "pipeline_root": "gs://b/y"}
    (tmp_path / "cluster.yaml").write_text(yaml.safe_dump(cluster))
    done = CliRunner().invoke(app, ["submit", str(path), "--cluster", str(tmp_path / "cluster.yaml")])
    assert isinstance(done.exception, UserError)
    assert "has a password or signature in a URL" in str(done.exception)
    assert leaks(str(done.exception), done.output, folder=tmp_path / "none") == []
