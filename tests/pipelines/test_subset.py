"""Compiled pipelines keep to the subset that all runners run alike, and the check finds violations."""

from pathlib import Path
from typing import List, NamedTuple  # noqa: UP035  # KFP needs this name for lists

import pytest
import yaml

pytest.importorskip("kfp", reason="the extra `pipelines` is not installed")

from kfp import compiler, dsl

from pipelines.subset import violations

COMPILED = sorted((Path(__file__).parents[2] / "src/ctrloom/runners").glob("*.yaml"))
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"
)


@pytest.mark.parametrize("path", COMPILED, ids=lambda path: path.stem)
def test_compiled_pipelines_keep_to_the_subset(path):
    assert violations(*yaml.safe_load_all(path.read_text())) == []


def component(function):
    return dsl.component(function, base_image="python", install_kfp_package=False)


@component
def plan() -> NamedTuple("Plan", [("go", bool), ("seeds", List[int]), ("least", float)]):  # noqa: UP006
    return True, [1], 0.5


@component
def seeds() -> List[int]:  # noqa: UP006
    return [1, 2]


@component
def ready() -> bool:
    return True


@component
def train(seed: int = 0, least: float = 0.0):
    pass


@component
def make(made: dsl.Output[dsl.Dataset]):
    pass


@component
def make_another(made: dsl.Output[dsl.Dataset]):
    pass


@component
def read(made: dsl.Input[dsl.Dataset]):
    pass


@component
def count(numbers: list):
    pass


@component
def read_all(all_made: dsl.Input[List[dsl.Dataset]]):  # noqa: UP006
    pass


@component
def make_one(made: dsl.Output[dsl.Dataset], seed: int = 0):
    pass


@dsl.pipeline
def reads_all(all_made: dsl.Input[List[dsl.Dataset]]):  # noqa: UP006
    read_all(all_made=all_made)


@component
def double(number: int) -> int:
    return 2 * number


@dsl.pipeline
def counts(numbers: List[int]):  # noqa: UP006
    count(numbers=numbers)


@dsl.pipeline
def loops(numbers: List[int]):  # noqa: UP006
    with dsl.ParallelFor(numbers) as number:
        train(seed=number)


def fine(method: str = "a", numbers: List[int] = [1, 2]):  # noqa: B006, UP006
    made = make()
    with dsl.If(method == "a"):
        train()
    with dsl.Elif(method == "b"):
        train(seed=1)
    with dsl.Else():
        train(seed=2)
    with dsl.If(ready().output == True):  # noqa: E712
        read(made=made.output)
    with dsl.ParallelFor(seeds().output) as seed:
        train(seed=seed)
        read(made=made.output)
    with dsl.ParallelFor(numbers) as number:
        each = make_one(seed=number)
    count(numbers=numbers)
    read_all(all_made=dsl.Collected(each.output))


def condition_on_a_named_output():
    with dsl.If(plan().outputs["go"] == True):  # noqa: E712
        train()


def condition_with_a_quote(name: str = "x"):
    with dsl.If(name == "the reader's"):
        train()


def loop_over_a_named_output():
    with dsl.ParallelFor(plan().outputs["seeds"]) as seed:
        train(seed=seed)


def loop_that_reads_outside():
    planned = plan()
    with dsl.ParallelFor(seeds().output) as seed:
        train(seed=seed, least=planned.outputs["least"])


def loop_over_artifacts(made: dsl.Input[List[dsl.Dataset]]):  # noqa: UP006
    with dsl.ParallelFor(made) as each:
        read(made=each)


def one_of_artifacts(method: str = "a"):
    with dsl.If(method == "a"):
        made = make()
    with dsl.Else():
        other = make_another()
    read(made=dsl.OneOf(made.output, other.output))


def loop_items_without_a_type(numbers: list = [1, 2]):  # noqa: B006
    with dsl.ParallelFor(numbers) as number:
        train(seed=number)


def loop_that_reads_its_list(numbers: List[int] = [1, 2]):  # noqa: B006, UP006
    with dsl.ParallelFor(numbers) as number:
        train(seed=number)
        count(numbers=numbers)


