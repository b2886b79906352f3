"""Submit, schedule and wait against a server of KFP's API: requests and error messages."""

import json
import socket
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
import yaml
from kfp_server import Server, start
from typer.testing import CliRunner

pytest.importorskip("kfp_server_api", reason="the extra `pipelines` is not installed")

from ctrloom.cli import app
from ctrloom.config import ClusterConfig
from ctrloom.config.base import ConfigError
from ctrloom.config.files import load_cluster_config
from ctrloom.runners import compiled, endpoint
from ctrloom.runners.cluster import Cluster
from ctrloom.runners.endpoint import ClusterError, UnreachableError
from ctrloom.runners.request import PipelineRequest, RequestError, revision, six_fields, texts

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # KFP's client, of urllib3
SECRET = "very-secret-token"
RUN = {
    "name": "clicks",
    "data": {
        "files": "clicks.csv",
        "columns": {"click": "label", "user": "categorical", "ad": "categorical"},
    },
    "search": {"epochs": 2},
    "seeds": [3, 4],
}


@pytest.fixture
def server():
    server = Server()
    stop = start(server)
    yield server
    stop()


@pytest.fixture
def folder(tmp_path, server, monkeypatch):
    for name in (
        "CTRLOOM_TOKEN",
        "CTRLOOM_CLUSTER",
        *(f"CTRLOOM_{k.upper()}" for k in ClusterConfig.model_fields),
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clicks.csv").write_text("click,user,ad\n1,a,b\n")
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(RUN))
    cluster = {
        "endpoint": server.url,
        "namespace": "team",
        "service_account": "runner",
        "pipeline_root": "gs://bucket/kfp",
        "store": "/mnt/store",
        "image": "registry/ctrloom-python:1",
        "gpu_image": "registry/ctrloom-python-gpu:1",
    }
    (tmp_path / "cluster.yaml").write_text(yaml.safe_dump(cluster))
    return tmp_path


def ctrloom(*arguments):
    """Exit status, standard output and errors; errors are raised instead of printed."""
    done = CliRunner().invoke(app, [*map(str, arguments), "--cluster", "cluster.yaml"])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def submitted(server, *arguments):
    done = ctrloom("submit", "run.yaml", *arguments)
    assert done.exit_code == 0, done.output
    assert server.all("runs")[-1]["run_id"] == done.stdout.strip()
    return server.of("POST", "runs")[-1].body


def test_submit_sends_configuration_images_and_account(server, folder):
    body = submitted(server, "--name", "tonight", "--set", "search.epochs=5")
    (experiment,) = server.all("experiments")
    assert (experiment["display_name"], experiment["namespace"]) == ("ctrloom", "team")
    assert (body["display_name"], body["service_account"]) == ("tonight", "runner")
    assert body["experiment_id"] == experiment["experiment_id"]
    assert body["runtime_config"]["pipeline_root"] == "gs://bucket/kfp"
    given = body["runtime_config"]["parameters"]
    assert (given["name"], given["seeds"], given["store"]) == ("clicks", [3, 4], "/mnt/store")
    assert given["search"]["epochs"] == 5
    spec, platform = body["pipeline_spec"]["pipeline_spec"], body["pipeline_spec"]["platform_spec"]
    assert spec["pipelineInfo"]["name"] == "search-and-retrain-autofis"
    images = {name: its["container"]["image"] for name, its in spec["deploymentSpec"]["executors"].items()}
    assert images["exec-ingest"] == "registry/ctrloom-python:1"
    assert images["exec-retrain"] == "registry/ctrloom-python-gpu:1"
    assert "exec-retrain" in platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]


@pytest.mark.parametrize(
    ("search", "pipeline"),
    [
        ({"method": "aim"}, "search-and-retrain-aim"),
        ({"method": "optinter"}, "search-and-retrain-optinter"),
        ({"method": "autopi"}, "search-and-retrain-autopi"),
        ({"method": "random", "keep": {2: 1}}, "search-and-retrain-selection"),
        ({"method": "mutual_information", "keep": {2: 1}}, "search-and-retrain-selection"),
    ],
)
def test_submit_takes_the_pipeline_of_the_search_method(search, pipeline, server, folder):
    given = "--parameter", f"search={json.dumps(search)}", "--set", "vocabulary.crosses={}"
    body = submitted(server, *given)
    assert body["pipeline_spec"]["pipeline_spec"]["pipelineInfo"]["name"] == pipeline
    assert body["runtime_config"]["parameters"]["search"]["method"] == search["method"]


