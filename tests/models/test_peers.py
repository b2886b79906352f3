"""Logits and losses of FinalNet, GDCN, MaskNet, DCNv3, Fi-GNN and AutoGroup, as loops over equations."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from oracle import ROWS, SCHEMA, Equation, Tuples, assert_follows, chosen, hyper_of
from small import categorical_schema

from ctrloom.config import ModelName, ModelsConfig
from ctrloom.config.base import ConfigError
from ctrloom.models import build
from ctrloom.models.size import size_of
from ctrloom.training.loop import adam
from ctrloom.training.step import Step, loss_of, training_loss

B, F, D = 9, 4, 3


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def layer_norm(x: np.ndarray, scale: Any = 1.0, shift: Any = 0.0) -> np.ndarray:
    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + 1e-5) * scale + shift


def factorized_block(e: Equation, name: str, x: np.ndarray, widths: tuple[int, ...]) -> np.ndarray:
    for layer, width in enumerate(widths):
        y, half = e.affine(f"{name}.1.{3 * layer}.linear", x), width // 2
        out = np.zeros_like(y)
        for k in range(half):
            out[:, k] = y[:, k]
            out[:, half + k] = y[:, k] * y[:, half + k]
        x = np.maximum(e.normed(f"{name}.1.{3 * layer + 1}", out, 1e-5), 0)
    return e.affine(f"{name}.2", x)[:, 0]


def finalnet(e: Equation, tuples: Tuples) -> np.ndarray:
    return factorized_block(e, "first", e.flat(), (6, 4))


def two_blocks(e: Equation) -> list[np.ndarray]:
    v, gated = e.embedded(), np.zeros((B, F, D))
    w, b = e["first.0.linear.weight"], e["first.0.linear.bias"]
    for f in range(F):
        for d in range(D):
            gated[:, f, d] = v[:, f, d] * (sum(w[f, k] * v[:, k, d] for k in range(F)) + b[f])
    first = np.concatenate([v.reshape(B, -1), gated.reshape(B, -1)], 1)
    return [factorized_block(e, "first", first, (6, 4)), factorized_block(e, "second", e.flat(), (8,))]


def finalnet_of_two(e: Equation, tuples: Tuples) -> np.ndarray:
    first, second = two_blocks(e)
    return (first + second) / 2


def gated_cross(e: Equation) -> np.ndarray:
    x = first = e.flat()
    for layer in range(2):
        w, b = e[f"cross.layers.{layer}.weight"], e[f"cross.layers.{layer}.bias"]
        gate = e[f"cross.gates.{layer}.weight"]
        x = np.array([first[r] * (w @ x[r] + b) * sigmoid(gate @ x[r]) + x[r] for r in range(B)])
    return x


def gdcn(e: Equation, tuples: Tuples) -> np.ndarray:
    return e.perceptron(gated_cross(e))


def gdcn_parallel(e: Equation, tuples: Tuples) -> np.ndarray:
    return e.affine("out", gated_cross(e))[:, 0] + e.perceptron(e.flat())


def mask_block(e: Equation, name: str, h: np.ndarray) -> np.ndarray:
    mask = e.affine(f"{name}.mask.2", e.hidden(f"{name}.mask", e.flat(), (0,)))
    x = (mask * h) @ e[f"{name}.hidden.weight"].T
    if f"{name}.norm.weight" in e.state:
        x = layer_norm(x, e[f"{name}.norm.weight"], e[f"{name}.norm.bias"])
    return np.maximum(x, 0)


def normed_fields(e: Equation) -> np.ndarray:
    v = e.embedded()
    scale, shift = e["norms.scale_FD"], e["norms.shift_FD"]
    return np.stack([layer_norm(v[:, f], scale[f], shift[f]) for f in range(F)], 1).reshape(B, -1)


def masknet(e: Equation, tuples: Tuples) -> np.ndarray:
    assert e["blocks.1.mask.0.weight"].shape == (10, F * D), "twice the width of the second input"
    h = mask_block(e, "blocks.1", mask_block(e, "blocks.0", normed_fields(e)))
    return e.affine("mlp.layers.0", h)[:, 0]


def masknet_parallel(e: Equation, tuples: Tuples) -> np.ndarray:
    blocks = [mask_block(e, f"blocks.{k}", e.flat()) for k in range(3)]
    assert [block.shape[1] for block in blocks] == [2, 2, 3]
    return e.perceptron(np.concatenate(blocks, 1))


def masked_cross(e: Equation, name: str, x: np.ndarray, layers: int, exponential: bool) -> np.ndarray:
    first = x
    for layer in range(layers):
        crossed = x @ e[f"{name}.layers.{layer}.weight"].T
        normed = layer_norm(crossed, e[f"{name}.norms.{layer}.weight"], e[f"{name}.norms.{layer}.bias"])
        both = np.concatenate([crossed, crossed * np.maximum(normed, 0)], 1)
        x = (x if exponential else first) * (both + e[f"{name}.biases.{layer}"]) + x
    return e.affine(f"{name}.out", x)[:, 0]


def cross_logits(e: Equation, heads: int) -> list[np.ndarray]:
    v = e.embedded()
    size = v.shape[2] // heads
    logits = []
    for name, layers, exponential in (("exponential", 2, True), ("linear", 3, False)):
        total = np.zeros(B)
        for head in range(heads):
            own, half = v[:, :, head * size : (head + 1) * size], size // 2
            halves = [own[:, :, :half].reshape(B, -1), own[:, :, half:].reshape(B, -1)]
            total += masked_cross(e, name, np.concatenate(halves, 1), layers, exponential)
        logits.append(total / heads)
    return logits


def dcnv3(e: Equation, tuples: Tuples) -> np.ndarray:
    return sum(cross_logits(e, 1)) / 2


def dcnv3_heads(e: Equation, tuples: Tuples) -> np.ndarray:
    return sum(cross_logits(e, 2)) / 2


def attended(e: Equation) -> np.ndarray:
    """Self-attention with one head, as AutoInt's code has it."""
    v = e.embedded()
    q, k, u, r = (
        np.maximum(e.affine(f"attention.projections.{name}", v), 0)
        for name in ("query", "key", "value", "residual")
    )
    out = np.zeros_like(v)
    for b in range(B):
        for i in range(F):
            scores = np.array([q[b, i] @ k[b, j] for j in range(F)]) / np.sqrt(D)
            weights = np.exp(scores) / np.exp(scores).sum()
            out[b, i] = np.maximum(sum(weights[j] * u[b, j] for j in range(F)) + r[b, i], 0)
    x = out - out.mean(-1, keepdims=True)
    x /= np.sqrt(out.var(-1, keepdims=True) + 1e-8)
    return x * e["attention.norm.weight"] + e["attention.norm.bias"]


