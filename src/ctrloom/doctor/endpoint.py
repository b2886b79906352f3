"""Check of the KFP endpoint: reachability, version and access."""

import http.client
import json
import urllib.error
import urllib.request

from ctrloom.doctor.checks import Check

OLDEST = (2, 0)  # its API is v2beta1
HEALTH = "/apis/v2beta1/healthz"
ADVICE = {
    401: "pass a token",
    403: "the token or service account may not use this endpoint: check its role binding",
    404: "this is not the KFP API: use the address of the ml-pipeline or ml-pipeline-ui service",
}


def endpoint(url: str, token: str | None = None, timeout: float = 10) -> Check:
    """Check that a KFP 2 API answers at `url`."""
    request = urllib.request.Request(url.rstrip("/") + HEALTH)
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    reach = (
        "check the address, the network, and kubectl port-forward svc/ml-pipeline-ui 8080:80 if you use it"
    )
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:
            health = json.load(response)
            if not isinstance(health, dict):
                raise ValueError("not an object")
    except urllib.error.HTTPError as error:
        fix = ADVICE.get(error.code, "check the logs of the ml-pipeline deployment")
        return Check("endpoint", "fail", f"{url} answers {error.code} {error.reason}", fix)
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        return Check("endpoint", "fail", f"{url} does not answer: {reason}", reach)
    except ValueError:
        return Check("endpoint", "fail", f"{url} answers, but is not KFP", ADVICE[404])
    return _judged(url, health.get("tag_name") or health.get("apiServerTagName") or "")


def _judged(url: str, version: str) -> Check:
    numbers = version.removeprefix("v").split(".")[:2]
    if len(numbers) < 2 or not all(number.isdigit() for number in numbers):
        return Check("endpoint", "ok", f"{url} answers, but does not report its version")
    if tuple(map(int, numbers)) < OLDEST:
        fix = "KFP 2 is needed: its API is v2beta1"
        return Check("endpoint", "fail", f"{url} is KFP {version}", fix)
    return Check("endpoint", "ok", f"{url} is KFP {version}")
