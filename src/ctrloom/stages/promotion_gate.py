"""Score champion and challenger on the same rows, each with its own vocabularies, and apply the gate."""

import math
from pathlib import Path

import numpy as np

from ctrloom import storage
from ctrloom.config import Split
from ctrloom.config.promotion_gate import PromotionGateConfig
from ctrloom.config.version import code_version
from ctrloom.data.manifest import IngestedManifest
from ctrloom.data.parquet.reader import read_parts
from ctrloom.data.vocabulary.encode import Encoder
from ctrloom.data.vocabulary.growth import require_same_columns
from ctrloom.evaluation.markdown import promotion_markdown
from ctrloom.evaluation.promotion_gate import PromotionVerdict, Scores, decide
from ctrloom.models.bundle import Bundle, load_bundle
from ctrloom.progress import progress
from ctrloom.serving.predict import logits
from ctrloom.stages.promotion import BUNDLE, read_champion
from ctrloom.storage import Place
from ctrloom.training.loop import pick_device
from ctrloom.training.torch_state import restored_torch_state

FILES = VERDICT, SUMMARY = "verdict.json", "verdict.md"


@restored_torch_state()
def gate(
    ingested: str | Place,
    challenger: Path,
    champion: Path | None,
    config: PromotionGateConfig,
    output: Path,
    split: Split = "test",
) -> PromotionVerdict:
    """Write `verdict.json` and `verdict.md` into the folder `output`.

    `ingested` is the manifest of clean rows, of which one split is scored; `champion` is the folder that
    the stage of that name wrote, or None if there is no champion yet.

    Raises:
        ConfigError: a bundle was trained on other columns than the rows have.
        EvaluationError: the rows cannot be evaluated.
        StorageError: a bundle is incomplete.
    """
    storage.require_own(output, *FILES)
    manifest, base = IngestedManifest.load(ingested)
    sides = [_Side(challenger), *([_Side(champion / BUNDLE)] if champion else [])]
    for side in sides:
        require_same_columns(side.bundle.schema, manifest, str(side.folder))
    # Negatives of these rows may be downsampled too: shift the logits to their click rate.
    thinned = math.log(manifest.negatives_kept.get(split, 1.0))
    labels, weights = [], []
    with progress("gate", manifest.rows[split]) as advance:
        for batch in read_parts(manifest.paths(base, split)):
            for side in sides:
                side.logits.append(logits(side.bundle, side.encoder, batch) - thinned)
            labels.append(batch["label"].to_numpy().astype(np.float64))
            if manifest.source.named("weight"):
                weights.append(batch["weight"].to_numpy().astype(np.float64))
            advance(len(batch))
    record = read_champion(champion) if champion else None
    verdict = decide(
        sides[0].scores(),
        sides[1].scores(record.name, record.generation) if record else None,
        np.concatenate(labels),
        np.concatenate(weights) if weights else None,
        config,
        manifest.data_fingerprint,
        code_version(),
    )
    with storage.atomic_directory(output, *FILES) as temporary:
        storage.write_record(temporary / VERDICT, verdict)
        storage.write_text(temporary / SUMMARY, promotion_markdown(verdict))
    return verdict


class _Side:
    """A bundle, and its logits batch by batch."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bundle: Bundle = load_bundle(folder, pick_device("auto"))
        self.encoder = Encoder.load(folder)
        self.logits: list[np.ndarray] = []

    def scores(self, version: str | None = None, generation: str | None = None) -> Scores:
        """All logits, with the model's identity for the verdict."""
        card = self.bundle.card
        logits = np.concatenate(self.logits)
        return Scores(card.title, version, generation, card.data_fingerprint, logits, card.limited_by)