def test_submit_rejects_an_unknown_method_before_anything_starts(server, folder):
    with pytest.raises(ConfigError, match=r"search\.method: must be .*did you mean 'autofis'"):
        ctrloom("submit", "run.yaml", "--set", "search.method=autofiss")
    (folder / "search.yaml").write_text("method: nonsense\n")
    with pytest.raises(ConfigError, match=r"search\.method: must be"):
        ctrloom("submit", "run.yaml", "--parameter", "search=@search.yaml")
    with pytest.raises(ConfigError, match=r"'autofis', whose pipeline is search_and_retrain_autofis"):
        ctrloom("submit", "run.yaml", "--pipeline", "search_and_retrain_aim")
    assert server.asked == []


def test_submit_applies_a_hardware_file(server, folder):
    (folder / "mine.yaml").write_text(
        "profiles: {gpu: {node_selector: {cloud.google.com/gke-accelerator: nvidia-h100-80gb}}}\n"
        "environment: {secrets: [{name: keys, variables: {TOKEN: token}}]}\n"
    )
    platform = submitted(server, "--hardware=mine.yaml")["pipeline_spec"]["platform_spec"]
    its = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["exec-retrain"]
    assert its["nodeSelector"]["labels"] == {"cloud.google.com/gke-accelerator": "nvidia-h100-80gb"}
    assert its["secretAsEnv"][0]["secretName"] == "keys"


def test_experiment_is_created_once(server, folder):
    submitted(server)
    submitted(server, "--image", "registry/other-python:2")
    assert len(server.all("experiments")) == 1
    executors = server.of("POST", "runs")[-1].body["pipeline_spec"]["pipeline_spec"]["deploymentSpec"][
        "executors"
    ]
    assert executors["exec-ingest"]["container"]["image"] == "registry/other-python:2"


def test_submit_no_cached_disables_caching(server, folder):
    def cached():
        spec = server.of("POST", "runs")[-1].body["pipeline_spec"]["pipeline_spec"]
        return {
            task["cachingOptions"].get("enableCache", False)
            for task in compiled.tasks(spec)
            if "cachingOptions" in task
        }

    submitted(server)
    assert cached() == {True, False}
    submitted(server, "--no-cached")
    assert cached() == {False}


def test_submit_sends_the_jobs_of_a_comparison(server, folder):
    comparison = {key: RUN[key] for key in ("name", "data", "seeds")} | {
        "evaluation": {"base": "fm"},
        "entries": [{"name": "fm", "model": "fm"}, {"name": "lr", "model": "lr"}],
    }
    (folder / "run.yaml").write_text(yaml.safe_dump(comparison))
    given = submitted(server, "--pipeline", "compare")["runtime_config"]["parameters"]
    assert [(job["entry"]["name"], job["seed"]) for job in given["jobs"]] == [
        ("fm", 3),
        ("fm", 4),
        ("lr", 3),
        ("lr", 4),
    ]
    assert given["comparison"]["evaluation"]["base"] == "fm"


def test_schedule_sends_the_registry_of_a_retraining(server, folder):
    retraining = {
        "name": "retrain",
        "data": {
            "files": "gs://bucket/clicks/{date}/*.parquet",
            "format": "parquet",
            "columns": {
                "click": "label",
                "user": "categorical",
                "at": {"kind": "timestamp", "derive": ["hour"]},
            },
            "split": {"by": "time", "valid": 0.1, "test": 0.2},
        },
    }
    (folder / "run.yaml").write_text(yaml.safe_dump(retraining))
    registry = "registry=gs://bucket/registry"
    scheduled("--pipeline", "scheduled_retrain", "--parameter", registry, "--cron", "0 0 2 * * *")
    (recurring,) = server.all("recurringruns")
    given = recurring["runtime_config"]["parameters"]
    assert (given["name"], given["registry"], given["store"]) == (
        "retrain",
        "gs://bucket/registry",
        "/mnt/store",
    )
    assert "until" not in given, "yesterday, whenever it runs"
    with pytest.raises(RequestError, match="needs registry"):
        ctrloom("schedule", "run.yaml", "--pipeline", "scheduled_retrain", "--cron", "0 0 2 * * *")


