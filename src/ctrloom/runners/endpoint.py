"""A KFP endpoint: its v2beta1 API, who asks, and what can go wrong in words."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ctrloom.config import ClusterConfig

POD = Path("/var/run/secrets/kubernetes.io/serviceaccount")
POD_TOKEN = Path("/var/run/secrets/kubeflow/pipelines/token")  # the audience of KFP, projected by the kubelet
INSIDE = "http://ml-pipeline.kubeflow.svc.cluster.local:8888"
PATIENCE = 60.0  # seconds that one request may take
LOGIN = "it sends to a login page: set CTRLOOM_TOKEN, or take the address of the ml-pipeline service"
REFUSALS = {
    302: LOGIN,
    303: LOGIN,
    401: "it wants a token: set CTRLOOM_TOKEN, or token_file",
    403: "this token or service account may not do that: check its role binding, and the namespace",
    404: "there is no such thing; where the address is that of something else than KFP, correct the endpoint",
}


class ClusterError(ValueError):
    """The endpoint does not answer, or not as asked; the message names it and the way out."""


class UnreachableError(ClusterError):
    """Nothing answered, or only for now: worth another try."""


class Endpoint:
    """The API's services at one address."""

    def __init__(self, config: ClusterConfig) -> None:
        """Connect as `config` says; nothing is sent yet.

        Raises:
            ClusterError: KFP's client is not installed, or there is no endpoint or token file.
        """
        try:
            import kfp_server_api
        except ImportError:
            raise ClusterError("clusters need KFP: pip install 'ctrloom[pipelines]'") from None

        self.address = (config.endpoint or _inside()).rstrip("/")
        settings = kfp_server_api.Configuration(host=self.address)
        settings.retries = False
        if config.ca_certificate:
            settings.ssl_ca_cert = str(config.ca_certificate)
        if token := _token(config):
            settings.api_key["authorization"] = token
            settings.api_key_prefix["authorization"] = "Bearer"
            settings.refresh_api_key_hook = lambda its: its.api_key.update(authorization=_token(config))
        client = kfp_server_api.ApiClient(settings)
        self.models = kfp_server_api
        self.experiments = kfp_server_api.ExperimentServiceApi(client)
        self.runs = kfp_server_api.RunServiceApi(client)
        self.recurring = kfp_server_api.RecurringRunServiceApi(client)
        self.pipelines = kfp_server_api.PipelineServiceApi(client)
        self.uploads = kfp_server_api.PipelineUploadServiceApi(client)

    def call(self, method: Callable[..., Any], *arguments: Any, its: str = "", **named: Any) -> Any:
        """One request, with what can go wrong in words; an answer has what `its` names."""
        from urllib3.exceptions import HTTPError

        try:
            answer = method(*arguments, _request_timeout=(PATIENCE, PATIENCE), **named)
        except self.models.ApiException as error:
            raise self._refused(error) from None
        except (HTTPError, OSError) as error:
            raise UnreachableError(
                f"{self.address} does not answer ({_reason(error)}): check the address, the network, and the "
                "port-forward where there is one (kubectl port-forward -n kubeflow svc/ml-pipeline 8888)"
            ) from None
        except ClusterError:  # the token cannot be read any more
            raise
        except (AttributeError, TypeError, ValueError) as error:
            if isinstance(error.__context__, self.models.ApiException):
                raise self._refused(error.__context__) from None  # KFP's client stumbles where it has no body
            answer = None
        if answer is None or isinstance(answer, str) or (its and not getattr(answer, its)):
            raise ClusterError(
                f"{self.address} answers, but not as KFP does: is it the address of a login page? "
                "give that of the ml-pipeline service, or a token"
            )
        return answer

    def _refused(self, error: Any) -> ClusterError:
        if not error.status:  # the certificate is not trusted
            return ClusterError(f"{self.address}: {str(error.reason).splitlines()[-1]}; see ca_certificate")
        said = _message(error.body)
        if error.status == 429 or error.status >= 500:
            return UnreachableError(f"{self.address} answers {error.status} {error.reason}{said}")
        way_out = REFUSALS.get(error.status)
        return ClusterError(
            f"{self.address} refuses: {error.status} {error.reason}{said}"
            + (f"; {way_out}" if way_out else "")
        )


def _inside() -> str:
    if POD.exists():
        return INSIDE
    raise ClusterError(
        "endpoint: outside of a cluster one is needed: set it in the --cluster file, or CTRLOOM_ENDPOINT, "
        "such as http://localhost:8888 beside `kubectl port-forward -n kubeflow svc/ml-pipeline 8888`"
    )


def _token(config: ClusterConfig) -> str | None:
    if token := os.environ.get("CTRLOOM_TOKEN"):
        return token.strip()
    file = config.token_file or (POD_TOKEN if POD_TOKEN.exists() else None)
    try:
        return file.read_text(encoding="utf-8").strip() if file else None
    except OSError as error:
        raise ClusterError(f"token_file: {file}: cannot be read: {error.strerror}") from None


def _message(body: Any) -> str:
    """What the server says beyond the status, cut short."""
    try:
        said = json.loads(body)
        text = said.get("message") or said.get("error") or ""
    except (TypeError, ValueError, AttributeError):
        return ""
    return f" ({str(text)[:300]})" if text else ""


def _reason(error: BaseException) -> str:
    name = type(error).__name__
    if "Timeout" in name:
        return f"nothing came within {PATIENCE:.0f} seconds"
    return (
        "connection refused"
        if "refused" in str(error)
        else str(getattr(error, "reason", error) or name)[:200]
    )
