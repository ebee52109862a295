"""What is said about pins: params, reproduction, S3, provenance, environment."""

import argparse
import sys
from pathlib import Path

from batchyield.cli.options import Commands, show, with_base, with_json, with_s3


def add(commands: Commands) -> None:
    """Adds `params`, `verify`, `audit`, `trace`, `report`, `pull` and `environment`."""
    params = commands.add("params", _params, "Compose conf/ into params.yaml, or check that it is.")
    params.add_argument("--check", action="store_true", help="write nothing; fail if params.yaml differs from conf/")
    params.add_argument("overrides", nargs="*", help="Hydra overrides, for example model=ridge")

    verify = commands.add(
        "verify", _verify, "Rebuild a commit elsewhere from raw data alone; is its lock what comes out?"
    )
    verify.add_argument("--rev", default="HEAD", help="the commit (%(default)s)")
    with_json(verify)
    with_s3(verify)

    audit = commands.add("audit", _audit, "Does S3 still hold, byte for byte, everything that this checkout pins?")
    with_json(audit)
    with_s3(audit)

    trace = commands.add(
        "trace", _trace, "Walk bytes back to code, params, raw object and environment, and say how to rebuild."
    )
    trace.add_argument("what", help="an md5 (6 digits or more), a file, or a revision (all its outputs)")
    with_json(trace, "the trace as JSON on standard output, hashes in full")

    report = commands.add("report", _report, "Write a change beside its base as one Markdown, the verdict first.")
    with_base(report, required=True)
    report.add_argument("--out", type=Path, help="file to write; standard output where it is not given")
    for name, command in (
        ("verification", "batchyield verify --json"),
        ("replay", "batchyield replay --json"),
        ("bench", "benchmarks/serving.py --json"),
    ):
        report.add_argument(f"--{name}", type=Path, metavar="JSON", help=f"what `{command}` wrote")

    pull = commands.add("pull", _pull, "Bring all that HEAD and its base pin: from the storage, else rebuilt.")
    pull.add_argument("--base", metavar="REV", help="bring what a comparison with this revision needs, too")
    with_s3(pull)

    commands.add("environment", _environment, "Record this machine's libraries, BLAS and CPU beside the locks.")


def _params(options: argparse.Namespace) -> int:
    from batchyield.versioning import hydra_params as params

    print(params.check_params() if options.check else params.write_params(overrides=options.overrides))
    return 0


def _verify(options: argparse.Namespace) -> int:
    from batchyield.versioning.provenance.verify import render, verify

    made = verify(options.rev, s3_port=options.s3_port, progress=lambda line: print(line, file=sys.stderr, flush=True))
    show(made, options, render)
    return 0 if made.same else 1


def _audit(options: argparse.Namespace) -> int:
    from batchyield.versioning.storage.audit import audit, render

    made = audit(s3_port=options.s3_port)
    show(made, options, render)
    return 0 if made.sound else 1


def _trace(options: argparse.Namespace) -> int:
    from batchyield.versioning.provenance.trace import render, trace

    made = trace(options.what)
    show(made, options, render)
    return 1 if made.breaks else 0


def _report(options: argparse.Namespace) -> int:
    from batchyield.files import write_atomic
    from batchyield.review.report.report import Extras, report
    from batchyield.review.review import review

    made = review(options.base, options.labels)
    written = report(made, Extras(options.verification, options.replay, options.bench), options.base)
    if options.out is None:
        print(written, end="")
    else:
        write_atomic(options.out, written.encode())
        print(f"wrote {options.out}: the gate {'passes' if made.judgement.passed else 'stops this change'}")
    return 0


def _pull(options: argparse.Namespace) -> int:
    from batchyield.review.fetch_outputs import pull

    pull(options.base, s3_port=options.s3_port, progress=lambda line: print(line, flush=True))
    return 0


def _environment(_: argparse.Namespace) -> int:
    from batchyield.versioning.provenance import environment

    print(environment.write_fingerprint())
    return 0
