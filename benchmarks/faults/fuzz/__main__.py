"""Fuzzes one target with atheris: `python benchmarks/faults/fuzz NAME FOLDER SECONDS SLOW MEMORY`.

Only errors that users can fix may escape from a target. Each other error is written to the folder once per
place where it was raised, and fuzzing goes on.
"""

import json
import sys
import traceback
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[1]))

with atheris.instrument_imports(include=["ctrloom", "yaml"], enable_loader_override=False):
    from ctrloom.config.errors import UserError
    from fuzz.targets import TARGETS

EVERY = 50  # inputs after which the counts are written


class Runner:
    """Calls a target, and notes what escapes from it."""

    def __init__(self, name: str, folder: Path) -> None:
        self.target, self.folder = TARGETS[name], folder
        self.seeds = self.target.prepare(folder)
        self.seen: set[str] = set()
        self.runs = self.rejected = 0

    def __call__(self, data: bytes) -> None:
        self.runs += 1
        try:
            self.target.parse(data)
        except (UserError, OSError):
            self.rejected += 1
        except Exception as error:
            self._note(error, data)
        if self.runs % EVERY == 0:
            self._count()

    def _count(self) -> None:
        counts = {"runs": self.runs, "rejected": self.rejected}
        (self.folder / "counts.json").write_text(json.dumps(counts))

    def _note(self, error: Exception, data: bytes) -> None:
        frames = traceback.extract_tb(error.__traceback__)
        at = [frame for frame in frames if "/ctrloom/" in frame.filename] or frames
        where = f"{type(error).__name__} at {at[-1].filename}:{at[-1].lineno}"
        if where not in self.seen:
            self.seen.add(where)
            told = {"error": f"{where}: {error}"[:400], "input": repr(data[:300])}
            (self.folder / f"failure-{len(self.seen)}.json").write_text(json.dumps(told))


def main() -> None:
    name, folder, seconds, slow, memory = sys.argv[1:]
    runner = Runner(name, Path(folder))
    corpus = Path(folder, "corpus")
    corpus.mkdir()
    for number, seed in enumerate(runner.seeds):
        (corpus / str(number)).write_bytes(seed)
    options = [f"-max_total_time={float(seconds):.0f}", f"-timeout={slow}", f"-rss_limit_mb={memory}"]
    atheris.Setup(
        [sys.argv[0], str(corpus), *options, "-max_len=65536", f"-artifact_prefix={folder}/"], runner
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
