import gc
import subprocess
import sys
import uuid
import warnings
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import boto3
import pytest
from faults import KINDS, Proxy, Spoil
from google.cloud.storage import retry

from ctrloom.storage import clients, remote

HERE = Path(__file__).parent
BUCKET = "loom"
S3_ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@pytest.fixture(scope="module", autouse=True)
def _clients_go_with_their_servers() -> Iterator[None]:
    """Collect sockets that clients leave open here, so that they do not cause a warning in the next test."""
    yield
    clients.client_of.cache_clear()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@contextmanager
def process(*arguments: str) -> Iterator[int]:
    """Start a server process; yields the port that it prints."""
    running = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, text=True)
    try:
        yield int(running.stdout.readline())
    finally:
        running.terminate()
        running.wait()
        running.stdout.close()


@pytest.fixture(scope="session")
def gcs_port() -> Iterator[int]:
    with process(str(HERE / "gcs_server.py"), BUCKET) as port:
        yield port


@pytest.fixture(scope="session")
def s3_port() -> Iterator[int]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in S3_ENVIRONMENT.items():
            patch.setenv(name, value)
        with process(str(HERE / "s3_server.py")) as port:
            client = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}")
            client.create_bucket(Bucket=BUCKET)
            client.close()
            yield port


@pytest.fixture
def gs(gcs_port: int, monkeypatch: pytest.MonkeyPatch) -> str:
    """URL of an empty prefix; the environment points to the local server, and retries do not wait long."""
    monkeypatch.setattr(retry, "DEFAULT_RETRY", retry.DEFAULT_RETRY.with_delay(initial=0.1, maximum=1.0))
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{gcs_port}")
    monkeypatch.setattr(remote, "PATIENCE", 20.0)
    return f"gs://{BUCKET}/{uuid.uuid4().hex}"


@pytest.fixture
def s3(s3_port: int, monkeypatch: pytest.MonkeyPatch) -> str:
    """URL of an empty prefix; the environment points to the local server."""
    for name, value in {**S3_ENVIRONMENT, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{s3_port}"}.items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/{uuid.uuid4().hex}"


@pytest.fixture(params=["file", "gs", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of an empty folder of each kind."""
    if request.param == "file":
        return f"file://{tmp_path / 'store'}"
    return str(request.getfixturevalue(request.param))


@pytest.fixture(params=["gs", "s3"])
def bucket(request: pytest.FixtureRequest) -> str:
    """URL of an empty prefix of each kind of object store."""
    return str(request.getfixturevalue(request.param))


@pytest.fixture
def spoil(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Spoil]:
    """Puts a fault-injecting proxy in front of the server of a store."""
    with ExitStack() as stack:

        def start(url: str, seed: int, share: float, kinds: Collection[str] = KINDS) -> Proxy:
            google = url.startswith("gs://")
            server = request.getfixturevalue("gcs_port" if google else "s3_port")
            arguments = (str(HERE / "faults.py"), str(server), str(seed), str(share), ",".join(kinds))
            port = stack.enter_context(process(*arguments))
            name = "STORAGE_EMULATOR_HOST" if google else "AWS_ENDPOINT_URL"
            monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
            return Proxy(port)

        yield start
