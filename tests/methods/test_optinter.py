"""The relaxed model compared with loops; a search on planted clicks; its schedule and trace."""

from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
from small import Planting, crossed, planting, rows_of, schema_of

from ctrloom.architecture import Architecture, Function, Interaction
from ctrloom.config import OptInterConfig, OptInterSettings
from ctrloom.methods import optinter
from ctrloom.methods.interface import SearchData, SearchResult
from ctrloom.models import build
from ctrloom.models.optinter import OptInter, Supernet
from ctrloom.nn.cross_features import fill_crosses
from ctrloom.schema import CrossKeys, Schema

SCHEMA, KEYS = crossed(
    schema_of(("categorical", 5), ("multivalued", 4, 2), ("categorical", 7), ("categorical", 3))
)
ROWS = rows_of(SCHEMA, 8)
PAIRS = [("a", "c"), ("a", "d"), ("c", "d")]
HYPER = OptInterSettings(embedding_size=6, cross_embedding_size=4, hidden=(32,))


def little_settings(hidden: tuple[int, ...] = (4,)) -> OptInterSettings:
    return OptInterSettings(embedding_size=3, cross_embedding_size=2, hidden=hidden, embedding_std=0.5)


def relaxed(hidden: tuple[int, ...] = (4,), **settings: Any) -> Supernet:
    torch.manual_seed(0)
    model = Supernet(SCHEMA, PAIRS, little_settings(hidden), **settings)
    fill_crosses(model, KEYS)
    return model.double()


def test_slots_mix_both_vectors() -> None:
    model = relaxed().eval()
    model.temperature.fill_(0.4)
    with torch.no_grad():
        model.logit_P3.copy_(torch.randn(3, 3))
    seen: list[torch.Tensor] = []
    model.mlp.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    assert ROWS.factors_NC is not None
    factors = ROWS.factors_NC.double()
    table = model.factorized.table
    assert table is not None
    with torch.no_grad():
        model(ROWS.ids_NC, factors)
        a_BFD, e_BFD = table(ROWS.ids_NC, factors), model.embedding(ROWS.ids_NC, factors)
        cross_BPD = model.memorized.weight[model.memorized.rows(ROWS.ids_NC)]
    logits = model.logit_P3.detach().numpy() / 0.4
    for b in range(len(ROWS)):
        slots = [e_BFD[b].flatten().numpy()]
        for p, (i, j) in enumerate(((0, 2), (0, 3), (2, 3))):
            share = np.exp(logits[p]) / np.exp(logits[p]).sum()
            product = [float(a_BFD[b, i, d] * a_BFD[b, j, d]) for d in range(2)]
            mixed = [share[0] * float(cross_BPD[b, p, d]) + share[1] * product[d] for d in range(2)]
            slots.append(np.array(mixed))
        np.testing.assert_allclose(seen[0][b].numpy(), np.concatenate(slots), rtol=0, atol=1e-12)


def test_gumbel_noise_is_optional_and_active_only_in_training() -> None:
    plain, noisy = relaxed().train(), relaxed(gumbel=True).train()
    assert torch.equal(plain.probabilities(), plain.probabilities())
    draws = torch.stack([noisy.probabilities().argmax(1) for _ in range(3000)])
    shares = torch.stack([(draws == k).double().mean(0) for k in range(3)], 1)
    # With Gumbel noise, the argmax is distributed as the softmax of the logits.
    torch.testing.assert_close(shares, noisy.logit_P3.softmax(1), rtol=0, atol=0.04)
    assert torch.equal(noisy.eval().probabilities(), noisy.logit_P3.softmax(1))


ONE_HOT = {"memorize": (9.0, 0, 0), "hadamard": (0, 9.0, 0), None: (0, 0, 9.0)}


@pytest.mark.parametrize("bi_level", [False, True])
@pytest.mark.parametrize("hidden", [(4,), ()])
@pytest.mark.parametrize(
    "chosen",
    [("memorize", "hadamard", None), (None, "memorize", "memorize"), ("hadamard",) * 3, (None,) * 3],
)
def test_chosen_model_scores_as_the_supernet_does_with_probabilities_of_1(
    chosen: tuple[Function | None, ...], hidden: tuple[int, ...], bi_level: bool
) -> None:
    model = relaxed(hidden=hidden).eval()
    if bi_level:  # values that half of the rows lack have the vectors of unseen values
        model.memorized.recount([ROWS.ids_NC[:3]])
        assert model.memorized.absent_R is not None
        assert model.memorized.absent_R.any()
    with torch.no_grad():
        model.logit_P3.copy_(torch.tensor([ONE_HOT[each] for each in chosen]))
    model.temperature.fill_(0.001)
    assert ROWS.factors_NC is not None
    expected = model(ROWS.ids_NC, ROWS.factors_NC.double())
    kept = tuple(
        Interaction(fields=pair, function=f) for pair, f in zip(PAIRS, chosen, strict=True) if f is not None
    )
    found = Architecture(method="optinter", fields=SCHEMA.names, interactions=kept)
    hyper = little_settings(hidden=hidden)
    one = model.float().chosen(found, SCHEMA, hyper, KEYS)
    again = build("optinter", found, SCHEMA, hyper)  # as from files, without keys
    again.load_state_dict(one.state_dict())
    for each in (one, again):
        logits = each.double().eval()(ROWS.ids_NC, ROWS.factors_NC.double())
        torch.testing.assert_close(logits, expected, rtol=0, atol=1e-6)


