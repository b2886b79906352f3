"""A KFP endpoint: v2beta1 API, authentication, and readable errors."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ctrloom.config import ClusterConfig
from ctrloom.config.errors import UserError
from ctrloom.config.extras import install

POD = Path("/var/run/secrets/kubernetes.io/serviceaccount")
POD_TOKEN = Path("/var/run/secrets/kubeflow/pipelines/token")  # projected with KFP as audience
INSIDE = "http://ml-pipeline.kubeflow.svc.cluster.local:8888"
PATIENCE = 60.0  # timeout of one request in seconds
LOGIN = "it redirects to a login page: set CTRLOOM_TOKEN, or use the address of the ml-pipeline service"
REFUSALS = {
    302: LOGIN,
    303: LOGIN,
    401: "it needs a token: set CTRLOOM_TOKEN, or token_file",
    403: "this token or service account has no permission: check its role binding, and the namespace",
    404: "not found; check that the endpoint is the address of KFP",
}


class ClusterError(UserError):
    """The endpoint does not answer or returns an error; the message names it and how to fix it."""


class UnreachableError(ClusterError):
    """The endpoint is unreachable or temporarily unavailable; the request can be retried."""


class Endpoint:
    """The API's services at one address."""

    def __init__(self, config: ClusterConfig) -> None:
        """Configure the client; nothing is sent yet.

        Raises:
            ClusterError: KFP's client is not installed, or there is no endpoint or token file.
        """
        try:
            import kfp_server_api
        except ImportError:
            raise ClusterError(f"clusters need KFP: {install('pipelines')}") from None

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
        """Send one request; the answer must have the attribute `its`."""
        from urllib3.exceptions import HTTPError

        try:
            answer = method(*arguments, _request_timeout=(PATIENCE, PATIENCE), **named)
        except self.models.ApiException as error:
            raise self._refused(error) from None
        except (HTTPError, OSError) as error:
            raise UnreachableError(
                f"{self.address} does not answer ({_reason(error)}): check the address, the network, and the "
                "port-forward, if any (kubectl port-forward -n kubeflow svc/ml-pipeline 8888)"
            ) from None
        except ClusterError:  # the token cannot be read
            raise
        except (AttributeError, RecursionError, TypeError, ValueError) as error:
            if isinstance(error.__context__, self.models.ApiException):
                raise self._refused(error.__context__) from None  # KFP's client fails on an empty body
            answer = None
        if answer is None or isinstance(answer, str) or (its and not getattr(answer, its)):
            raise ClusterError(
                f"{self.address} answers, but not like KFP: if it is a login page, use the address of the "
                "ml-pipeline service, or a token"
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
        "endpoint: required outside of a cluster: set it in the --cluster file, or CTRLOOM_ENDPOINT, "
        "such as http://localhost:8888 with `kubectl port-forward -n kubeflow svc/ml-pipeline 8888`"
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
    """The server's error message, truncated."""
    try:
        said = json.loads(body)
        text = said.get("message") or said.get("error") or ""
    except (TypeError, ValueError, AttributeError):
        return ""
    return f" ({str(text)[:300]})" if text else ""


def _reason(error: BaseException) -> str:
    name = type(error).__name__
    if "Timeout" in name:
        return f"no answer within {PATIENCE:.0f} seconds"
    return (
        "connection refused"
        if "refused" in str(error)
        else str(getattr(error, "reason", error) or name)[:200]
    )
