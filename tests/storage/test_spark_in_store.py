"""Spark, started as by its Kubernetes operator, on data in an object store."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from small import COLUMNS

import ctrloom
from ctrloom.config.files import load_run_config
from ctrloom.data.ingest.run import ingest
from ctrloom.data.manifest import EncodedManifest
from ctrloom.data.vocabulary.build import build_vocabulary

pyspark = pytest.importorskip("pyspark", reason="PySpark is not installed; `make test-spark` installs it")
ROOT = Path(__file__).parents[2]
PROPERTIES = {
    "spark.master": "local[2]",
    "spark.driver.memory": "1g",
    "spark.driver.host": "127.0.0.1",
    "spark.ui.enabled": "false",
}


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("java"), reason="there is no Java, which Spark needs")
def test_a_driver_in_the_image_writes_the_same_data_as_the_embedded_engine(gs, mixed_folder, tmp_path):
    files = {split: [str(mixed_folder / f"{split}.csv")] for split in ("train", "valid", "test")}
    run = {
        "name": "encode",
        "data": {"files": files, "columns": COLUMNS},
        "vocabulary": {"min_count": 3, "crosses": {"min_count": 2, "pairs": [["user", "age"]]}},
    }
    (tmp_path / "data.yaml").write_text(yaml.safe_dump(run))
    (tmp_path / "properties").write_text("".join(f"{key} {value}\n" for key, value in PROPERTIES.items()))
    main = Path(ctrloom.__file__).with_name("__main__.py")
    arguments = ["vocabulary", str(tmp_path / "data.yaml"), f"--store={gs}", "--engine=spark"]
    application = ["--class", "org.apache.spark.deploy.PythonRunner", f"local://{main}", *arguments]
    environment = {
        **os.environ,
        "SPARK_HOME": str(Path(pyspark.__file__).parent),
        "PYSPARK_PYTHON": sys.executable,
        "SPARK_DRIVER_BIND_ADDRESS": "127.0.0.1",
    }
    command = [
        "sh",
        str(ROOT / "docker/spark.sh"),
        "driver",
        "--properties-file",
        str(tmp_path / "properties"),
    ]
    done = subprocess.run(
        [*command, *application], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    there = EncodedManifest.load(done.stdout.splitlines()[-1])[0]
    config = load_run_config(tmp_path / "data.yaml")
    here = EncodedManifest.load(
        build_vocabulary(ingest(config.data, tmp_path / "store"), config.vocabulary, tmp_path / "store")
    )[0]
    assert there.base.startswith(str(gs))
    assert (there.files, there.encoder) == (here.files, here.encoder)  # names, rows, bytes and SHA-256
