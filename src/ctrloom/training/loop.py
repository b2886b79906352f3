"""The training loop: Adam on device-resident rows, with early stopping on the validation split.

B batch, N rows.
"""

import copy
import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from ctrloom import distributed
from ctrloom.config import EmbeddingOptimizer, Hyperparameters
from ctrloom.config.base import MachineError
from ctrloom.config.environment import device_name
from ctrloom.config.errors import UserError
from ctrloom.data.batches.batch import BatchSource
from ctrloom.metrics.measure import auc, row_logloss
from ctrloom.nn.cross_features import CrossEmbedding
from ctrloom.nn.embedding import FieldEmbedding
from ctrloom.nn.feature_groups import FeatureGroups
from ctrloom.optim.row_wise import RowWise
from ctrloom.progress import progress
from ctrloom.training.checkpoints import Loop, Variables
from ctrloom.training.history import AfterEpoch, Epoch, History, limit_of, nothing, replay
from ctrloom.training.memory import require_training
from ctrloom.training.passes import Passes, run_epoch, steps_in_pass
from ctrloom.training.step import Step, matmul_precision

SCORING_BATCH = 65_536
LARGEST_BATCH, SMALLEST_BATCH, STEPS = 4096, 256, 80  # of an automatic batch size, and of a pass
PRIOR_ROWS = 4.0  # rows that the automatic L2 on embeddings weighs as much as


class DivergedError(UserError):
    """Training or a search diverged; the message names what to lower."""

    from_inputs = True


def pick_device(name: str) -> torch.device:
    """Resolve a configured device; `auto` is CTRLOOM_DEVICE if set, otherwise the GPU if there is one.

    Also disables TF32 in cuDNN convolutions, which PyTorch enables by default.

    Raises:
        MachineError: CTRLOOM_DEVICE is not a device, or `cuda` was requested, but no GPU is available.
    """
    name = device_name() if name == "auto" else name
    if name == "cuda" and not torch.cuda.is_available():
        raise MachineError("device: cuda was requested, but torch sees no GPU; use device: cpu or auto")
    torch.backends.cudnn.allow_tf32 = False
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def seed_everything(seed: int) -> torch.Generator:
    """Seed torch and enable deterministic algorithms; returns the generator for shuffling rows."""
    torch.manual_seed(seed)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # makes cuBLAS deterministic
    # What use_deterministic_algorithms does, without loading torch's compiler, which takes a second
    torch.set_deterministic_debug_mode("warn")
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # costs 10 %
    return torch.Generator().manual_seed(seed)


