"""AutoPI's operators, norm and cells, written as loops over rows, fields and entries."""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations

import numpy as np

from ctrloom.architecture import Edge

State = Mapping[str, np.ndarray]


def relu(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x, 0.0)


def skip(x: np.ndarray, state: State, edge: int) -> np.ndarray:
    return x.copy()


def senet(x: np.ndarray, state: State, edge: int) -> np.ndarray:
    out = np.empty_like(x)
    for b, row in enumerate(x):
        z = [sum(field) / len(field) for field in row]
        a = relu(relu(np.array(z) @ state["squeeze_EFR"][edge]) @ state["excite_ERF"][edge])
        for f, field in enumerate(row):
            out[b, f] = a[f] * field
    return relu(out)


def attention(x: np.ndarray, state: State, edge: int, heads: int = 2) -> np.ndarray:
    w = {n: state[f"layers.{edge}.projections.{n}.weight"] for n in ("query", "key", "value", "residual")}
    size = x.shape[2] // heads
    out = np.zeros_like(x)
    for b, row in enumerate(x):
        for f in range(len(row)):
            for h in range(heads):
                here = slice(h * size, (h + 1) * size)
                scores = [(w["query"] @ row[f])[here] @ (w["key"] @ row[g])[here] for g in range(len(row))]
                shares = np.exp(scores) / sum(np.exp(scores))
                out[b, f, here] = sum(shares[g] * (w["value"] @ row[g])[here] for g in range(len(row)))
            out[b, f] += w["residual"] @ row[f]
    return relu(out)


def fm(x: np.ndarray, state: State, edge: int) -> np.ndarray:
    wide = x.shape[1] * x.shape[2]
    w = state["weight"][:, edge * wide : (edge + 1) * wide]
    products = [[row[i] @ row[j] for i, j in combinations(range(len(row)), 2)] for row in x]
    return relu(np.array(products) @ w).reshape(x.shape)


def slp(x: np.ndarray, state: State, edge: int) -> np.ndarray:
    wide = x.shape[1] * x.shape[2]
    w = state["weight"][:, edge * wide : (edge + 1) * wide]
    return relu(np.array([np.concatenate(list(row)) for row in x]) @ w).reshape(x.shape)


def conv(x: np.ndarray, state: State, edge: int) -> np.ndarray:
    w, out = state["weight_EFF"][edge], np.zeros_like(x)
    for b, row in enumerate(x):
        for f in range(len(row)):
            for d in range(x.shape[2]):
                out[b, f, d] = sum(w[f, g] * row[g, d] for g in range(len(row)))
    return relu(out)


OPERATORS: dict[str, Callable[[np.ndarray, State, int], np.ndarray]] = {
    "skip": skip,
    "senet": senet,
    "attention": attention,
    "fm": fm,
    "slp": slp,
    "conv": conv,
}


def normed(x: np.ndarray, running: tuple[np.ndarray, np.ndarray] | None = None) -> np.ndarray:
    """Normalise each field by its mean and variance over all rows, or by running statistics."""
    out = np.empty_like(x)
    for f in range(x.shape[1]):
        entries = x[:, f]
        mean, variance = (
            (entries.mean(), entries.var()) if running is None else (running[0][f], running[1][f])
        )
        out[:, f] = (entries - mean) / np.sqrt(variance + 1e-5)
    return out


def below(state: State, prefix: str) -> State:
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def cell(
    inputs: Sequence[np.ndarray],
    nodes: int,
    edges: Sequence[Edge],
    state: State,
    train: bool,
    normalized: str | None,
):
    """Intermediate nodes of a derived cell with edges ordered by target."""
    x = list(inputs)

    def norm(values: np.ndarray, name: str) -> np.ndarray:
        seen = below(state, name)
        return normed(values, None if train else (seen["mean_EF"][0], seen["variance_EF"][0]))

    for node in range(len(inputs), len(inputs) + nodes):
        total = np.zeros_like(inputs[0])
        for e, edge in enumerate(edges):
            if edge.target != node:
                continue
            term = OPERATORS[edge.operator](x[edge.source], below(state, f"operators.{e}."), 0)
            total += norm(term, f"norms.{e}.") if normalized == "operators" else term
        x.append(norm(total, f"node_norms.{node - len(inputs)}.") if normalized == "nodes" else total)
    return x[len(inputs) :]


def mixed_cell(
    inputs: Sequence[np.ndarray], nodes: int, state: State, temperature: float, normalized: str = "operators"
) -> list[np.ndarray]:
    """Eq. 5 and 6 in training, by loops over edges and operators."""
    count = len(inputs) + nodes
    edges = [(i, j) for i in range(count) for j in range(max(len(inputs), i + 1), count)]
    x = list(inputs)
    for node in range(len(inputs), count):
        into = [e for e, (_, target) in enumerate(edges) if target == node]
        beta = np.exp(state["beta_E"][into] / temperature)
        total = np.zeros_like(inputs[0])
        for share, e in zip(beta / beta.sum(), into, strict=True):
            source = edges[e][0]
            alpha = np.exp(state["alpha_EO"][e] / temperature)
            number = sum(i == source and t < node for i, t in edges)  # index among edges of the source
            for o, name in enumerate(OPERATORS):
                term = OPERATORS[name](x[source], below(state, f"mixtures.{source}.operators.{o}."), number)
                own = normed(term) if normalized == "operators" else term
                total += share * alpha[o] / alpha.sum() * own
        x.append(normed(total) if normalized == "nodes" else total)
    return x[len(inputs) :]
