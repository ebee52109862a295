"""Why an experiment failed, in one line of the many that it said."""

import signal
from pathlib import Path

# A shell that does not hand its process over to the stage ends with 128 and the signal instead.
ENDED = tuple(f"exited with {code:d}" for code in (-signal.SIGTERM, 128 + signal.SIGTERM))
OUTSIDE = "ended from outside, as a second Ctrl-C does: run it again"
SILENT = "it failed before its first stage; .dvc/tmp/exps/celery/ has the workers' logs"


def first_useful_line(log: str) -> str:
    """What the stage that failed said first; the error itself where it said a traceback, DVC's words where nothing."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    start = max((number for number, line in enumerate(lines) if line.startswith("> ")), default=-1) + 1
    said = lines[start:]
    stage = [line for line in said if not line.startswith(("ERROR: ", "WARNING: "))]
    if "Traceback (most recent call last):" in stage:
        return stage[-1]
    if not stage and any(line.endswith(ENDED) for line in said):
        return OUTSIDE
    if not stage:
        return next((line for line in said if line.startswith("ERROR: ")), SILENT)
    return " ".join(stage[:2]) if stage[0].endswith(":") else stage[0]


def why(log: Path | None) -> str:
    """The same for a log that may be missing."""
    return first_useful_line(log.read_text(errors="replace")) if log and log.exists() else SILENT
