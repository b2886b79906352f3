"""What a compiled pipeline may use so that KFP's local runner and a cluster make the same of it.

The local runner gets some of the rest wrong without a word: it skips a branch, or hands a loop a wrong value.
"""

import re
from collections.abc import Iterator
from typing import Any

OPERAND = re.compile(r"inputs\.parameter_values\['([^']+)'\]")
LITERAL = re.compile(r"'[^'\\]*'|true|false|-?\d+(\.\d+)?")
OPERATORS = re.compile(r"[\s()!=<>&|]*")
DEFAULT = "Output"  # what KFP calls the output of a component that returns one value


def violations(spec: dict[str, Any]) -> list[str]:
    """Everything in a compiled pipeline that does not run alike in both places, with its task."""
    found = []
    for component in (spec["root"], *spec.get("components", {}).values()):
        dag = component.get("dag", {})
        for name, output in dag.get("outputs", {}).get("artifacts", {}).items():
            if len(output["artifactSelectors"]) > 1:
                found.append(f"{name}: OneOf of artifacts")
        for name, task in dag.get("tasks", {}).items():
            found += [f"{name}: {problem}" for problem in (*_condition(task), *_loop(task))]
    return found


def _condition(task: dict[str, Any]) -> Iterator[str]:
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


def _loop(task: dict[str, Any]) -> Iterator[str]:
    if "artifactIterator" in task:
        yield "loop over artifacts"
    if "parameterIterator" not in task:
        return
    outputs, items = _outputs(task), task["parameterIterator"]["items"]
    over = items.get("inputParameter", "")
    if outputs.get(over, DEFAULT) != DEFAULT:
        yield f"loop over the named output {outputs[over]!r}; let the component return one value"
    for parameter in outputs.keys() - {over}:
        yield f"loop that reads {parameter!r}, an output of a task outside; give it a pipeline of its own"
    if re.fullmatch(r"\s*\[\s*\]\s*", items.get("raw", "")):
        yield "loop over nothing"


def _outputs(task: dict[str, Any]) -> dict[str, str]:
    """Parameters that a task takes from other tasks, and the name of the output there."""
    given = task.get("inputs", {}).get("parameters", {})
    return {
        name: source["taskOutputParameter"]["outputParameterKey"]
        for name, source in given.items()
        if "taskOutputParameter" in source
    }


def _artifacts(task: dict[str, Any]) -> list[str]:
    given = task.get("inputs", {}).get("artifacts", {})
    return [name for name, source in given.items() if "taskOutputArtifact" in source]