def fignn(e: Equation, tuples: Tuples) -> np.ndarray:
    first = h = attended(e)
    w = np.concatenate([e["edges.target.weight"][0], e["edges.source.weight"][0]])
    logits = np.zeros(B)
    for b in range(B):
        edges = np.zeros((F, F))
        for i in range(F):
            for j in range(F):
                score = w @ np.concatenate([first[b, i], first[b, j]])
                edges[i, j] = 0 if i == j else np.exp(max(score, 0.01 * score))
        edges /= edges.sum(1, keepdims=True)
        state = h[b]
        for step in range(2):
            at = f"steps.{step}"
            nodes = []
            for i in range(F):
                sent = sum(edges[i, j] * (e[f"{at}.out_FDD"][j] @ state[j]) for j in range(F))
                received = e[f"{at}.into_FDD"][i] @ sent + e[f"{at}.bias_D"]
                nodes.append(gru(e, f"{at}.update", received, state[i]))
            state = np.array(nodes) + first[b]
        shares = sigmoid(e["share.weight"] @ state.reshape(-1))
        logits[b] = sum(shares[i] * (e["score.weight"][0] @ state[i]) for i in range(F))
    return logits


def gru(e: Equation, name: str, x: np.ndarray, h: np.ndarray) -> np.ndarray:
    given = np.split(e[f"{name}.weight_ih"] @ x + e[f"{name}.bias_ih"], 3)
    held = np.split(e[f"{name}.weight_hh"] @ h + e[f"{name}.bias_hh"], 3)
    reset, update = sigmoid(given[0] + held[0]), sigmoid(given[1] + held[1])
    return (1 - update) * np.tanh(given[2] + reset * held[2]) + update * h


