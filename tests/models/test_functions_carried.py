"""Models over an architecture with functions, compared with loops; and over one without, with their draws."""

from itertools import combinations, product
from typing import Any

import numpy as np
import pytest
import torch
from oracle import PAIRS, ROWS, SCHEMA, SELECTIONS, TRIPLES, Equation, Tuples, chosen, hyper_of

from ctrloom.architecture import Architecture, Function, Interaction, KeptPositions
from ctrloom.config import MODELS
from ctrloom.config.base import ConfigError
from ctrloom.models import build
from ctrloom.models.left_out import left_out
from ctrloom.nn.embedding import FieldEmbedding, LinearTerm
from ctrloom.nn.mlp import perceptron

CARRYING = ["fm", "fwfm", "hofm", "deepfm", "ipnn", "autofm", "autodeepfm"]
OTHERS = ["poly2", "ffm", "fmfm", "afm", "nfm", "opnn", "pin", "gbdtpoly2"]
KERNELS: tuple[Function, ...] = ("vector_kernel", "scalar_kernel", "outer")
NAMES, SIZE = SCHEMA.names, 3
Key = tuple[int, Function]


def of(functions: dict[Function, Tuples], method: str = "aim", **more: Any) -> Architecture:
    made = tuple(
        Interaction(fields=tuple(NAMES[f] for f in fields), function=function)
        for function, tuples in functions.items()
        for fields in tuples
    )
    return Architecture(method=method, fields=NAMES, interactions=made, **more)


SEVERAL = of({"outer": (*PAIRS, *TRIPLES), "inner": (*PAIRS[:2], *TRIPLES[1:]), "vector_kernel": PAIRS[1:]})
SHORT = of(
    {"inner": (*PAIRS, *TRIPLES), "scalar_kernel": PAIRS[:1]},
    embedding_size=SIZE,
    positions=(
        KeptPositions(field="a", order=2, function="inner", positions=(0, 2)),
        KeptPositions(field="d", order=2, function="inner", positions=(2,)),
        KeptPositions(field="b", order=3, function="inner", positions=(1,)),
        KeptPositions(field="a", order=2, function="scalar_kernel", positions=(0, 1)),
    ),
)
ARCHITECTURES = {
    **{f"{function}, pairs": of({function: PAIRS}) for function in KERNELS},
    **{f"{function}, triples": of({function: TRIPLES}) for function in KERNELS},
    **{f"inner and {f}": of({"inner": (*PAIRS, *TRIPLES), f: (*PAIRS[:1], *TRIPLES)}) for f in KERNELS},
    "several functions of one pair": SEVERAL,
    "kept positions": SHORT,
    "only inner products, of kept positions": of(
        {"inner": PAIRS}, embedding_size=SIZE, positions=SHORT.positions[:2]
    ),
}


def grouped(architecture: Architecture) -> dict[Key, list[tuple[int, ...]]]:
    """Fields of the interactions of each order and function, in field order."""
    found: dict[Key, list[tuple[int, ...]]] = {}
    for i in architecture.interactions:
        found.setdefault((i.order, i.function), []).append(tuple(map(NAMES.index, i.fields)))
    rank = {f: n for n, f in enumerate(("inner", *KERNELS))}
    return {key: sorted(found[key]) for key in sorted(found, key=lambda key: (key[0], rank[key[1]]))}


def embedded(e: Equation, name: str, architecture: Architecture, key: Key) -> np.ndarray:
    """Embeddings of one order and function, by a walk over the table: each id has its kept positions."""
    used = {f for fields in grouped(architecture)[key] for f in fields}
    given = {k.field: k.positions for k in architecture.positions if (k.order, k.function) == key}
    weights, rows = iter(e[name].flatten()), dict[int, np.ndarray]()
    for f, field in enumerate(SCHEMA.fields):
        kept = given.get(field.name, tuple(range(SIZE))) if f in used else ()
        for _ in range(field.size):
            rows[len(rows)] = np.array([next(weights) if d in kept else 0.0 for d in range(SIZE)])
    assert next(weights, None) is None, "the table has no other weights"
    out = np.zeros((len(e.ids), 4, SIZE))
    for b in range(len(e.ids)):
        for column, field in enumerate((0, 1, 1, 2, 3)):
            out[b, field] += e.factors[b, column] * rows[e.ids[b, column]]
    return out


