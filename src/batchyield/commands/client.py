"""Predictions from the command line: of a service, or of the model that is at hand."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from batchyield.commands import Commands
from batchyield.errors import SetupError


def add(commands: Commands) -> None:
    """Adds `score`."""
    score = commands.add(
        "score",
        _score,
        "Predict the batches of the plant's CSV: id,yield,lower,upper, a line each. A service is asked, whose key is "
        "BATCHYIELD_API_KEY; with --local, the pinned model in the workspace answers the same, byte for byte.",
    )
    score.add_argument("file", type=Path, help="the plant's CSV, GB18030 or UTF-8, of any size")
    score.add_argument("--out", type=Path, help="file to write; standard output where it is not given")
    score.add_argument("--quiet", action="store_true", help="tell no progress on standard error")
    where = score.add_mutually_exclusive_group()
    where.add_argument("--url", help="the service (BATCHYIELD_URL, else http://127.0.0.1:8000)")
    where.add_argument("--local", action="store_true", help="ask no service")
    score.add_argument("--lock", type=Path, default=Path("dvc.lock"), help="what pins the local model (%(default)s)")


def _score(options: argparse.Namespace) -> int:
    from batchyield.files import write_atomic

    try:
        file = options.file.open("rb")
    except OSError as error:
        raise SetupError(f"{options.file} cannot be read: {error.strerror}", "name the plant's CSV") from None
    with file:
        parts = _local(options.lock, file) if options.local else _asked(options.url, file)
        if not options.quiet:
            parts = _told(parts)
        if options.out:
            write_atomic(options.out, parts)
        else:
            sys.stdout.buffer.writelines(parts)
    return 0


def _local(lock: Path, file: BinaryIO) -> Iterator[bytes]:
    from batchyield.artifact import open_artifact, read_pins
    from batchyield.scoring import score

    folder = lock.parent / "data" / "model"
    return score(open_artifact(folder, read_pins(lock, folder)).predictor, file)


def _asked(url: str | None, file: BinaryIO) -> Iterator[bytes]:
    try:
        from batchyield.client import Client
    except ImportError:
        raise SetupError("httpx is not installed", "pip install 'batchyield[client]', or use --local") from None
    with Client(url) as client:
        yield from client.score_csv(file)


def _told(parts: Iterator[bytes]) -> Iterator[bytes]:
    batches = -1  # the header is a line too
    for part in parts:
        batches += part.count(b"\n")
        print(f"{batches:,} batches predicted", file=sys.stderr, flush=True)
        yield part