def autogroup(e: Equation, tuples: Tuples) -> np.ndarray:
    features = []
    for order, groups in enumerate((2, 3, 4), 1):
        table, at = e.embedded(f"embeddings.{order - 1}.weight"), f"groups.{order - 1}"
        size = table.shape[2]
        v = e.normed(f"{at}.norm", table.reshape(B, -1), 1e-5).reshape(table.shape)
        members, weights = e[f"{at}.structure_FG"] > 0, e[f"{at}.weight_FG"]
        found = np.zeros((B, size, groups))
        for g in range(groups):
            for d in range(size):
                terms = [weights[f, g] * v[:, f, d] for f in range(F) if members[f, g]]
                own = sum((term**order for term in terms), np.zeros(B))
                found[:, d, g] = sum(terms, np.zeros(B)) ** order - 0.01 * own
        features.append(found.reshape(B, -1) if order == 1 else found.sum(1))
    return e.linear() + e.perceptron(np.concatenate(features, 1))


EQUATIONS = {
    "finalnet": finalnet,
    "gdcn": gdcn,
    "masknet": masknet,
    "dcnv3": dcnv3,
    "fignn": fignn,
    "autogroup": autogroup,
}
TWO_BLOCKS: dict[str, Any] = {"second_hidden": (8,), "field_gates": True}


@pytest.mark.parametrize("name", EQUATIONS)
@pytest.mark.parametrize("train", [True, False])
def test_logits_follow_the_equation(name: ModelName, train: bool) -> None:
    assert_follows(name, EQUATIONS[name], (), train)


@pytest.mark.parametrize("train", [True, False])
def test_logits_follow_the_equation_of_a_variant(train: bool) -> None:
    assert_follows("finalnet", finalnet_of_two, (), train, **TWO_BLOCKS)
    assert_follows("gdcn", gdcn_parallel, (), train, structure="parallel")
    parallel = {"parallel": (2, 2, 3), "embedding_norm": False}
    assert_follows("masknet", masknet_parallel, (), train, **parallel)
    assert_follows("masknet", masknet_parallel, (), train, **parallel, layer_norm=False)
    assert_follows("dcnv3", dcnv3_heads, (), train, heads=2)


def cross_entropy(logit: np.ndarray, target: np.ndarray) -> np.ndarray:
    p = sigmoid(logit)
    return -(target * np.log(p) + (1 - target) * np.log(1 - p))


@pytest.mark.parametrize("weighted", [False, True])
def test_losses_are_those_of_the_papers(weighted: bool) -> None:
    weight = np.linspace(0.5, 2, B) if weighted else np.ones(B)
    label = ROWS.label_N.double()
    rows = replace(
        ROWS,
        label_N=label,
        factors_NC=ROWS.factors_NC.double(),
        weight_N=torch.from_numpy(weight) if weighted else None,
    )

    def mean(x: np.ndarray) -> float:
        return float((x * weight).sum() / weight.sum())

    for name, settings in (("finalnet", TWO_BLOCKS), ("dcnv3", {})):
        torch.manual_seed(5)
        model = build(name, chosen(), SCHEMA, hyper_of(name, **settings)).double()
        e = Equation(model)
        parts = two_blocks(e) if name == "finalnet" else cross_logits(e, 1)
        whole = sum(parts) / 2
        own, logloss = training_loss(model, rows)
        expected = mean(cross_entropy(whole, label.numpy()))
        assert logloss.item() == pytest.approx(expected, abs=1e-12)
        for part in parts:
            if name == "finalnet":
                expected += mean(cross_entropy(part, sigmoid(whole)))
            else:
                loss = mean(cross_entropy(part, label.numpy()))
                expected += loss * max(0, loss - mean(cross_entropy(whole, label.numpy())))
        assert own.item() == pytest.approx(expected, abs=1e-12)


def test_a_step_minimises_the_loss_of_the_model_and_reports_the_cross_entropy() -> None:
    torch.manual_seed(5)
    model = build("finalnet", chosen(), SCHEMA, hyper_of("finalnet", **TWO_BLOCKS))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    objective, logloss = training_loss(model, ROWS)
    expected = torch.autograd.grad(objective, list(model.parameters()))
    optimizer = torch.optim.SGD(model.parameters(), 1.0)
    assert Step(model, optimizer.step, [optimizer])(ROWS).item() == pytest.approx(logloss.item(), abs=1e-6)
    assert objective.item() > 2 * logloss.item()
    for (name, p), gradient in zip(model.named_parameters(), expected, strict=True):
        torch.testing.assert_close(before[name] - p.detach(), gradient, rtol=1e-4, atol=1e-6)


