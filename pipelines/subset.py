"""The subset of KFP that its local runner and a cluster run in the same way.

The local runner silently skips branches, or passes a wrong value to a loop. KFP's driver fails if a loop item
has no type, and silently passes only one artifact of a list into another DAG.
"""

import re
from collections.abc import Iterator
from typing import Any

OPERAND = re.compile(r"inputs\.parameter_values\['([^']+)'\]")
LITERAL = re.compile(r"'[^'\\]*'|true|false|-?\d+(\.\d+)?")
OPERATORS = re.compile(r"[\s()!=<>&|]*")
DEFAULT = "Output"  # KFP's name for the output of a component that returns one value
Spec = dict[str, Any]


def violations(spec: Spec, platform: Spec | None = None) -> list[str]:
    """Everything in a compiled pipeline that runs differently in the two runners, with its task.

    `platform` is the platform spec, the second document of the pipeline's YAML.
    """
    components, found = spec.get("components", {}), []
    timeouts = _timeouts(platform or {})
    for component in (spec["root"], *components.values()):
        dag = component.get("dag", {})
        for name, output in dag.get("outputs", {}).get("artifacts", {}).items():
            if len(output["artifactSelectors"]) > 1:
                found.append(f"{name}: OneOf of artifacts")
        for name, task in dag.get("tasks", {}).items():
            its = components[task["componentRef"]["name"]]
            problems = (
                *_condition(task),
                *_loop(task, its, components),
                *_lists(task, its, dag["tasks"]),
                *_retries(task, timeouts.get(its.get("executorLabel", ""))),
            )
            found += [f"{name}: {problem}" for problem in problems]
            if "parameterIterator" in task and component is not spec["root"]:
                found.append(f"{name}: loop inside another pipeline, branch or loop; put it at the top level")
    return found


def _condition(task: Spec) -> Iterator[str]:
    policy, outputs = task.get("triggerPolicy", {}), _outputs(task)
    condition = policy.get("condition", "")
    for operand in OPERAND.findall(condition):
        if outputs.get(operand, DEFAULT) != DEFAULT:
            yield f"condition on the named output {outputs[operand]!r}; let the component return one value"
    if not OPERATORS.fullmatch(LITERAL.sub("", OPERAND.sub("", condition))):
        yield f"condition with a quote in its text: {condition}"
    completed = policy.get("strategy") == "ALL_UPSTREAM_TASKS_COMPLETED"
    if completed and (outputs or _artifacts(task)):
        yield "takes an output of a task whose failure it ignores"


def _loop(task: Spec, body: Spec, components: Spec) -> Iterator[str]:
    if "artifactIterator" in task:
        yield "loop over artifacts"
    if "parameterIterator" not in task:
        return
    outputs, iterator = _outputs(task), task["parameterIterator"]
    over, item = iterator["items"].get("inputParameter", ""), iterator["itemInput"]
    if outputs.get(over, DEFAULT) != DEFAULT:
        yield f"loop over the named output {outputs[over]!r}; let the component return one value"
    for parameter in outputs.keys() - {over}:
        yield f"loop that reads {parameter!r}, an output of a task outside; move it to a separate pipeline"
    if re.fullmatch(r"\s*\[\s*\]\s*", iterator["items"].get("raw", "")):
        yield "loop over nothing"
    if over and any(_readers(body, over, components)):
        yield f"the list {over!r} is read inside the loop over it, where KFP's driver removes it"
    if _type_of(body, item) == "STRING":
        typed = {its for its in _readers(body, item, components) if its != "STRING"}
        for its in sorted(typed):
            yield f"untyped loop item that a step takes as {its}; declare List[int] or List[dict]"


def _lists(task: Spec, component: Spec, siblings: Spec) -> Iterator[str]:
    """Lists of artifacts that are passed into another DAG, where only one artifact arrives."""
    if "dag" not in component:
        return
    for name, its in component.get("inputDefinitions", {}).get("artifacts", {}).items():
        if its.get("isArtifactList"):
            yield f"list of artifacts {name!r} passed into another DAG; collect it where it is used"
    for name, source in task.get("inputs", {}).get("parameters", {}).items():
        producer = source.get("taskOutputParameter", {}).get("producerTask", "")
        if "parameterIterator" in siblings.get(producer, {}):
            yield f"collected parameters {name!r} passed into another DAG; collect them where they are used"


def _retries(task: Spec, timeout: int | None) -> Iterator[str]:
    policy = task.get("retryPolicy")
    if not policy:
        return
    factor, budget = policy.get("backoffFactor", 2), _seconds(policy.get("backoffMaxDuration", "3600s"))
    if factor != int(factor):
        yield f"retries with the fractional factor {factor}; Argo reads an integer"
    attempts = policy.get("maxRetryCount", 0)
    if attempts and timeout is None:
        yield "retries without a timeout per attempt, so that their total time is not limited"
    elif attempts and budget < (attempts + 1) * (timeout or 0):
        yield (
            f"retries within {budget} seconds of the start of the first attempt, but one attempt may take "
            f"{timeout}: backoffMaxDuration must cover all {attempts + 1} attempts"
        )


def _readers(component: Spec, parameter: str, components: Spec) -> Iterator[str]:
    """Types with which the steps inside a DAG read one of its parameters, at any depth."""
    for task in component.get("dag", {}).get("tasks", {}).values():
        its = components[task["componentRef"]["name"]]
        for name, source in task.get("inputs", {}).get("parameters", {}).items():
            if source.get("componentInputParameter") != parameter:
                continue
            if "dag" in its:
                yield from _readers(its, name, components)
            else:
                yield _type_of(its, name)


def _type_of(component: Spec, parameter: str) -> str:
    return str(component["inputDefinitions"]["parameters"][parameter]["parameterType"])


def _timeouts(platform: Spec) -> dict[str, int]:
    kubernetes = platform.get("platforms", {}).get("kubernetes", {})
    executors = kubernetes.get("deploymentSpec", {}).get("executors", {})
    return {
        label: int(its["activeDeadlineSeconds"])
        for label, its in executors.items()
        if "activeDeadlineSeconds" in its
    }


def _seconds(duration: str) -> int:
    return int(duration.removesuffix("s"))


def _outputs(task: Spec) -> dict[str, str]:
    """Parameters that a task takes from other tasks, and the name of the output there."""
    given = task.get("inputs", {}).get("parameters", {})
    return {
        name: source["taskOutputParameter"]["outputParameterKey"]
        for name, source in given.items()
        if "taskOutputParameter" in source
    }


def _artifacts(task: Spec) -> list[str]:
    given = task.get("inputs", {}).get("artifacts", {})
    return [name for name, source in given.items() if "taskOutputArtifact" in source]