BATCH = {"name": "nightly", "files": "gs://bucket/raw/{date}/*.parquet", "keep": ["id"]}


def test_a_batch_prediction_is_scheduled_with_the_champion(server, folder):
    (folder / "run.yaml").write_text(yaml.safe_dump(BATCH))
    given = ("--parameter", "registry=gs://bucket/registry", "--parameter", "until=yesterday")
    scheduled("--pipeline", "batch_predict", *given, "--cron", "0 0 4 * * *")
    (recurring,) = server.all("recurringruns")
    assert recurring["runtime_config"]["parameters"] == {
        "name": "nightly",
        "files": ["gs://bucket/raw/{date}/*.parquet"],
        "keep": ["id"],
        "format": "parquet",
        "days": 1,
        "timezone": "UTC",
        "registry": "gs://bucket/registry",
        "until": "yesterday",
        "store": "/mnt/store",
    }


@pytest.mark.parametrize(
    ("parameter", "told"),
    [
        ("format=json", "format: "),
        ("keep=id", "keep: "),
        ("days=0", "days: "),
        ("bundle=gs://bucket/bundle", "registry: there is a bundle already"),
        ("revision=3", "batch_predict has no 'revision'"),
    ],
)
def test_a_parameter_of_a_batch_prediction_is_validated_before_it_is_sent(server, folder, parameter, told):
    (folder / "run.yaml").write_text(yaml.safe_dump({**BATCH, "registry": "gs://bucket/registry"}))
    with pytest.raises((ConfigError, RequestError), match=told):
        ctrloom("submit", "run.yaml", "--pipeline", "batch_predict", "--parameter", parameter)
    assert server.all("runs") == []


def test_a_batch_prediction_of_local_files_says_where_they_must_be(server, folder):
    (folder / "run.yaml").write_text(yaml.safe_dump({**BATCH, "files": "raw.csv", "bundle": "gs://b/bundle"}))
    done = ctrloom("submit", "run.yaml", "--pipeline", "batch_predict")
    assert done.exit_code == 0, done.output
    assert f"files: {folder}/raw.csv: a local path, which must also exist in the pods" in done.stderr


def test_changed_files_change_the_revision(server, folder):
    def sent():
        return submitted(server)["runtime_config"]["parameters"]["revision"]

    first = sent()
    assert sent() == first
    (folder / "clicks.csv").write_text("click,user,ad\n1,a,b\n0,c,d\n")
    assert sent() != first
    assert submitted(server, "--parameter", "revision=x")["runtime_config"]["parameters"]["revision"] == "x"


def test_revision_is_unique_if_files_cannot_be_listed(folder):
    files = yaml.safe_load("{train: ['no-such-scheme://bucket/x.csv']}")
    from ctrloom.config import Files

    assert revision(Files(**files)) != revision(Files(**files))