def test_the_mean_of_two_blocks_is_a_constant_to_them() -> None:
    torch.manual_seed(5)
    model = build("finalnet", chosen(), SCHEMA, hyper_of("finalnet", **TWO_BLOCKS))
    bias = model.get_parameter("second.2.bias")
    training_loss(model, ROWS)[0].backward()
    _, second = two_blocks(Equation(model))
    whole = model(ROWS.ids_NC, ROWS.factors_NC).detach().numpy()
    to_label, to_whole = sigmoid(whole) - ROWS.label_N.numpy(), sigmoid(second) - sigmoid(whole)
    assert bias.grad is not None
    assert bias.grad.item() == pytest.approx(float(np.mean(to_label / 2 + to_whole)), abs=1e-5)


def test_weights_and_structure_of_groups_have_their_own_losses() -> None:
    """Weights: with the groups as they are; structure: with the groups that the same noise draws."""
    torch.manual_seed(5)
    model = build("autogroup", chosen(), SCHEMA, hyper_of("autogroup", temperature=0.5))
    structure = {name for name, _ in model.named_parameters() if name.endswith("structure_FG")}
    state = torch.get_rng_state()
    training_loss(model, ROWS)[0].backward()
    got = {name: p.grad for name, p in model.named_parameters()}
    for sampled in (False, True):
        torch.set_rng_state(state)
        model.zero_grad()
        logit_B = model(ROWS.ids_NC, ROWS.factors_NC, sampled)
        torch.nn.functional.binary_cross_entropy_with_logits(logit_B, ROWS.label_N).backward()
        for name, p in model.named_parameters():
            if (name in structure) == sampled:
                torch.testing.assert_close(got[name], p.grad, rtol=1e-5, atol=1e-7)


def test_groups_are_drawn_as_often_as_their_parameters_say() -> None:
    model = build("autogroup", chosen(), SCHEMA, hyper_of("autogroup", groups=(2000,), order_sizes=()))
    groups = model.get_submodule("groups.0")
    groups.structure_FG.data.fill_(1.5)
    torch.manual_seed(0)
    assert groups._members(True).mean().item() == pytest.approx(1 / (1 + np.exp(-1.5)), abs=0.02)
    assert groups._members(False).eq(1).all()


def test_structure_has_its_own_learning_rate() -> None:
    model = build("autogroup", chosen(), SCHEMA, hyper_of("autogroup", structure_learning_rate=0.07))
    rates = {id(p): group["lr"] for group in adam(model, 0.01).param_groups for p in group["params"]}
    assert len(rates) == len(list(model.parameters()))
    for name, p in model.named_parameters():
        assert rates[id(p)] == (0.07 if name.endswith("structure_FG") else 0.01), name


def test_loss_of_other_models_is_their_cross_entropy() -> None:
    model = build("fm", chosen((0, 1)), SCHEMA, hyper_of("fm"))
    own, logloss = training_loss(model, ROWS)
    assert own is logloss
    assert own.item() == loss_of(model, ROWS).item()


@pytest.mark.parametrize(
    ("name", "parameters", "settings"),
    [
        ("finalnet", 256_791 - 53_990, {"hidden": (400, 400)}),
        ("finalnet", 338_502 - 53_990, {"hidden": (400, 400), "second_hidden": (400,), "field_gates": True}),
        ("masknet", 571_691 - 53_890, {"parallel": (50, 50, 50), "embedding_norm": False}),
    ],
)
def test_layers_have_as_many_weights_as_on_the_leaderboard(
    name: ModelName, parameters: int, settings: dict[str, Any]
) -> None:
    """BARS logs parameters of Frappe's ten fields with an embedding size of 10; less those of the table."""
    schema = categorical_schema(10)
    hyper = ModelsConfig({name: {"embedding_size": 10, "hidden": (400, 400, 400), **settings}}).of(name)
    model = build(name, chosen(schema=schema), schema, hyper)
    assert size_of(model.eval(), schema).dense == parameters


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("finalnet", {"hidden": (5,)}, "hidden: 5 is odd"),
    ("finalnet", {"second_hidden": (4, 3)}, "second_hidden: 3 is odd"),
    ("finalnet", {"second_dropout": 0.1}, "no second block; set second_hidden"),
    ("dcnv3", {"embedding_size": 6, "heads": 2}, "choose a multiple of 4"),
    ("fignn", {"heads": 2}, "2 heads cannot share 3 positions"),
    ("autogroup", {"groups": (2, 2)}, "2 sizes for the 1 orders above 1 in groups"),
]


@pytest.mark.parametrize(("name", "settings", "message"), REFUSED)
def test_incompatible_settings_are_refused(name: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        hyper_of(name, **settings)