def batch_size_of(settings: Hyperparameters, rows: int) -> int:
    """The configured batch size; without one, smaller for few rows, so that a pass has enough steps."""
    return settings.batch_size or min(LARGEST_BATCH, max(SMALLEST_BATCH, rows // STEPS))


def embedding_l2_of(settings: Hyperparameters, rows: int) -> float:
    """The configured L2 on embeddings; without one, less for more rows: the loss is a mean."""
    return PRIOR_ROWS / rows if settings.embedding_l2 is None else settings.embedding_l2


def adam(
    model: nn.Module,
    learning_rate: float,
    embedding_l2: float = 0.0,
    without: Sequence[Tensor] = (),
    tables: EmbeddingOptimizer = "adam",
    table_rate: float | None = None,
    times: float | None = None,
    epsilon: float = 1e-8,
) -> RowWise:
    """Adam for all weights; L2 on embedding tables is added to their gradient.

    Also sets on the model's embeddings whether their gradients are sparse, as the optimizer needs them.

    Dense Adam updates whole tables at every step, as in the papers' code. The row-wise optimizers update
    only the rows of a batch; cross tables always do, with their own L2 and learning rate.

    `times` is the batch size relative to the one that the settings were tuned for. It enables row clipping
    (`optim.cowclip`), multiplies L2 by `times`, keeps the learning rates of tables, and scales the others
    by sqrt(times).
    """
    require_training(model, rowwise=tables != "adam")
    fields = [m for m in model.modules() if isinstance(m, FieldEmbedding)]
    for table in fields:
        table.sparse_gradients, table.keep_duplicates = tables != "adam", times is not None
    in_tables = {id(p) for table in fields for p in table.parameters()}
    crosses = [m for m in model.modules() if isinstance(m, CrossEmbedding)]
    for cross in crosses:
        cross.keep_duplicates = times is not None
    grouped = [m for m in model.modules() if isinstance(m, FeatureGroups)]
    separate = [*(cross.weight for cross in crosses), *(groups.structure_FG for groups in grouped)]
    skipped = {id(p) for p in (*without, *separate)}
    chosen = [p for p in model.parameters() if id(p) not in skipped]
    clipped = {"cowclip": times is not None}
    groups: list[dict[str, Any]] = [
        {
            "params": [p for p in chosen if id(p) in in_tables],
            "weight_decay": embedding_l2 * (times or 1),
            "lr": table_rate or learning_rate,
            "rows": "adagrad" if tables == "rowwise_adagrad" else "adam",
            **clipped,
        },
        {"params": [p for p in chosen if id(p) not in in_tables]},
        *(
            {
                "params": [c.weight],
                "weight_decay": c.l2 * (times or 1),
                "lr": c.learning_rate or learning_rate,
                **clipped,
            }
            for c in crosses
        ),
        *({"params": [groups.structure_FG], "lr": groups.learning_rate} for groups in grouped),
    ]
    rate = learning_rate * math.sqrt(times or 1)
    return RowWise([group for group in groups if group["params"]], lr=rate, eps=epsilon, fused=True)


def adam_of(model: nn.Module, settings: Hyperparameters, rows: int) -> RowWise:
    """Build the optimizer from a model's hyperparameters, for training on that many rows."""
    return adam(
        model,
        settings.learning_rate,
        embedding_l2_of(settings, rows),
        tables=settings.embedding_optimizer,
        table_rate=settings.embedding_learning_rate,
        times=_times(settings),
        epsilon=settings.epsilon,
    )


def _times(settings: Hyperparameters) -> float | None:
    """The batch size relative to `base_batch_size`."""
    if settings.base_batch_size is None or settings.batch_size is None:
        return None
    return settings.batch_size / settings.base_batch_size


def warm_up(optimizer: RowWise, steps: int) -> LambdaLR:
    """Linear warm-up of the dense learning rates over `steps` steps; call its `step` after each one."""

    def rising(step: int) -> float:
        return min(1.0, (step + 1) / steps)

    return LambdaLR(
        optimizer, [(lambda _: 1.0) if group.get("cowclip") else rising for group in optimizer.param_groups]
    )


@torch.no_grad()
def score(model: nn.Module, rows: BatchSource) -> np.ndarray:
    """Logits of all rows (N,), float32; leaves the model in evaluation mode."""
    model.eval()
    logits = [model(batch.ids_NC, batch.factors_NC) for batch in rows.batches(SCORING_BATCH)]
    return torch.cat(logits).float().cpu().numpy() if logits else np.empty(0, np.float32)


def fit(
    model: nn.Module,
    train: BatchSource,
    valid: BatchSource,
    settings: Hyperparameters,
    seed: int,
    title: str,
    after_epoch: AfterEpoch = nothing,
) -> History:
    """Train with early stopping on the validation score, then restore the weights of the best epoch.

    After `patience` epochs without improvement the learning rate is divided by 10, up to `decays` times;
    then training ends. A training that continues from a checkpoint first calls `after_epoch` for the epochs
    that were finished.

    Raises:
        DivergedError: a logit is not finite.
    """
    generator = seed_everything(seed)
    device = pick_device(settings.device)
    distributed.prepare_process(model.to(device))
    train, valid = train.to(device), valid.to(device)
    optimizer, batch_size = adam_of(model, settings, train.total), batch_size_of(settings, train.total)
    passes = Passes(train, batch_size, generator)
    warming = {}
    if settings.base_batch_size:
        warming["warm_up"] = warm_up(optimizer, steps_in_pass(train.total, batch_size))
    step = Step(model, optimizer.step, [optimizer])
    at = Variables(epochs=[], best_score=-math.inf, best=0, best_weights={}, waited=0, ended=False)
    at.decays = settings.decays
    saved = {"model": model, "optimizer": optimizer, "generator": generator, "passes": passes, "at": at}
    loop = Loop(title, **saved, **warming)
    replay(at.epochs, settings, after_epoch)
    rows_done = len(at.epochs) * train.total + passes.rows_done
    with loop.running(), progress(title, settings.epochs * train.total, done=rows_done) as advance:
        while len(at.epochs) < settings.epochs and not at.ended:
            number = len(at.epochs) + 1
            step.after = warming["warm_up"].step if warming and number == 1 else None
            with matmul_precision(settings.precision, device):
                train_loss = run_epoch(step, passes, loop, advance)
            at.epochs.append(epoch := validate_epoch(model, valid, number, train_loss))
            advance(0, f"epoch {number}, valid AUC {epoch.valid_auc:.5f}, logloss {epoch.valid_logloss:.5f}")
            if (gained := epoch.score(settings.monitor)) > at.best_score:
                at.best, at.best_score, at.waited = number, gained, 0
                at.best_weights = copy.deepcopy(model.state_dict())
            else:
                at.waited += 1
            after_epoch(number, at.epochs[at.best - 1])
            at.ended = at.waited >= settings.patience and not at.decays
            if at.waited >= settings.patience and at.decays:
                at.decays, at.waited = at.decays - 1, 0
                for group in optimizer.param_groups:
                    group["lr"] *= 0.1
        if not loop.finished:
            model.load_state_dict(at.best_weights)
            at.best_weights, at.seconds = {}, passes.seconds
            loop.finish("model", "at")
    return History(
        epochs=tuple(at.epochs),
        best=at.best,
        seconds=at.seconds,
        rows_per_second=train.total * len(at.epochs) / at.seconds,
        limited_by=limit_of(at.epochs, settings),
    )


def validate_epoch(model: nn.Module, valid: BatchSource, number: int, train_loss: float) -> Epoch:
    """Metrics of an epoch on the validation rows of all processes.

    Raises:
        DivergedError: a logit or the loss is not finite.
        EvaluationError: the validation rows have a single label, or no weight.
    """
    logit_N, label_N, weight_N = _whole(score(model, valid), valid)
    if not (np.isfinite(logit_N).all() and math.isfinite(train_loss)):
        raise DivergedError(
            f"training diverged in epoch {number}: logits or their loss are not finite; lower the learning "
            "rate, and scale numbers that are kept as they are (`scaling: none`)"
        )
    valid_auc = auc(logit_N, label_N, weight_N)
    valid_logloss = float(np.average(row_logloss(logit_N, label_N), weights=weight_N))
    train_loss, valid_auc, valid_logloss = distributed.broadcast_floats(
        [train_loss, valid_auc, valid_logloss]
    )
    return Epoch(epoch=number, train_logloss=train_loss, valid_auc=valid_auc, valid_logloss=valid_logloss)


def _whole(logit_N: np.ndarray, rows: BatchSource) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Logits, labels and weights gathered from all processes, in row order."""
    weights = [] if rows.weight_N is None else [rows.weight_N.cpu()]
    logit, label, *weight = distributed.all_gather(torch.from_numpy(logit_N), rows.label_N.cpu(), *weights)
    return logit.double().numpy(), label.numpy(), weight[0].numpy() if weight else None