def test_submit_wait_succeeds(server, folder, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    done = ctrloom("submit", "run.yaml", "--wait")
    assert done.exit_code == 0
    assert [line.split(": ")[1] for line in done.stderr.splitlines() if ": " in line][-3:] == server.states
    assert len(server.of("GET", "runs/")) == 3


def test_run_on_a_cluster_submits_and_waits(server, folder, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    server.states = ["RUNNING", "FAILED"]
    done = ctrloom("run", "run.yaml", "--runner", "cluster")
    assert done.exit_code == 1
    assert len(server.all("runs")) == 1
    assert not (folder / "runs").exists()


KFP_LISTS_TOO = ("executor(0)", "executor", "root", "for-loop-1", "iteration-item(1)", "condition-1")
KFP_LISTS_TOO += ("search-and-retrain-autofis-x7k2p(0)", "compare-nfl2c")  # the workflow


@pytest.mark.parametrize("state", ["FAILED", "CANCELED", "SKIPPED"])
def test_wait_fails_if_the_run_fails(state, server, folder, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    server.states = ["RUNNING", state]
    server.run_details = {
        "task_details": [
            {"display_name": "ingest", "state": "SUCCEEDED"},
            {"display_name": "retrain", "state": "FAILED", "child_tasks": [{"pod_name": "x-1"}]},
            {"display_name": "retrain(0)", "state": "FAILED", "error": {"code": 2, "message": "no GPU"}},
            {"display_name": "transfer(0)", "state": "FAILED"},
            {"display_name": "compare-table(0)", "state": "FAILED"},
            {"display_name": "root-driver(0)", "state": "FAILED"},
            *({"display_name": name, "state": "FAILED"} for name in KFP_LISTS_TOO),
        ]
    }
    done = ctrloom("submit", "run.yaml", "--wait")
    assert done.exit_code == 1
    steps = "compare-table: failed; retrain: no GPU; root-driver: failed; transfer: failed"
    assert f": {state}: {steps}\n" in done.stderr
    assert f"logs --selector pipeline/runid={server.all('runs')[0]['run_id']}" in done.stderr
    again = ctrloom("wait", server.all("runs")[0]["run_id"])
    assert again.exit_code == 1
    assert f"/#/runs/details/{server.all('runs')[0]['run_id']}" in again.stderr


def test_wait_reports_cancelled_although_kfp_reports_failed(server, folder, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    server.states = ["RUNNING", "CANCELING", "FAILED"]
    done = ctrloom("submit", "run.yaml", "--wait")
    assert done.exit_code == 1
    assert f"{server.all('runs')[0]['run_id']}: CANCELED" in done.stderr


def test_wait_times_out(server, folder):
    server.states = ["RUNNING"]
    submitted(server)
    done = ctrloom("wait", server.all("runs")[0]["run_id"], "--timeout", "1")
    assert done.exit_code == 124
    assert "still running after 1 seconds" in done.stderr


def test_wait_retries_while_the_endpoint_is_unavailable(server, folder, monkeypatch):
    monkeypatch.setattr(
        "time.sleep",
        lambda seconds: server.faults.extend([503, 429] if seconds and not fell else []) or fell.append(1),
    )
    fell = []
    submitted(server)
    done = ctrloom("wait", server.all("runs")[0]["run_id"])
    assert done.exit_code == 0
    assert "answers 503" in done.stderr
    assert "answers 429" in done.stderr


def test_wait_fails_at_once_for_an_unknown_run(server, folder):
    with pytest.raises(ClusterError, match=r"404 .*runs no-such-run not found"):
        ctrloom("wait", "no-such-run")


def test_token_is_sent_and_never_printed(server, folder, monkeypatch):
    server.token = SECRET
    with pytest.raises(ClusterError, match=r"401 .*no user identity.*CTRLOOM_TOKEN"):
        ctrloom("submit", "run.yaml")
    monkeypatch.setenv("CTRLOOM_TOKEN", "wrong")
    with pytest.raises(ClusterError, match="401") as refused:
        ctrloom("submit", "run.yaml")
    assert "wrong" not in str(refused.value)
    monkeypatch.setenv("CTRLOOM_TOKEN", SECRET)
    done = ctrloom("submit", "run.yaml")
    assert done.exit_code == 0
    assert SECRET not in done.output
    assert all(SECRET not in json.dumps(each.body) for each in server.asked)


def test_token_file_is_reread(server, folder):
    server.token = "first"
    (folder / "token").write_text("first\n")
    cluster = Cluster(ClusterConfig(endpoint=server.url, token_file=folder / "token"))
    request = PipelineRequest.of("search_and_retrain_autofis", {"name": "x", "data": {}, "store": "s"}, {})
    cluster.submit(request, "x")
    server.token = "second"
    (folder / "token").write_text("second\n")
    assert cluster.submit(request, "x")


def test_deleted_token_file_is_named(server, folder):
    (folder / "token").write_text("first\n")
    cluster = Cluster(ClusterConfig(endpoint=server.url, token_file=folder / "token"))
    (folder / "token").unlink()
    with pytest.raises(ClusterError, match=r"token_file: .*cannot be read"):
        cluster.wait("some-run", timeout=1)


def test_redirect_to_a_login_page_is_not_followed(server, folder):
    server.faults = [302]
    with pytest.raises(ClusterError, match=r"refuses: 302 .*login page"):
        ctrloom("wait", "some-run")
    assert len(server.asked) == 1


def test_untrusted_certificate_is_reported(folder):
    made = folder / "key.pem", folder / "certificate.pem"
    self_signed(*made)
    server = Server()
    stop = start(server, tls=made)
    try:
        with pytest.raises(ClusterError, match=r"certificate verify failed.*ca_certificate"):
            Cluster(ClusterConfig(endpoint=server.url)).wait("some-run", timeout=1)
        trusting = Cluster(ClusterConfig(endpoint=server.url, ca_certificate=made[1]))
        assert trusting.submit(
            PipelineRequest.of("search_and_retrain_autofis", {"name": "x", "data": {}, "store": "s"}, {}), "x"
        )
    finally:
        stop()


def self_signed(key_file, certificate_file):
    """A self-signed certificate for 127.0.0.1."""
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    here = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(here, critical=False)
        .sign(key, hashes.SHA256())
    )
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    key_file.write_bytes(key.private_bytes(serialization.Encoding.PEM, *form))
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def test_a_missing_token_file_is_named(server, folder):
    with pytest.raises(ClusterError, match=r"token_file: .*nothing: cannot be read"):
        Cluster(ClusterConfig(endpoint=server.url, token_file=folder / "nothing"))


def test_refusal_suggests_a_fix(server, folder):
    server.forbidden = ("POST runs",)
    with pytest.raises(ClusterError, match=r"403 .*'ci' is not authorized.*role binding"):
        ctrloom("submit", "run.yaml")
    assert server.all("runs") == []


def test_unreachable_endpoint_is_named(folder, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("CTRLOOM_ENDPOINT", f"http://127.0.0.1:{port}")
    with pytest.raises(
        UnreachableError, match=rf"127.0.0.1:{port} does not answer \(connection refused\).*port-forward"
    ):
        ctrloom("submit", "run.yaml")
    with pytest.raises(UnreachableError, match="does not answer"):
        ctrloom("wait", "some-run")


def test_silent_endpoint_times_out(server, folder, monkeypatch):
    monkeypatch.setattr(endpoint, "PATIENCE", 0.2)
    server.faults = [2.0]
    with pytest.raises(UnreachableError, match="no answer within"):
        ctrloom("submit", "run.yaml")


@pytest.mark.parametrize("page", ["<html>Sign in</html>", "{}"])
def test_address_that_is_not_kfp_is_rejected(page, server, folder):
    server.faults = [page]
    with pytest.raises(ClusterError, match="not like KFP"):
        ctrloom("wait", "some-run")


def test_endpoint_is_required_outside_of_a_cluster(folder, monkeypatch):
    monkeypatch.setattr(endpoint, "POD", folder / "no-pod")
    with pytest.raises(ClusterError, match="endpoint: required outside of a cluster"):
        Cluster(ClusterConfig())


def test_address_and_token_have_defaults_inside_of_a_cluster(folder, monkeypatch):
    (folder / "pod").mkdir()
    (folder / "token").write_text(SECRET)
    monkeypatch.setattr(endpoint, "POD", folder / "pod")
    monkeypatch.setattr(endpoint, "POD_TOKEN", folder / "token")
    inside = Cluster(ClusterConfig()).kfp
    assert inside.address == "http://ml-pipeline.kubeflow.svc.cluster.local:8888"
    assert inside.runs.api_client.configuration.get_api_key_with_prefix("authorization") == f"Bearer {SECRET}"


def scheduled(*arguments):
    done = ctrloom("schedule", "run.yaml", *arguments)
    assert done.exit_code == 0, done.output
    return done


def test_schedule_sends_cron_and_options(server, folder):
    done = scheduled("--cron", "30 2 * * 1-5", "--catch-up", "--concurrency", "3", "--name", "nightly")
    assert "five fields have no seconds; taken as '0 30 2 * * 1-5'" in done.stderr
    (recurring,) = server.all("recurringruns")
    assert recurring["recurring_run_id"] == done.stdout.strip()
    body = server.of("POST", "recurringruns")[0].body
    assert body["trigger"] == {"cron_schedule": {"cron": "0 30 2 * * 1-5"}}
    assert (body["display_name"], body["mode"], body["service_account"]) == ("nightly", "ENABLE", "runner")
    assert (body["no_catchup"], body["max_concurrency"]) == (False, "3")
    assert body["runtime_config"]["parameters"]["seeds"] == [3, 4]
    (pipeline,), (version,) = server.all("pipelines"), server.all("versions")
    assert (pipeline["display_name"], pipeline["namespace"]) == ("search-and-retrain-autofis", "team")
    assert body["pipeline_version_reference"] == {
        "pipeline_id": pipeline["pipeline_id"],
        "pipeline_version_id": version["pipeline_version_id"],
    }
    spec, platform = yaml.safe_load_all(version["file"])
    assert "platforms" in platform
    assert not any(task.get("cachingOptions") for task in compiled.tasks(spec)), (
        "files may change between runs"
    )


def test_schedule_replaces_the_same_name_and_keeps_an_identical_one(server, folder):
    first = scheduled("--cron", "0 0 2 * * *").stdout
    same = scheduled("--cron", "0 0 2 * * *")
    assert same.stdout == first
    assert "already scheduled" in same.stderr
    assert len(server.of("POST", "recurringruns")) == 1
    other = scheduled("--cron", "0 0 3 * * *").stdout
    assert (
        [each["recurring_run_id"] for each in server.all("recurringruns")]
        == [other.strip()]
        != [first.strip()]
    )
    verbs = [
        (each.method, each.path.split(":")[-1].split("/")[0]) for each in server.asked if each.method != "GET"
    ]
    assert verbs[-3:] == [("POST", "disable"), ("POST", "recurringruns"), ("DELETE", "recurringruns")]
    scheduled("--cron", "0 0 3 * * *", "--set", "search.epochs=9")
    assert len(server.all("recurringruns")) == 1
    assert len(server.all("versions")) == 1, "the pipeline is the same"
    scheduled("--cron", "0 0 3 * * *", "--image", "registry/ctrloom-python:2")
    assert len(server.all("versions")) == 2


@pytest.mark.parametrize("tokens", [("same",), ("a", "b", "a", "b"), tuple(map(str, range(9)))])
def test_endless_pages_are_an_error(tokens, server, folder, monkeypatch):
    monkeypatch.setattr("ctrloom.runners.cluster.MOST_PAGES", 7)
    server.page_tokens = tokens
    with pytest.raises(ClusterError, match="repeats the pages of its experiments without end"):
        Cluster(ClusterConfig(endpoint=server.url))._experiment()


def test_wait_with_a_timeout_that_is_no_number_ends(server):
    server.there["runs"]["one"] = {"run_id": "one", "state": "PENDING", "left": ["PENDING"]}
    assert Cluster(ClusterConfig(endpoint=server.url)).wait("one", timeout=float("nan")) is None


def test_schedule_removes_duplicates_of_one_name(server, folder):
    for n in range(5):  # more than a page
        mine = {
            "recurring_run_id": f"old-{n}",
            "display_name": "clicks",
            "namespace": "team",
            "mode": "ENABLE",
        }
        server.there["recurringruns"][f"old-{n}"] = mine
    server.there["recurringruns"]["other"] = {
        "recurring_run_id": "other",
        "display_name": "other",
        "mode": "ENABLE",
    }
    made = scheduled("--cron", "0 0 2 * * *").stdout.strip()
    assert set(server.there["recurringruns"]) == {"other", made}


def test_schedule_is_kept_if_its_replacement_fails(server, folder):
    first = scheduled("--cron", "0 0 2 * * *").stdout.strip()
    answer = server.answer
    server.answer = lambda r: (
        (400, {"message": "bad cron"}) if (r.method, r.path) == ("POST", "recurringruns") else answer(r)
    )
    with pytest.raises(ClusterError, match=r"400 .*bad cron"):
        ctrloom("schedule", "run.yaml", "--cron", "0 0 99 * * *")
    (recurring,) = server.all("recurringruns")
    assert (recurring["recurring_run_id"], recurring["mode"]) == (first, "ENABLE")


@pytest.mark.parametrize("cron", ["", "* * *", "0 0 2 * * * *", "0 0 2 * * $(date)"])
def test_invalid_cron_is_rejected(cron):
    with pytest.raises(RequestError, match="write six fields"):
        six_fields(cron)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--pipeline", "search"], "there is no 'search'; choose from batch_predict, compare, "),
        (["--parameter", "revison=3"], "did you mean 'revision'?"),
        (["--parameter", "revision"], "write NAME=VALUE"),
        (["--set", "data.files=https://me:pass@host/x.csv"], "has a password or signature in a URL"),
    ],
)
def test_invalid_request_is_rejected_before_it_is_sent(arguments, message, server, folder):
    with pytest.raises(RequestError, match=message.replace("?", r"\?")) as refused:
        ctrloom("submit", "run.yaml", *arguments)
    assert "pass@" not in str(refused.value)
    assert server.asked == []


def test_missing_store_names_the_parameter(server, folder):
    (folder / "cluster.yaml").write_text(f"endpoint: {server.url}\n")
    with pytest.raises(RequestError, match="needs store: give it with --parameter store="):
        ctrloom("submit", "run.yaml")


RETRAINING = {"name": "n", "registry": "r", "data": {}, "store": "s"}


def test_parameters_are_yaml_of_the_type_that_the_pipeline_declares(tmp_path):
    (tmp_path / "gate.json").write_text('{"auc": 0.5}')
    given = texts(["until=2026-01-02", "name=007", "engine='spark'", "days=3", f"gate=@{tmp_path}/gate.json"])
    values = PipelineRequest.of("scheduled_retrain", RETRAINING, given).parameters
    assert (values["until"], values["name"], values["engine"]) == ("2026-01-02", "007", "spark")
    assert (values["days"], values["gate"]) == (3, {"auc": 0.5})


@pytest.mark.parametrize(
    ("pipeline", "parameter", "message"),
    [
        ("scheduled_retrain", "days=many", "days: must be a whole number, not 'many'"),
        ("scheduled_retrain", "days=true", "days: must be a whole number"),
        ("scheduled_retrain", "gate=[1]", "gate: must be a mapping"),
        ("scheduled_retrain", "gate=[x", "gate: is not YAML"),
        ("scheduled_retrain", "gate=@nowhere", "gate: nowhere: No such file"),
        ("regression_eval", "strict=1", "strict: must be true or false"),
        ("regression_eval", "jobs=3", "jobs: must be a list"),
    ],
)
def test_a_parameter_of_another_type_is_rejected(pipeline, parameter, message):
    with pytest.raises((RequestError, ConfigError), match=message):
        PipelineRequest.of(pipeline, RETRAINING, texts([parameter]))


def test_parameter_that_is_given_twice_is_rejected():
    with pytest.raises(RequestError, match="--parameter days: is given twice; give it one value"):
        texts(["days=1", "days=2"])


def test_environment_overrides_the_cluster_file(folder):
    changed = load_cluster_config(folder / "cluster.yaml", {"CTRLOOM_NAMESPACE": "other"})
    assert (changed.namespace, changed.service_account) == ("other", "runner")
    assert load_cluster_config(None, {}) == ClusterConfig()
    (folder / "wrong.yaml").write_text("endpoit: http://x\n")
    with pytest.raises(ConfigError, match=r"did you mean 'endpoint'\?"):
        load_cluster_config(folder / "wrong.yaml", {})
    with pytest.raises(ConfigError, match="endpoint"):
        load_cluster_config(None, {"CTRLOOM_ENDPOINT": "https://me:pass@host"})
