"""Adaptive factorization network (AFN, AFN+).

B batch, F fields, D embedding size, H logarithmic neurons, N = B D.
"""

from torch import Tensor, nn

from ctrloom.architecture import Architecture
from ctrloom.config import AFNSettings
from ctrloom.nn.embedding import FieldEmbedding
from ctrloom.nn.mlp import perceptron
from ctrloom.nn.norm import BatchNorm
from ctrloom.schema import Schema

FLOOR = 1e-4  # lower bound of |v| in the logarithm, from the authors' code


class LogarithmicLayer(nn.Module):
    """prod_i |v_i|^(w_ij) of each neuron j, as exp(sum_i w_ij ln |v_i| + b_j): emb_BFD -> (B, D, H).

    The exponents are learned (Cheng et al. 2020, section on the logarithmic transformation). Batch norm after
    logarithm and exponential, bias and initialisation follow the authors' code.
    """

    def __init__(self, fields: int, neurons: int) -> None:
        super().__init__()
        self.exponents = nn.Linear(fields, neurons)
        nn.init.normal_(self.exponents.weight, 0, 0.1)
        nn.init.zeros_(self.exponents.bias)
        self.log_norm, self.exp_norm = BatchNorm(fields), BatchNorm(neurons)

    def forward(self, emb_BFD: Tensor) -> Tensor:
        """The neurons' products."""
        log_NF = emb_BFD.mT.flatten(0, 1).abs().clamp_min(FLOOR).log()
        product_NH: Tensor = self.exp_norm(self.exponents(self.log_norm(log_NF)).exp())
        return product_NH.unflatten(0, (-1, emb_BFD.shape[2]))


class AFN(nn.Module):
    """MLP over products with learned exponents: MLP([prod_i |v_i|^(w_ij) ...]).

    `plus` adds an MLP over its own embeddings: + MLP'([v'_1 ... v'_F]), AFN+. Both are trained jointly with
    one loss; the authors' code uses a separate loss for each.
    Reference: Cheng, Shen and Huang, Adaptive factorization network, AAAI 2020.
    """

    def __init__(self, architecture: Architecture, schema: Schema, settings: AFNSettings) -> None:
        super().__init__()
        size, fields = settings.embedding_size, len(schema.fields)
        self.embedding = FieldEmbedding(schema, size, settings.embedding_std)
        self.logarithmic = LogarithmicLayer(fields, settings.logarithmic_neurons)
        self.mlp = perceptron(settings.logarithmic_neurons * size, settings)
        self.plus = settings.plus
        if self.plus:
            self.second_embedding = FieldEmbedding(schema, size, settings.embedding_std)
            self.second_mlp = perceptron(fields * size, settings)

    def forward(self, ids_BC: Tensor, factors_BC: Tensor | None = None) -> Tensor:
        """Logits (B,)."""
        logit_B: Tensor = self.mlp(self.logarithmic(self.embedding(ids_BC, factors_BC)).flatten(1))
        if self.plus:
            logit_B = logit_B + self.second_mlp(self.second_embedding(ids_BC, factors_BC).flatten(1))
        return logit_B
