"""Predictions from the command line: of a service, of the model that is at hand, or of many machines that have it."""

import argparse
import contextlib
import hashlib
import os
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchyield.cli.options import Commands, with_json
from batchyield.errors import SetupError

if TYPE_CHECKING:
    from distributed import Client

    from batchyield.scoring.local import Progress

SCHEDULER = "DASK_SCHEDULER_ADDRESS"

Answers = Iterator[tuple[Iterator[bytes], dict[str, Any]]]
"""Lines of predictions in the order of the batches, and who makes them."""


def add(commands: Commands) -> None:
    """Adds `score`."""
    score = commands.add(
        "score",
        _score,
        "Predict the batches of the plant's CSV: id,yield,lower,upper, a line each. A service is asked, whose key is "
        "BATCHYIELD_API_KEY; with --local, --workers or --scheduler, the pinned model in the workspace answers the "
        "same, byte for byte, however many do.",
    )
    score.add_argument(
        "file", type=Path, nargs="+", help="the plant's CSV, GB18030 or UTF-8, of any size; their lines follow in order"
    )
    score.add_argument("--out", type=Path, help="file to write; standard output where it is not given")
    score.add_argument("--quiet", action="store_true", help="show no progress on standard error, terminal or not")
    with_json(score, "what was done as JSON on standard output; needs --out")
    where = score.add_mutually_exclusive_group()
    where.add_argument("--url", help="the service (BATCHYIELD_URL, else http://127.0.0.1:8000)")
    where.add_argument("--local", action="store_true", help="ask no service, and answer in this process")
    where.add_argument("--workers", type=int, metavar="N", help="answer in N processes of this machine")
    where.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help=f"answer by the Dask workers of tcp://HOST:8786, or tls://… (${SCHEDULER})",
    )
    score.add_argument("--lock", type=Path, default=Path("dvc.lock"), help="what pins the local model (%(default)s)")
    for name, about in (("ca", "who vouches for the scheduler"), ("cert", "this client's certificate"), ("key", "its")):
        score.add_argument(f"--tls-{name}", type=Path, metavar="PEM", help=f"{about} (else as Dask is configured)")


def _score(options: argparse.Namespace) -> int:
    import msgspec

    from batchyield.files import write_atomic
    from batchyield.scoring.local import Progress, total_bytes, with_header

    if options.json and not options.out:
        raise SetupError("standard output cannot take both the predictions and --json", "name a file with --out")
    scheduler = options.scheduler or os.environ.get(SCHEDULER, "")
    here = options.local or options.workers is not None or (scheduler and not options.url)
    digest = hashlib.md5(usedforsecurity=False)
    progress, begun = Progress(total_bytes(options.file), options.quiet), time.monotonic()
    with _at_hand(options, scheduler, progress) if here else _of_service(options) as (lines, by):
        parts = _hashed(with_header(progress.answered(lines)), digest)
        if options.out:
            write_atomic(options.out, parts)
        else:
            sys.stdout.buffer.writelines(parts)
    if options.json:
        told = {"batches": progress.batches, "seconds": round(time.monotonic() - begun, 3)}
        told |= {"md5": digest.hexdigest()} | by
        print(msgspec.json.encode(told).decode())
    return 0


@contextlib.contextmanager
def _of_service(options: argparse.Namespace) -> Answers:
    from batchyield.serving.responses import CSV_HEADER

    try:
        from batchyield.client import Client
    except ImportError:
        raise SetupError("httpx is not installed", "pip install 'batchyield[client]', or use --local") from None
    if len(options.file) > 1:  # between two of them, its model may change
        raise SetupError("a service is asked for one file at a time", "call it for each, or use --local")
    with Client(options.url) as client:
        yield (part.removeprefix(CSV_HEADER) for part in client.score_csv(options.file[0])), {}


@contextlib.contextmanager
def _at_hand(options: argparse.Namespace, scheduler: str, progress: "Progress") -> Answers:
    from batchyield.scoring.local import read_chunks
    from batchyield.serving.artifact import read_pins

    folder = options.lock.parent / "data" / "model"
    pins = read_pins(options.lock, folder)
    parts = progress.taken(read_chunks(options.file))
    if options.local:
        from batchyield.scoring.local import score_chunks
        from batchyield.serving.artifact import open_artifact

        artifact = open_artifact(folder, pins)
        yield score_chunks(artifact.predictor, parts), {"model": artifact.md5, "workers": 0}
        return
    try:
        from batchyield.scoring.dask import score as scoring
        from batchyield.scoring.dask.worker import upload_model
    except ModuleNotFoundError as error:
        raise SetupError(f"{error.name} is not installed", "pip install 'batchyield[scale]', or use --local") from None
    shipped = upload_model(folder, pins)
    with _cluster(options, scheduler) as client:
        expected, workers = scoring.check_workers(client, shipped)
        answer = "worker answers" if workers == 1 else "workers answer"
        if not options.quiet:
            print(f"{workers} {answer} with model {expected.model}", file=sys.stderr, flush=True)
        yield scoring.score_on_workers(client, shipped, expected, parts), {"model": expected.model, "workers": workers}


def _cluster(options: argparse.Namespace, scheduler: str) -> contextlib.AbstractContextManager["Client"]:
    from batchyield.scoring.dask.cluster import TlsFiles, connect, start_local_cluster

    if options.workers is None:
        return connect(scheduler, TlsFiles(options.tls_ca, options.tls_cert, options.tls_key))
    if options.workers < 1:
        raise SetupError(f"--workers {options.workers} would answer nothing", "give at least 1, or use --local")
    return start_local_cluster(options.workers)


def _hashed(parts: Iterable[bytes], digest: "hashlib._Hash") -> Iterator[bytes]:
    for part in parts:
        digest.update(part)
        yield part
