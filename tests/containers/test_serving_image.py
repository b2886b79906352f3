"""The image of the server: its size, and a container that follows a registry; `make test-containers`."""

import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton
from served import DATATYPES, lines, request_of, version_of, write_bundle

from ctrloom import load_bundle
from ctrloom.data.dataset import Dataset
from ctrloom.runners.containers import CONFINED, find_engine, image_id
from ctrloom.serving.registry import Registry

pytestmark = pytest.mark.containers
IMAGE = os.environ.get("CTRLOOM_SERVE_IMAGE", f"ctrloom-serve:{version('ctrloom')}")
LIMIT = 700e6
# The image has PyTorch's build for CPUs unless TORCH_INDEX is changed: bytes that only the one for CUDA has.
CUDA = """
import sysconfig
from pathlib import Path
packages = Path(sysconfig.get_path("purelib"))
names = "c10_cuda*", "caffe2_nvrtc*", "torch_nvshmem*", "torch_cuda*"
globs = "nvidia/**/*", "triton/**/*", "cuda/**/*", *(f"torch/lib/lib{name}" for name in names)
found = {path for each in globs for path in packages.glob(each)}
print(sum(path.stat().st_size for path in found if path.is_file() and not path.is_symlink()))
"""


@pytest.fixture(scope="module")
def engine() -> str:
    found = find_engine()
    image_id(found, IMAGE)
    return found


def run(engine: str, *words: str) -> str:
    return subprocess.run([engine, *words], capture_output=True, text=True, check=True).stdout.strip()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def until(condition: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_image_without_cuda_is_small(engine: str) -> None:
    size = int(run(engine, "image", "inspect", "--format", "{{.Size}}", IMAGE))
    of_cuda = int(run(engine, "run", "--rm", "--entrypoint=/opt/ctrloom/bin/python", IMAGE, "-c", CUDA))
    assert size - of_cuda < LIMIT, f"{(size - of_cuda) / 1e6:.0f} MB, and {of_cuda / 1e6:.0f} MB of CUDA"


def test_image_has_neither_shell_nor_pip(engine: str) -> None:
    code = "import shutil; print([shutil.which(name) for name in ('sh', 'apt', 'pip')])"
    found = run(engine, "run", "--rm", "--entrypoint=/opt/ctrloom/bin/python", IMAGE, "-c", code)
    assert found == "[None, None, None]"


def promote(registry: Registry, bundle: Path) -> None:
    champion = registry.champion()
    registry.promote(version_of(bundle), champion and champion[1])


@pytest.fixture(scope="module")
def registry(mixed: Dataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[Registry, list[Path]]:
    """A registry with two versions, the first of them the champion, and their bundles."""
    folder = tmp_path_factory.mktemp("served")
    bundles = [write_bundle(mixed, folder / str(seed), seed) for seed in range(2)]
    made = Registry(str(folder / "registry"))
    for bundle in bundles:
        made.add(bundle, {}, {})
    promote(made, bundles[0])
    return made, bundles


def test_container_serves_the_champion_and_the_next_one(
    engine: str, registry: tuple[Registry, list[Path]], mixed_folder: Path
) -> None:
    made, bundles = registry
    folder = bundles[0].parent / "registry"
    http, grpc = free_port(), free_port()
    words = "serve", "--registry=/registry", "--poll=0.2", f"--port={http}", f"--grpc-port={grpc}"
    options = (*CONFINED, "--network=host", f"--volume={folder}:/registry:ro")
    container = run(engine, "run", "--detach", *options, IMAGE, *words)
    rows = lines(mixed_folder, 20)
    try:

        def ready() -> bool:
            try:
                return urllib.request.urlopen(f"http://127.0.0.1:{http}/v2/health/ready").status == 200
            except (urllib.error.URLError, ConnectionError):
                running = run(engine, "inspect", "--format", "{{.State.Running}}", container)
                assert running == "true", run(engine, "logs", container)
                return False

        def over_rest() -> tuple[str, np.ndarray]:
            body = json.dumps(request_of(rows)).encode()
            with urllib.request.urlopen(f"http://127.0.0.1:{http}/v2/models/champion/infer", body) as answer:
                found = json.load(answer)
            return found["model_version"], np.array(found["outputs"][0]["data"], np.float32)

        def over_grpc() -> tuple[str, np.ndarray]:
            inputs = [triton.InferInput(name, [len(rows), 1], "BYTES") for name in DATATYPES]
            for each, name in zip(inputs, DATATYPES, strict=True):
                each.set_data_from_numpy(np.array([[row[name].encode()] for row in rows], object))
            with triton.InferenceServerClient(f"127.0.0.1:{grpc}") as client:
                found = client.infer("champion", inputs)
            return found.get_response().model_version, found.as_numpy("probability").ravel()

        until(ready)
        for bundle in bundles:
            expected, wanted = load_bundle(bundle).predict(rows), version_of(bundle)
            promote(made, bundle)
            for request in (over_rest, over_grpc):
                until(lambda request=request, wanted=wanted: request()[0] == wanted)
                np.testing.assert_allclose(request()[1], expected, rtol=1e-5)
        run(engine, "stop", "--time", "30", container)
        assert run(engine, "inspect", "--format", "{{.State.ExitCode}}", container) == "143"
    finally:
        run(engine, "rm", "--force", container)
