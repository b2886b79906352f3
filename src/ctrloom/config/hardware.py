"""Where the steps of a pipeline run: profiles of nodes, and which step uses which profile."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from ctrloom.config.base import StrictModel
from ctrloom.config.types import Count

Cores = Annotated[str, Field(pattern=r"^\d+(\.\d+)?m?$")]
Bytes = Annotated[str, Field(pattern=r"^\d+(\.\d+)?(Ki|Mi|Gi|Ti|K|M|G|T)?$")]
Seconds = Annotated[int, Field(ge=1)]
Label = Annotated[str, Field(pattern=r"^[\w./-]+$")]
Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class Span(StrictModel):
    """What a step asks for, and what it may not exceed."""

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
    """Accelerators of one step: the resource that the node offers, and how many of it.

    A step that trains starts as many processes; any other has use for one alone.
    """

    type: Label = "nvidia.com/gpu"
    count: Count = 1


class Toleration(StrictModel):
    """A taint that a step puts up with."""

    key: Label
    operator: Literal["Exists", "Equal"] = "Exists"
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None

    @model_validator(mode="after")
    def _compares_a_value(self) -> Self:
        if (self.operator == "Equal") != (self.value is not None):
            raise ValueError("value: Equal needs one, and Exists takes none")
        return self


class Retry(StrictModel):
    """Further attempts after a failure; each pause is `factor` times as long as the one before it."""

    attempts: Annotated[int, Field(ge=0)]
    backoff: Seconds = 30
    factor: Annotated[int, Field(ge=1)] = 2  # Argo reads an integer
    pending: Seconds = 86_400  # that an attempt may wait for a node

    @model_validator(mode="before")
    @classmethod
    def _has_no_longest(cls, raw: Any) -> Any:
        if isinstance(raw, dict) and "longest" in raw:
            raise ValueError(
                "longest: KFP takes it as the budget of all attempts together, which is now derived from "
                "attempts, timeout and pending; remove it"
            )
        return raw


class Profile(StrictModel):
    """A kind of node, and how a step behaves on it.

    A profile without an accelerator says by `avoid` which nodes it stays away from: those with such a label.
    """

    cpu: CPU
    memory: Memory
    accelerator: Accelerator | None = None
    node_selector: dict[Label, str] = Field(default_factory=dict)
    tolerations: tuple[Toleration, ...] = ()
    avoid: tuple[Label, ...] = ()
    shared_memory: Bytes | None = None  # size of /dev/shm; it counts as memory
    retry: Retry
    timeout: Seconds  # of one attempt

    @property
    def retry_budget(self) -> int:
        """Seconds after the start of the first attempt in which the last one may still run to its end.

        KFP hands this to Argo as `maxDuration`, after which nothing is retried and a running retry is killed.
        """
        retry = self.retry
        pauses = sum(retry.backoff * retry.factor**i for i in range(retry.attempts))
        return (retry.attempts + 1) * (self.timeout + retry.pending) + pauses

    @model_validator(mode="after")
    def _keeps_off_accelerators(self) -> Self:
        if self.accelerator is None and (self.tolerations or not self.avoid):
            raise ValueError(
                "avoid: a profile without an accelerator names the labels of accelerator nodes, "
                "and has no tolerations, or its steps would take their place"
            )
        return self


class Step(StrictModel):
    """How one step runs, and whether its result is taken from an earlier run with the same inputs."""

    profile: str
    cached: bool
    because: str  # of `cached`


class Secret(StrictModel):
    """Variables of the environment that are read from a Kubernetes secret in the namespace of the step."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9.-]+$")]
    variables: dict[Variable, str]  # name of the variable -> key of the secret


class Environment(StrictModel):
    """What every step finds in its environment."""

    variables: dict[Variable, str] = Field(default_factory=dict)
    secrets: tuple[Secret, ...] = ()


class Hardware(StrictModel):
    """Profiles, the profile of every component, and the environment of all of them."""

    profiles: dict[str, Profile]
    steps: dict[str, Step]
    environment: Environment = Environment()

    @model_validator(mode="after")
    def _profiles_exist(self) -> Self:
        for name, step in self.steps.items():
            if step.profile not in self.profiles:
                raise ValueError(
                    f"steps.{name}.profile: no profile {step.profile!r}; there are {', '.join(self.profiles)}"
                )
        return self
