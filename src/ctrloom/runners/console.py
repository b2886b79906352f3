"""What a local run prints: progress to the terminal, and everything to its log."""

import io
import re
import sys
from contextlib import suppress

from ctrloom.config.url_secrets import redacted
from ctrloom.progress import MARK, WARNING

ANSI = re.compile(r"\x1b\[[0-9;]*m")
# Of a step, or of podman or docker
ERROR = re.compile(r"(?:[\w.]+\.)?\w+Error: (.+)|((?:docker: )?Error(?: response from daemon)?: .+)")
FAILED = re.compile(r"Task '([\w-]+?)(?:-\d+)*' finished with status FAILURE")  # a branch adds a number


class Console(io.TextIOBase):
    """Standard output while KFP runs: everything goes to the log, progress lines also to the terminal.

    On a terminal, the lines of one task overwrite each other. A log that cannot be written, as on a full
    disk, is reported once, and does not stop the run.
    """

    def __init__(self, log: io.FileIO) -> None:
        self.incomplete = False
        self.log, self.terminal, self.rest, self.shown = log, sys.stderr, "", ""
        self.failed = self.error = ""  # the step that failed, and the last error message that a step printed

    def write(self, text: str) -> int:
        """Take text; its last line may be incomplete."""
        self._record(redacted(text))
        *lines, self.rest = (self.rest + text).split("\n")
        for line in lines:
            self._line(ANSI.sub("", line).strip())
        return len(text)

    def _record(self, text: str) -> None:
        try:
            self.log.write(text.encode(errors="backslashreplace"))
        except OSError as error:
            if not self.incomplete:
                self.incomplete = True
                self._show(f"{WARNING}{self.log.name}: is incomplete: {error.strerror}\n")

    def _line(self, line: str) -> None:
        if match := FAILED.search(line):
            self.failed = self.failed or match[1]
        if match := ERROR.match(line):
            self.error = redacted(match[1] or match[2])
        if not line.startswith(MARK):
            return
        title = line.partition(":")[0]
        same = title == self.shown and not line.startswith(WARNING)
        over = "\r\033[K" if same and self.terminal.isatty() else "\n" if self.shown else ""
        end = "" if self.terminal.isatty() else "\n"
        self._show((over if not end else "") + line + end)
        self.shown = title

    def _show(self, text: str) -> None:
        with suppress(OSError):  # the terminal may be closed
            self.terminal.write(text)
            self.terminal.flush()