def values(e: Equation, name: str, architecture: Architecture) -> dict[Key, np.ndarray]:
    """x of each order and function (rows, interactions)."""
    layers = "products" if name == "hofm" else "interactions.layers"
    tables = "tables" if name == "hofm" else "interactions.tables"
    found = {}
    for key, tuples in grouped(architecture).items():
        order, function = key
        v = embedded(e, f"{tables}.{order}_{function}.weight", architecture, key)
        at, x = f"{layers}.{order}_{function}", np.zeros((len(v), len(tuples)))
        for b, (p, fields) in product(range(len(v)), enumerate(tuples)):
            if function == "outer":
                u = e[f"{at}.weight_OD"]
                x[b, p] = np.prod(
                    [sum(u[o, d] * v[b, f, d] for d in range(SIZE)) for o, f in enumerate(fields)]
                )
                continue
            terms = [np.prod([v[b, f, d] for f in fields]) for d in range(SIZE)]
            if function == "vector_kernel":
                terms = [e[f"{at}.kernel_PD"][p, d] * term for d, term in enumerate(terms)]
            x[b, p] = sum(terms) * (e[f"{at}.kernel_P"][p] if function == "scalar_kernel" else 1)
        found[key] = x
    return found


def expected(e: Equation, name: str, architecture: Architecture) -> np.ndarray:
    x = values(e, name, architecture)
    if name == "ipnn":
        return e.perceptron(np.concatenate([e.flat(), *x.values()], 1))
    logit = e.linear() + (e.perceptron(e.flat()) if "deep" in name else 0)
    for (order, function), x_BP in x.items():
        if name == "fwfm":
            logit = logit + x_BP @ e[f"field_weights.{order}_{function}"]
        elif name.startswith("auto"):
            gates = f"gates.{order}_{function}"
            logit = logit + e.normed(f"{gates}.norm", x_BP, 1e-3) @ e[f"{gates}.gate_P"]
        else:
            logit = logit + x_BP.sum(1)
    return logit


@pytest.mark.parametrize("case", ARCHITECTURES)
@pytest.mark.parametrize("name", CARRYING)
@pytest.mark.parametrize("train", [True, False])
def test_functions_change_the_logits_as_loops_say(name: str, case: str, train: bool) -> None:
    torch.manual_seed(3)
    architecture = ARCHITECTURES[case]
    model = build(name, architecture, SCHEMA, hyper_of(name)).double()
    for tensor in model.state_dict().values():
        if tensor.is_floating_point() and (tensor.dim() < 2 or not tensor.any()):
            tensor.copy_(torch.rand(tensor.shape) + 0.1)
    for key, parameter in model.named_parameters():
        if "kernel" in key:
            torch.nn.init.normal_(parameter)
    model.train(train)
    wanted = expected(Equation(model), name, architecture)
    assert ROWS.factors_NC is not None
    with torch.set_grad_enabled(train):
        logits = model(ROWS.ids_NC, ROWS.factors_NC.double())
    np.testing.assert_allclose(logits.detach().numpy(), wanted, rtol=0, atol=1e-10)
    if train:  # and nothing is without use
        logits.square().sum().backward()
        assert not [key for key, p in model.named_parameters() if p.grad is None or not p.grad.any()]


def test_each_model_carries_functions_or_is_named() -> None:
    transfers = {name for name in MODELS if MODELS[name].transfers}
    assert {*CARRYING, *OTHERS} == transfers | {"autofm", "autodeepfm"}
    assert [name for name in MODELS if MODELS[name].carries_functions] == [
        name for name in MODELS if name in (*CARRYING, "aim")
    ]
    plain, pairs, higher = of({"inner": PAIRS}), of({"outer": PAIRS}), of({"inner": PAIRS + TRIPLES})
    optinter = of({"memorize": PAIRS[:1], "hadamard": PAIRS[1:]}, "optinter")
    for name in MODELS:
        assert left_out(name, plain) is None
    for name in CARRYING:
        assert [left_out(name, found) for found in (pairs, higher, SEVERAL, SHORT)] == [None] * 4
        title = MODELS[name].title
        assert left_out(name, optinter) == (
            f"selection only: {title} takes inner products of the pairs, and memorizes none"
        )
    for name in OTHERS:
        title = MODELS[name].title
        own = f"selection only: {title} has its own function of a pair"
        low = f"pairs only: {title} has no interactions of higher order"
        assert (left_out(name, pairs), left_out(name, higher)) == (own, low)
        assert left_out(name, SEVERAL) == f"{own}; {low}"
        assert left_out(name, optinter) == own
    for name in ("optinter", "lr", "dcn"):
        assert left_out(name, optinter) is None


