"""Where pipeline steps run: node profiles, and the profile of each step."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from ctrloom.config.base import ConfigError, StrictModel
from ctrloom.config.types import Few
from ctrloom.config.url_secrets import has_secret

Cores = Annotated[str, Field(pattern=r"^\d+(\.\d+)?m?$")]
Bytes = Annotated[str, Field(pattern=r"^\d+(\.\d+)?(Ki|Mi|Gi|Ti|K|M|G|T)?$")]
Seconds = Annotated[int, Field(ge=1, le=10 * 365 * 86_400)]
Label = Annotated[str, Field(pattern=r"^[\w./-]+$")]
Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]

SECRET = re.compile(r"(PASSWORD|PASSWD|TOKEN|SECRET|SECRET_KEY|ACCESS_KEY|API_KEY)$", re.I)


class Span(StrictModel):
    """Resource request and limit of a step."""

    request: str
    limit: str


class CPU(Span):
    """Cores."""

    request: Cores
    limit: Cores


class Memory(Span):
    """Main memory."""

    request: Bytes
    limit: Bytes


class Accelerator(StrictModel):
    """Accelerators of one step: resource name and count.

    A training step starts one process per accelerator; other steps use only one.
    """

    type: Label = "nvidia.com/gpu"
    count: Few = 1


class Toleration(StrictModel):
    """A taint that a step tolerates."""

    key: Label
    operator: Literal["Exists", "Equal"] = "Exists"
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None

    @model_validator(mode="after")
    def _compares_a_value(self) -> Self:
        if (self.operator == "Equal") != (self.value is not None):
            raise ValueError("value: required with Equal, not allowed with Exists")
        return self


class Retry(StrictModel):
    """Retries after a failure; the backoff grows by `factor` with each retry."""

    attempts: Annotated[int, Field(ge=0, le=100)]
    backoff: Seconds = 30
    factor: Annotated[int, Field(ge=1, le=10)] = 2  # Argo reads an integer
    pending: Seconds = 86_400  # maximum wait of an attempt for a node

    @model_validator(mode="before")
    @classmethod
    def _has_no_longest(cls, raw: Any) -> Any:
        if isinstance(raw, dict) and "longest" in raw:
            raise ValueError(
                "longest: no longer supported: the retry budget is derived from attempts, timeout and "
                "pending; remove it"
            )
        return raw


class Profile(StrictModel):
    """A kind of node, with the resources, retries and timeout of a step on it.

    A profile without an accelerator must `avoid` the labels of accelerator nodes.
    """

    cpu: CPU
    memory: Memory
    accelerator: Accelerator | None = None
    node_selector: dict[Label, str] = Field(default_factory=dict)
    tolerations: tuple[Toleration, ...] = ()
    avoid: tuple[Label, ...] = ()
    shared_memory: Bytes | None = None  # size of /dev/shm; counts towards memory
    retry: Retry
    timeout: Seconds  # of one attempt

    @property
    def retry_budget(self) -> int:
        """Seconds from the start of the first attempt within which the last attempt can still finish.

        KFP passes this to Argo as `maxDuration`, after which Argo stops retrying and kills a running retry.
        """
        retry = self.retry
        pauses = sum(retry.backoff * retry.factor**i for i in range(retry.attempts))
        return (retry.attempts + 1) * (self.timeout + retry.pending) + pauses

    @model_validator(mode="after")
    def _keeps_off_accelerators(self) -> Self:
        if self.accelerator is None and (self.tolerations or not self.avoid):
            raise ValueError(
                "avoid: a profile without an accelerator must list the labels of accelerator nodes and have "
                "no tolerations, so that its steps are not scheduled there"
            )
        return self


class Step(StrictModel):
    """How one step runs, and whether its result is cached for runs with the same inputs."""

    profile: str
    cached: bool
    because: str  # reason for `cached`


class Secret(StrictModel):
    """Environment variables read from a Kubernetes secret in the namespace of the step."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9.-]+$")]
    variables: dict[Variable, str]  # name of the variable -> key of the secret


class Environment(StrictModel):
    """Environment variables of every step."""

    variables: dict[Variable, str] = Field(default_factory=dict)
    secrets: tuple[Secret, ...] = ()

    @model_validator(mode="after")
    def _secrets_are_not_variables(self) -> Self:
        for name, value in self.variables.items():
            if SECRET.search(name) or has_secret(value):
                raise ValueError(
                    f"variables.{name}: everyone with access to a run can read its pipeline; name a "
                    "Kubernetes secret in `secrets` instead"
                )
        return self


class Hardware(StrictModel):
    """Profiles, the profile of each component, and the environment that all components share."""

    profiles: dict[str, Profile]
    steps: dict[str, Step]
    environment: Environment = Environment()

    @model_validator(mode="before")
    @classmethod
    def _searches(cls, raw: Any) -> Any:
        """An entry of a search component may contain only what differs from that of all searches."""
        steps = raw.get("steps") if isinstance(raw, dict) else None
        if not isinstance(steps, dict) or not isinstance(steps.get("search"), dict):
            return raw
        own = {
            name: {**steps["search"], **step}
            for name, step in steps.items()
            if _searches(name) and isinstance(step, dict)
        }
        return {**raw, "steps": {**steps, **own}}

    def step(self, component: str) -> Step:
        """How a component runs: its own entry, or `search` for a search component without one.

        Raises:
            ConfigError: it has no entry.
        """
        own = self.steps.get(component) or (self.steps.get("search") if _searches(component) else None)
        if own is None:
            raise ConfigError(
                f"hardware: steps: has no {component!r}; add its profile, and whether it is cached"
            )
        return own

    @model_validator(mode="after")
    def _profiles_exist(self) -> Self:
        for name, step in self.steps.items():
            if step.profile not in self.profiles:
                raise ValueError(
                    f"steps.{name}.profile: no profile {step.profile!r}; there are {', '.join(self.profiles)}"
                )
        return self


def _searches(component: str) -> bool:
    return component.startswith(("search_", "aim_search_"))