def list_passed_into_a_pipeline(numbers: List[int] = [1, 2]):  # noqa: B006, UP006
    with dsl.ParallelFor(numbers) as number:
        each = make_one(seed=number)
    reads_all(all_made=dsl.Collected(each.output))


def list_passed_into_a_branch(all_made: dsl.Input[List[dsl.Dataset]]):  # noqa: UP006
    with dsl.If(ready().output == True):  # noqa: E712
        read_all(all_made=all_made)


def loop_in_a_pipeline(numbers: List[int] = [1, 2]):  # noqa: B006, UP006
    loops(numbers=numbers)


def loop_in_a_branch(numbers: List[int] = [1, 2]):  # noqa: B006, UP006
    with dsl.If(ready().output == True):  # noqa: E712
        with dsl.ParallelFor(numbers) as number:
            train(seed=number)


def parameters_passed_into_a_pipeline(numbers: List[int] = [1, 2]):  # noqa: B006, UP006
    with dsl.ParallelFor(numbers) as number:
        each = double(number=number)
    counts(numbers=dsl.Collected(each.output))


def retried():
    make().set_retry(2, "1s", 2.0, "900s")


def fractional_factor():
    make().set_retry(2, "1s", 1.5, "900s")


def ignored_failure():
    train(seed=1, least=plan().outputs["least"]).ignore_upstream_failure()


def compile_to_spec(function, folder):
    compiler.Compiler().compile(dsl.pipeline(function), str(folder / "pipeline.yaml"))
    return next(yaml.safe_load_all((folder / "pipeline.yaml").read_text()))


def test_subset_allows_branches_and_loops(tmp_path):
    assert violations(compile_to_spec(fine, tmp_path)) == []


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (condition_on_a_named_output, "condition-1: condition on the named output 'go'"),
        (condition_with_a_quote, "condition-1: condition with a quote"),
        (loop_over_a_named_output, "for-loop-1: loop over the named output 'seeds'"),
        (loop_that_reads_outside, "for-loop-1: loop that reads 'pipelinechannel--plan-least'"),
        (loop_over_artifacts, "for-loop-1: loop over artifacts"),
        (one_of_artifacts, "OneOf of artifacts"),
        (
            loop_items_without_a_type,
            "for-loop-1: untyped loop item that a step takes as NUMBER",
        ),
        (loop_that_reads_its_list, "for-loop-1: the list 'pipelinechannel--numbers' is read inside the loop"),
        (list_passed_into_a_pipeline, "reads-all: list of artifacts 'all_made' passed into another DAG"),
        (list_passed_into_a_branch, "condition-1: list of artifacts"),
        (loop_in_a_pipeline, "for-loop-1: loop inside another pipeline, branch or loop"),
        (loop_in_a_branch, "for-loop-2: loop inside another pipeline, branch or loop"),
        (fractional_factor, "make: retries with the fractional factor 1.5"),
        (ignored_failure, "train: takes an output of a task whose failure it ignores"),
    ],
)
def test_violations_are_found(function, message, tmp_path):
    assert any(message in problem for problem in violations(compile_to_spec(function, tmp_path)))


def test_retries_need_a_budget_for_all_attempts(tmp_path):
    spec = compile_to_spec(retried, tmp_path)

    def problems(timeout):
        executors = {"exec-make": {"activeDeadlineSeconds": str(timeout)}}
        return violations(spec, {"platforms": {"kubernetes": {"deploymentSpec": {"executors": executors}}}})

    assert problems(300) == []
    (problem,) = problems(301)
    assert "retries within 900 seconds" in problem
    assert "must cover all 3 attempts" in problem
    assert "make: retries without a timeout" in violations(spec)[0]


def test_collected_parameters_passed_into_a_pipeline_are_found(tmp_path):
    spec = compile_to_spec(parameters_passed_into_a_pipeline, tmp_path)
    assert any("collected parameters 'numbers'" in problem for problem in violations(spec))


def test_a_loop_over_nothing_is_found(tmp_path):
    spec = compile_to_spec(fine, tmp_path)
    loop = next(task for task in spec["root"]["dag"]["tasks"].values() if "parameterIterator" in task)
    loop["parameterIterator"]["items"] = {"raw": "[]"}  # kfp refuses to compile this
    assert any("loop over nothing" in problem for problem in violations(spec))