@pytest.mark.parametrize("name", [name for name in OTHERS if name not in ("poly2", "gbdtpoly2")])
def test_others_take_the_selection_of_pairs(name: str) -> None:
    def logits(architecture: Architecture) -> torch.Tensor:
        torch.manual_seed(0)
        return build(name, architecture, SCHEMA, hyper_of(name)).eval()(ROWS.ids_NC, ROWS.factors_NC)

    assert torch.equal(logits(SEVERAL), logits(chosen(*PAIRS)))


@pytest.mark.parametrize("name", CARRYING)
def test_optinters_pairs_are_inner_products(name: str) -> None:
    made = []
    for architecture in (of({"memorize": PAIRS[:1], "hadamard": PAIRS[1:]}, "optinter"), chosen(*PAIRS)):
        torch.manual_seed(0)
        made.append(build(name, architecture, SCHEMA, hyper_of(name)).state_dict())
    assert list(made[0]) == list(made[1])
    assert all(torch.equal(made[0][key], made[1][key]) for key in made[0])


def test_functions_of_different_methods_are_not_mixed() -> None:
    with pytest.raises(ConfigError, match="not support the interaction function 'memorize'"):
        build("fm", of({"memorize": PAIRS[:1], "outer": PAIRS}), SCHEMA, hyper_of("fm"))


def test_kept_positions_need_the_size_that_was_searched() -> None:
    with pytest.raises(
        ConfigError, match=r"embedding_size: is 5, but the architecture was searched with .* 3"
    ):
        build("deepfm", SHORT, SCHEMA, hyper_of("deepfm", embedding_size=5))


def draws(name: str, tuples: Tuples) -> dict[str, torch.Tensor]:
    """The parameters of a model over inner products, drawn in the order of its parts."""
    settings, orders = hyper_of(name), sorted({len(t) for t in tuples})
    counts = {order: sum(len(t) == order for t in tuples) for order in orders}
    std, drawn = settings.embedding_std, dict[str, torch.Tensor]()

    def table() -> torch.Tensor:
        return FieldEmbedding(SCHEMA, settings.embedding_size, std).weight

    if name != "ipnn":
        drawn["linear.weights.weight"] = LinearTerm(SCHEMA, std).weights.weight
        drawn["bias"] = torch.zeros(())
    if name == "hofm":
        every = set(tuples) == set(combinations(range(4), 2))
        return drawn | {f"tables.{o}.weight": table() for o in ([2, 3] if every else orders)}
    drawn["embedding.weight"] = table()
    drawn |= {f"interactions.tables.{o}.weight": table() for o in orders if o > 2}
    if name == "fwfm":
        drawn |= {f"field_weights.{o}": torch.full((n,), 0.7) for o, n in counts.items()}
    for order, count in counts.items() if name.startswith("auto") else ():
        drawn |= {
            f"gates.{order}.gate_P": torch.empty(count).uniform_(0.599, 0.601),
            f"gates.{order}.norm.running_mean": torch.zeros(count),
            f"gates.{order}.norm.running_var": torch.ones(count),
            f"gates.{order}.norm.num_batches_tracked": torch.tensor(0),
        }
    if "deep" in name or name == "ipnn":
        mlp = perceptron(4 * settings.embedding_size + (len(tuples) if name == "ipnn" else 0), settings)
        drawn |= {f"mlp.{key}": tensor for key, tensor in mlp.state_dict().items()}
    return drawn


@pytest.mark.parametrize("selection", SELECTIONS)
@pytest.mark.parametrize("name", CARRYING)
def test_inner_products_have_the_tables_names_and_draws_of_the_model(name: str, selection: str) -> None:
    tuples = SELECTIONS[selection]
    whole = chosen(*tuples).model_copy(update={"embedding_size": 40, "method": "aim"})  # without positions
    for architecture in (chosen(*tuples), whole):
        torch.manual_seed(7)
        state = build(name, architecture, SCHEMA, hyper_of(name)).state_dict()
        torch.manual_seed(7)
        wanted = draws(name, tuples)
        assert {*state} == {*wanted}
        assert [key for key in state if not torch.equal(state[key], wanted[key])] == []


def test_selection_has_the_fields_alone() -> None:
    plain = SHORT.selection
    assert plain.groups == chosen(*PAIRS, *TRIPLES).groups
    assert not plain.has_functions
    assert (plain.positions, plain.embedding_size, SEVERAL.selection.groups) == ((), None, plain.groups)
