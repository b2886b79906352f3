import pytest
import torch
from small import categorical_schema, rows_of

from ctrloom.architecture import Architecture
from ctrloom.config import AIMConfig, AutoFISConfig, GatedSettings, Hyperparameters
from ctrloom.data.batches.batch import Batch
from ctrloom.methods.gate_trace import trace_of
from ctrloom.methods.gates import GateSearch, GateVector, Schedule, batch_size, halves
from ctrloom.methods.interface import SearchData
from ctrloom.models import build
from ctrloom.schema import Schema
from ctrloom.training.loop import seed_everything

QUICK = Schedule(
    epochs=2,
    batch_size=100,
    learning_rate=0.01,
    learning_rate_decay=1.0,
    gate_learning_rate=1.0,
    gate_decay=0.6,
    gate_init=0.6,
    mu=0.8,
    threshold=1.0,
    gate_warm_up=1,
)
NOTHING = 1e-30  # a learning rate without any effect
SCHEMA = categorical_schema(4)
ROWS = rows_of(SCHEMA, 1000)
DATA = SearchData(ROWS, ROWS, SCHEMA)


def gate_search_of(
    rows: Batch, gate_rows: Batch | None, schema: Schema = SCHEMA, **changes: float
) -> GateSearch:
    generator = seed_everything(0)
    every = Architecture.complete(schema.names, (2, 3))
    model = build("autofm", every, schema, GatedSettings(embedding_size=3))
    groups = [GateVector(model.get_parameter(f"gates.{o}.gate_P"), every.of_order(o)) for o in (2, 3)]
    return GateSearch(model, groups, rows, Schedule(**{**vars(QUICK), **changes}), generator, gate_rows)


def trained(rows: Batch, gate_rows: Batch | None, **changes: float) -> tuple[list[float], dict]:
    """Final gates and weights."""
    gate_search = gate_search_of(rows, gate_rows, **changes)
    gate_search.run("test")
    learned = {n: p.detach().clone() for n, p in gate_search.model.named_parameters() if "gate_P" not in n}
    return gate_search.final_gates, learned


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def mixed(rows: Batch) -> Batch:
    """The same rows with uninformative labels."""
    return Batch(
        rows.ids_NC, rows.label_N[torch.randperm(len(rows), generator=torch.Generator().manual_seed(5))]
    )


def test_weights_are_not_trained_on_gate_rows() -> None:
    for_weights, for_gates = ROWS[:500], ROWS[500:]
    still = {"gate_learning_rate": NOTHING, "threshold": NOTHING}
    weights = trained(for_weights, for_gates, **still)[1]
    assert same(weights, trained(for_weights, mixed(for_gates), **still)[1])
    assert not same(weights, trained(mixed(for_weights), for_gates, **still)[1])
    # They depend on gate rows through updated gates, and directly if both share batches.
    assert not same(trained(for_weights, for_gates)[1], trained(for_weights, mixed(for_gates))[1])
    assert not same(trained(ROWS, None, **still)[1], weights)


def test_gates_are_not_trained_on_weight_rows() -> None:
    for_weights, for_gates = ROWS[:500], ROWS[500:]
    still = {"learning_rate": NOTHING}
    gates = trained(for_weights, for_gates, **still)[0]
    assert gates == trained(mixed(for_weights), for_gates, **still)[0]
    assert gates != trained(for_weights, mixed(for_gates), **still)[0]


def test_one_bi_level_epoch_sees_every_row_once() -> None:
    gate_search = gate_search_of(ROWS[:500], ROWS[500:], epochs=1, gate_warm_up=0, warm_up=0)
    seen: list[int] = []
    gate_search.model.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    gate_search.run("test")
    assert (sum(seen), len(seen), gate_search.steps, gate_search.rows_seen) == (1000, 10, 5, 1000)


def test_halves_partition_the_rows() -> None:
    rows = Batch(torch.arange(11).int().unsqueeze(1), torch.zeros(11))
    one, two = halves(rows, torch.Generator().manual_seed(0))
    assert (len(one), len(two)) == (5, 6)
    together = [*one.ids_NC[:, 0].tolist(), *two.ids_NC[:, 0].tolist()]
    assert sorted(together) == list(range(11)) != together


def test_candidates_have_fields_and_function_of_their_gates() -> None:
    model = torch.nn.ParameterList([torch.zeros(2), torch.zeros(1), torch.zeros(2, 3)])
    pairs = (("a", "b"), ("a", "c"))
    groups = [GateVector(model[0], pairs), GateVector(model[1], pairs[1:], "outer")]
    gate_search = GateSearch(model, groups, ROWS, QUICK, torch.Generator())
    with torch.no_grad():
        model[0].copy_(torch.tensor([0.5, 0.0]))
        model[1].fill_(-2.0)
    assert [(i.fields, i.function, i.score) for i in gate_search.kept] == [
        (("a", "b"), "inner", 0.5),
        (("a", "c"), "outer", -2.0),
    ]
    assert len(gate_search.scored_interactions) == 3
    # Gates that are not on interactions need no fields.
    whole = GateSearch(model, [GateVector(model[2])], ROWS, QUICK, torch.Generator())
    assert whole.final_gates == pytest.approx([0.6] * 6, abs=1.1e-3)
    assert sum(len(g["params"]) for g in whole.adam.param_groups) == 2  # the other gates are weights


def test_very_many_gates_are_recorded_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctrloom.methods.gates.RECORDED", 50)  # five points for ten gates
    gate_search = gate_search_of(ROWS, None, epochs=3)
    gate_search.run("test")
    trace = trace_of([gate_search], "test", "autofm", (2, 3), {})
    assert 5 <= len(trace.path_steps) <= 6
    assert trace.path_steps[0] == 0
    assert trace.path_steps[-1] == trace.steps == 30


@pytest.mark.parametrize(("rows", "size"), [(100, 64), (8000, 100), (160_000, 2000), (10**8, 2000)])
def test_few_rows_make_small_batches(rows: int, size: int) -> None:
    assert batch_size(rows) == size


def test_adam_has_the_epsilon_of_the_schedule() -> None:
    _, slow = trained(ROWS, None, epsilon=1e6)
    _, usual = trained(ROWS, None)
    untrained = dict(gate_search_of(ROWS, None).model.named_parameters())
    moved = {name: (slow[name] - untrained[name]).abs().max() for name in slow}
    assert max(moved.values()) < 1e-6, "with a huge epsilon no weight moves"
    assert not same(usual, slow)


@pytest.mark.parametrize("config", [AutoFISConfig(c=0.1, embedding_l2=1e-3), AIMConfig(mu=0.7)])
def test_schedule_is_built_from_a_configuration(config: AutoFISConfig | AIMConfig) -> None:
    hyper = Hyperparameters(precision="bfloat16", embedding_optimizer="lazy_adam", epsilon=1e-4)
    schedule = Schedule.of(config, hyper, DATA, 2, warm_up=7)
    assert (schedule.precision, schedule.embedding_optimizer) == ("bfloat16", "lazy_adam")
    assert schedule.epsilon == 1e-4
    assert schedule.warm_up == 7
    for name, value in config:
        if name in vars(schedule) and name not in ("warm_up", "gate_warm_up") and value is not None:
            assert getattr(schedule, name) == value