def with_crosses(made: Planting) -> tuple[Schema, CrossKeys]:
    schema, keys = crossed(made.schema, share=1.0)
    return schema, keys


def run(made: Planting, **config: Any) -> SearchResult:
    schema, keys = with_crosses(made)
    train, valid = made.rows[: -len(made.rows) // 5], made.rows[-len(made.rows) // 5 :]
    return optinter.search(SearchData(train, valid, schema, keys), OptInterConfig(**config), HYPER)


def choices(architecture: Architecture) -> dict[tuple[str, ...], str]:
    return {i.fields: i.function for i in architecture.interactions}


def test_weights_and_logits_have_the_epsilon_of_the_model() -> None:
    data = SearchData(ROWS, ROWS, SCHEMA, KEYS)
    search = optinter.OptInterSearch(data, OptInterConfig(), HYPER.model_copy(update={"epsilon": 1e-4}))
    groups = search.adam.param_groups + search.gate_adam.param_groups
    assert {group["eps"] for group in groups} == {1e-4}


@pytest.fixture(scope="module")
def clicks() -> Planting:
    """Two random tables over 12 x 12 values, a product over 120 x 120, and 12 pairs of noise."""
    shape: dict[str, Any] = {"fields": 6, "sizes": (12, 120), "tables": 2, "pairs": 1, "rank": 1}
    return planting(rows=40_000, **shape, zipf=0.5, main_effects=0.3, noise=0.3, seed=1)


@pytest.fixture(scope="module")
def found(clicks: Planting) -> SearchResult:
    return run(clicks, epochs=2, random_draws=10)


def test_planted_pairs_get_the_right_choice(clicks: Planting, found: SearchResult) -> None:
    chosen = choices(found.architecture)
    small = {f"field_{f:02d}" for f in (0, 2, 4)}
    expected = {pair: "memorize" if small.issuperset(pair) else "hadamard" for pair in clicks.interactions}
    pairs = list(combinations(clicks.schema.names, 2))
    right = sum(chosen.get(pair) == expected.get(pair) for pair in pairs)
    assert right >= 0.8 * len(pairs)
    assert all(chosen.get(pair) == how for pair, how in expected.items() if how == "memorize")


def test_the_trace_has_three_candidates_per_pair(clicks: Planting, found: SearchResult) -> None:
    trace = found.trace
    assert len(trace.candidates) == 3 * 15
    for k in range(0, 45, 3):
        three = trace.candidates[k : k + 3]
        assert [c.function for c in three] == ["memorize", "hadamard", "none"]
        assert len({c.fields for c in three}) == 1
        assert sum(c.score for c in three) == pytest.approx(1)
        best = max(three, key=lambda c: c.score)
        kept = [c for c in three if c.kept]
        assert len(kept) == (best.function != "none" and not any(c.unconfirmed for c in three))
        assert three[0].mutual_information is not None
        if kept:
            assert choices(found.architecture)[best.fields] == kept[0].function
    assert trace.path_steps[-1] == trace.steps
    assert len(trace.path_steps) <= 61
    first = np.array(trace.path_scores[0]).reshape(15, 3)
    np.testing.assert_allclose(first.sum(1), 1, rtol=1e-6)
    assert first.max() < 0.6


def test_controls_are_all_memorize_all_factorize_and_random(found: SearchResult) -> None:
    controls = found.controls
    assert set(controls) == {"all-memorize", "all-hadamard", "random"}
    for function in ("memorize", "hadamard"):
        (every,) = controls[f"all-{function}"]
        assert len(every.interactions) == 15
        assert every.functions(2) == (function,)
    assert len(controls["random"]) == 10
    kept = [len(draw.interactions) for draw in controls["random"]]
    assert 15 * 10 * 0.5 < sum(kept) < 15 * 10 * 0.85  # two thirds
    assert len({str(choices(draw)) for draw in controls["random"]}) == 10
    assert found.trained is None


@pytest.mark.parametrize("function", ["memorize", "hadamard"])
def test_given_choice_is_the_control_of_a_search(
    found: SearchResult, clicks: Planting, function: Any
) -> None:
    given = run(clicks, choice=function)
    (control,) = found.controls[f"all-{function}"]
    assert given.architecture.interactions == control.interactions
    assert (given.controls, given.trace.seconds, given.trained) == ({}, 0.0, None)
    assert OptInterConfig(choice=function).controls == ()
    with pytest.raises(ValueError, match=f"choice: {function} trains no weights"):
        OptInterConfig(choice=function, keep_weights=True)


def little(**config: Any) -> SearchResult:
    made = planting(rows=1500, fields=4, sizes=(6,), pairs=1)
    return run(made, random_draws=0, **config)


def test_same_seed_gives_a_bit_identical_search() -> None:
    first, second, other = (little(epochs=2, seed=seed, bi_level=True) for seed in (0, 0, 1))
    assert first.architecture == second.architecture
    assert first.trace.candidates == second.trace.candidates
    assert first.trace.path_scores == second.trace.path_scores
    assert first.trace.path_scores != other.trace.path_scores


@pytest.mark.parametrize(
    ("decay", "passes"), [(None, 1.0), (0.5 / 18, 2.0), (0.0, None)], ids=["default", "given", "never"]
)
def test_temperature_decreases_with_steps(
    monkeypatch: pytest.MonkeyPatch, decay: float | None, passes: float | None
) -> None:
    temperatures: list[float] = []
    after = optinter.OptInterSearch._after

    def recorded(course: optinter.OptInterSearch) -> None:
        after(course)
        temperatures.append(float(course.model.temperature))

    monkeypatch.setattr(optinter.OptInterSearch, "_after", recorded)
    trace = little(epochs=3, patience=3, batch_size=64, temperature_decay=decay).trace
    a_pass = trace.steps // 3
    assert len(temperatures) == trace.steps
    if passes is None:
        assert set(temperatures) == {1.0}
        return
    floor = next(i for i, t in enumerate(temperatures, start=1) if t <= 0.0101)
    assert floor == pytest.approx(passes * a_pass, abs=2)
    assert temperatures[0] == pytest.approx(1 - 0.99 / a_pass if decay is None else 1 - decay)
    assert temperatures[-1] == pytest.approx(0.01)


def test_warm_up_does_not_update_logits() -> None:
    once, later = (little(epochs=1, warm_up=passes, batch_size=64).trace for passes in (0, 2))
    assert later.path_scores[0] == once.path_scores[0]
    assert later.path_scores[1] != once.path_scores[1]
    assert (once.epochs, later.epochs) == (1, 3)
    assert once.steps == later.steps


def test_best_validation_epoch_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    aucs = iter([0.7, 0.9, 0.8, 0.85, 0.6])
    validate_epoch = optinter.validate_epoch
    kept: list[np.ndarray] = []
    tables: list[torch.Tensor] = []

    def scripted(model: Supernet, *args: Any) -> Any:
        tables.append(model.embedding.weight.detach().clone())
        kept.append((model.logit_P3 / model.temperature).softmax(1).detach().double().numpy())
        return validate_epoch(model, *args).model_copy(update={"valid_auc": next(aucs)})

    monkeypatch.setattr(optinter, "validate_epoch", scripted)
    found = little(epochs=10, patience=2, temperature_decay=0.0, keep_weights=True, confirm=False)
    trace = found.trace
    assert trace.epochs == 4
    assert isinstance(found.trained, OptInter)
    assert torch.equal(found.trained.embedding.weight, tables[1])
    gates = np.array([c.score for c in trace.candidates]).reshape(-1, 3)
    np.testing.assert_array_equal(gates, kept[1])


def test_bi_level_logits_are_trained_on_separate_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, set[int]] = {"weights": set(), "logits": set()}
    loss_of = optinter.loss_of

    def of_logits(model: Supernet, batch: Any) -> torch.Tensor:
        seen["logits"] |= {hash(tuple(row)) for row in batch.ids_NC.tolist()}
        return loss_of(model, batch)

    made = planting(rows=1500, fields=4, sizes=(400,), pairs=1, zipf=0.0)  # nearly all rows are distinct
    schema, keys = with_crosses(made)
    monkeypatch.setattr(optinter, "loss_of", of_logits)
    config = OptInterConfig(bi_level=True, epochs=2, random_draws=0, batch_size=64)
    course = optinter.OptInterSearch(
        SearchData(made.rows[:1200], made.rows[1200:], schema, keys), config, HYPER
    )
    seen["weights"] = {hash(tuple(row)) for row in course.train.ids_NC.tolist()}
    course.run()
    assert len(seen["logits"]) >= 590
    assert not seen["weights"] & seen["logits"]


def test_data_without_cross_features_is_refused() -> None:
    made = planting(rows=200, fields=3, sizes=(4,), pairs=1)
    with pytest.raises(ValueError, match=r"set vocabulary\.crosses"):
        optinter.search(SearchData(made.rows, made.rows, made.schema), OptInterConfig(), HYPER)


def test_diverged_search_raises() -> None:
    with pytest.raises(ValueError, match="diverged"):
        little(learning_rate=1e9, epochs=1)
