"""The cases: a model or a search on one shape with one batch size, and its target."""

from dataclasses import dataclass, field, replace
from typing import Any, Literal

CRITEO_CROSSES = 21_037_504  # kept values of 325 pairs, as OptInter's authors have them
Peer = Literal["fuxictr", "deepctr", "vega", "optinter", "gather"]


@dataclass(frozen=True)
class Case:
    """One line of the table.

    The targets are `least`, a ratio to the peer, and `rows_per_second`.
    """

    name: str
    model: str
    shape: str = "criteo"
    batch: int = 2000
    embedding: int = 20
    ids: int | None = 1_000_000
    hidden: tuple[int, ...] = (400, 400, 400)
    orders: tuple[int, ...] = (2,)
    search: str | None = None  # also trains the gates of that search
    precision: str = "float32"
    optimizer: str = "lazy_adam"
    peer: Peer | None = None
    least: float | None = None
    rows_per_second: float | None = None
    settings: dict[str, Any] = field(default_factory=dict)  # further settings of the model


def criteo(model: str, batch: int, least: float, **more: Any) -> Case:
    """A model at Criteo's shape, compared with FuxiCTR's."""
    name = f"{more.pop('title')}, batch {batch:,}"
    return Case(name, model, batch=batch, peer="fuxictr", least=least, **more)


CASES = (
    criteo("fm", 2000, 8, title="FM"),
    criteo("fm", 2000, 1, title="FM, dense Adam", optimizer="adam"),
    criteo("fm", 2000, 8, title="FM, row-wise Adagrad", optimizer="rowwise_adagrad"),
    criteo("fm", 10_000, 4, title="FM"),
    criteo("fm", 10_000, 30, title="FM, 10 million ids", ids=10_000_000),
    criteo("deepfm", 2000, 3, title="DeepFM", precision="bfloat16"),
    criteo("deepfm", 10_000, 2, title="DeepFM", precision="bfloat16"),
    criteo("deepfm", 10_000, 1, title="DeepFM, float32"),
    criteo("ipnn", 2000, 3, title="IPNN", precision="bfloat16"),
    criteo("ipnn", 10_000, 2, title="IPNN", precision="bfloat16"),
    criteo("ipnn", 10_000, 1, title="IPNN, float32"),
    Case("AutoFM search, 741 gates, batch 2,000", "autofm", search="autofis", rows_per_second=80_000),
    Case(
        "AutoFM search, 741 gates, batch 10,000",
        "autofm",
        batch=10_000,
        search="autofis",
        rows_per_second=80_000,
    ),
    Case(
        "AutoDeepFM search, MLP 700 x 5",
        "autodeepfm",
        search="autofis",
        hidden=(700,) * 5,
        precision="bfloat16",
        peer="vega",
        least=4,
    ),
    # 1,000 rows: the peer needs 18 GB for 2,000.
    Case(
        "AutoFM search, 9,139 triples",
        "autofm",
        batch=1000,
        search="autofis",
        orders=(2, 3),
        peer="gather",
        least=5,
    ),
    Case(
        "OptInter search, 325 crosses, 21 million ids",
        "optinter",
        search="optinter",
        hidden=(700,) * 5,
        ids=CRITEO_CROSSES,
        precision="bfloat16",
        peer="optinter",
        least=6,
    ),
    Case("FM on Frappe", "fm", "frappe", 4096, 10, None, peer="fuxictr", least=2),
    Case(
        "DeepFM on Frappe", "deepfm", "frappe", 4096, 10, None, precision="bfloat16", peer="fuxictr", least=2
    ),
    Case("IPNN on Frappe", "ipnn", "frappe", 4096, 10, None, precision="bfloat16", peer="fuxictr", least=2),
    Case(
        "AutoInt on Frappe, 6 layers of 4 heads, 128",
        "autoint",
        "frappe",
        4096,
        10,
        None,
        precision="bfloat16",
        peer="fuxictr",
        least=3,
        settings={"attention_layers": 6, "heads": 4, "head_size": 32},
    ),
    Case(
        "DeepFM on Frappe, against DeepCTR-Torch",
        "deepfm",
        "frappe",
        4096,
        10,
        None,
        precision="bfloat16",
        peer="deepctr",
    ),
    Case("FM on MovieLens 100k", "fm", "movielens", 4096, 10, None, peer="fuxictr"),
    Case("FM at Avazu's shape, 0.65 million ids", "fm", "avazu", 2000, 40, 645_195, peer="fuxictr"),
    Case("FM at Avazu's shape, 1.2 million ids", "fm", "avazu", 2000, 40, 1_200_000, peer="fuxictr"),
    Case(
        "AutoDeepFM search at Avazu's shape",
        "autodeepfm",
        "avazu",
        2000,
        40,
        645_195,
        (700,) * 5,
        search="autofis",
        precision="bfloat16",
        peer="vega",
    ),
)


def large(title: str, model: str, least: float, batch: int = 10_000, **more: Any) -> Case:
    """A case for a GPU, with its target rate."""
    return Case(f"{title}, batch {batch:,}", model, batch=batch, rows_per_second=least, **more)


WIDE = {"hidden": (700,) * 5, "precision": "bfloat16"}
SEARCH = {"search": "autofis", "precision": "tf32"}
ON_GPU = (
    *(large("FM", "fm", 20e6, batch) for batch in (2000, 10_000, 65_536)),
    large("FM, row-wise Adagrad", "fm", 20e6, optimizer="rowwise_adagrad"),
    *(large("AutoFM search, 741 gates", "autofm", 20e6, batch, **SEARCH) for batch in (10_000, 65_536)),
    large("DeepFM, bfloat16", "deepfm", 10e6, precision="bfloat16"),
    large("DeepFM, TF32", "deepfm", 10e6, precision="tf32"),
    large("IPNN, bfloat16", "ipnn", 10e6, precision="bfloat16"),
    large("AutoDeepFM search, MLP 700 x 5", "autodeepfm", 8e6, **(SEARCH | WIDE)),
    large("AutoFM search, 9,139 triples", "autofm", 3e6, orders=(2, 3), **SEARCH),
    large(
        "OptInter search, 325 crosses, 21 million ids",
        "optinter",
        3e6,
        search="optinter",
        ids=CRITEO_CROSSES,
        **WIDE,
    ),
)


def tiny(case: Case) -> Case:
    """The case with hardly any work, as a smoke test."""
    return replace(case, batch=32, ids=None if case.ids is None else 3000, hidden=(8,) * len(case.hidden))
